// The view that compares the largest faces of two pictures.

import { model, verify } from "./api.js";
import { drawBoxes } from "./boxes.js";
import { byId, distanceText, el, percent } from "./elements.js";
import { complain } from "./errors.js";
import { ACCEPT, close, open, parseBox, shape } from "./pictures.js";

const slots = [1, 2].map(slot);
let turn = 0;

export function start() {
  byId("compare-slots").append(...slots.map(({ element }) => element));
}

/** Put files into the slot they were dropped on and the ones after it; without one, into the first empty one. */
export async function take(files, target) {
  const aimed = slots.findIndex(({ element }) => element.contains(target));
  const empty = slots.findIndex(({ picture }) => !picture);
  const first = aimed >= 0 ? aimed : Math.max(empty, 0);
  const mine = ++turn;
  const message = byId("compare-message");
  message.textContent = "";
  byId("compare-result").replaceChildren();
  try {
    for (const [i, file] of files.slice(0, 2).entries()) await slots[(first + i) % 2].fill(file);
    if (mine !== turn) return;
    const [one, two] = slots.map(({ picture }) => picture);
    if (one && two) await compare(one, two, mine);
  } catch (error) {
    if (mine === turn) complain(message, error);
  }
}

function slot(number) {
  const image = el("img", { alt: `Picture ${number}` });
  const layer = el("div", { class: "boxes", "aria-hidden": "true" });
  const stage = el("div", { class: "stage", hidden: true }, image, layer);
  const lead = el("p", { class: "lead" }, "Drop a picture here");
  const input = el("input", { type: "file", accept: ACCEPT, "aria-label": `Choose picture ${number}` });
  const choose = el("p", { class: "row" }, el("label", { class: "button" }, "Choose", input));
  const element = el("div", { class: "dropzone slot" }, stage, lead, choose);
  const self = { element, layer, picture: null, fill };

  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    take(files, element);
  });

  async function fill(file) {
    const opened = await open(file);
    close(self.picture);
    self.picture = opened;
    image.src = opened.image.src;
    layer.replaceChildren();
    shape(stage, opened.width, opened.height, "24rem");
    stage.hidden = false;
    lead.hidden = true;
  }

  return self;
}

async function compare(one, two, mine) {
  const result = byId("compare-result");
  result.replaceChildren(el("p", { class: "summary" }, "Comparing …"));
  try {
    const { distance_range: range } = await model();
    const answer = await verify(one.blob, two.blob);
    if (mine !== turn) return;
    [answer.bbox1, answer.bbox2].forEach((bbox, i) => {
      const { layer, picture } = slots[i];
      const face = { box: parseBox(bbox), number: i + 1, name: "", figures: "", known: answer.verified };
      drawBoxes(layer, picture.width, picture.height, [face]);
    });
    result.replaceChildren(...verdict(answer, range));
  } catch (error) {
    if (mine === turn) result.replaceChildren();
    throw error;
  }
}

function verdict({ verified, distance, threshold, similarity }, [low, high]) {
  const at = (value) => `${(100 * (value - low)) / (high - low)}%`;
  const mark = (name, value, text) => {
    const node = el("span", { class: name }, el("span", {}, text));
    node.style.left = at(value);
    node.classList.toggle("far", value > (low + high) / 2);
    return node;
  };
  const near = el("span", { class: "near" });
  near.style.width = at(threshold);
  return [
    el("h2", { class: verified ? "verdict" : "verdict unknown" }, verified ? "Same person" : "Different people"),
    el("p", { class: "figures" }, `distance ${distanceText(distance)} · similarity ${percent(similarity)}`),
    el(
      "div",
      {
        class: "scale", role: "img",
        "aria-label": `Distance ${distanceText(distance)} on a scale from ${low} to ${high}; the same person below ${threshold}`,
      },
      near, mark("mark", distance, distanceText(distance)), mark("limit", threshold, `threshold ${threshold}`),
    ),
    el("p", { class: "ends", "aria-hidden": "true" }, el("span", {}, `${low}: the same picture`), el("span", {}, `${high}: as different as possible`)),
  ];
}
