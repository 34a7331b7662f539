// The faces of a picture as a list, which follows the threshold without asking the service again.

import { correctionForm } from "./correction.js";
import { explain } from "./errors.js";
import { distanceText, el, percent } from "./elements.js";
import { askWhich, nameIn, picker, whose } from "./picker.js";

const figures = ({ distance, similarity }) => ` ${distanceText(distance)} · ${percent(similarity)}`;

/** What is wrong with a face, in words: "blurred, turned away". */
const wrongWith = ({ reasons }) => reasons.map(({ code }) => code.replaceAll("_", " ")).join(", ");

/** Whether the service gives a face no name, however near somebody is. */
const tooPoor = ({ candidates, distance }) => candidates.length === 0 && distance !== null;

/** Whose face it is at this threshold, null for nobody. */
export function nameAt({ candidates: [nearest] }, threshold) {
  return nearest !== undefined && nearest.distance < threshold ? nearest.name : null;
}

/**
 * Make the list item of one face.
 *
 * face: of the service's answer, with candidates whatever their distance.
 * crop: the canvas that shows it.
 * enrolAs: called with whose face it is, {person} or {name}, when an unknown one is named; may throw.
 * correctAs: the same for a face that was taken for somebody else's, and what becomes of that enrolled face.
 * Returns {item, update}; update(threshold) changes the item and returns what the picture's box says.
 */
export function faceItem(face, number, crop, enrolAs, correctAs) {
  const [nearest, next] = face.candidates;
  const title = el("h2");
  const line = el("p", { class: "figures" });
  const more = el("p", { class: "hint" });
  const message = el("p", { class: "message", role: "alert" });
  const input = picker({ required: true, placeholder: "Who is this?", "aria-label": `Name of face ${number}` });
  const button = el("button", { type: "submit", class: "primary" }, "Name this face");
  const form = el("form", { class: "naming", submit }, input, button);
  const wrong = el("button", { type: "button", class: "link", click: () => ask(true) });
  const about = el("div", {}, title, line, more, form, message, wrong);
  let correction = null; // the form that gives the face to somebody else, while it is open
  const item = el("li", { class: "face", tabindex: "-1" }, el("span", { class: "number" }, `${number}`), crop, about);

  async function submit(event) {
    event.preventDefault();
    if (!nameIn(input)) return;
    button.disabled = true;
    message.textContent = "";
    try {
      await enrolAs(whose(input));
    } catch (error) {
      message.textContent = explain(error);
      if (error.code === "ambiguous_name") askWhich(input);
    }
    button.disabled = false;
  }

  /** Open or close the form that gives the face to somebody else. */
  function ask(open) {
    if (!open && !correction) return;
    const close = () => {
      ask(false);
      wrong.focus();
    };
    correction?.remove();
    correction = open ? correctionForm(number, nearest, correctAs, close) : null;
    wrong.hidden = open;
    if (!open) return;
    item.append(correction);
    correction.querySelector("input").focus();
  }

  function update(threshold) {
    const name = nameAt(face, threshold);
    const known = name !== null;
    item.classList.toggle("unknown", !known);
    form.hidden = known;
    wrong.replaceChildren(el("span", {}, "Not ", el("bdi", {}, name ?? ""), "?"));
    wrong.hidden = !known || correction !== null;
    if (!known) ask(false);
    title.replaceChildren(el("bdi", {}, name ?? "Unknown face"));
    line.textContent = nearest
      ? `distance ${distanceText(nearest.distance)} · similarity ${percent(nearest.similarity)}` : "";
    if (known) {
      more.textContent = next ? `Next nearest: ${next.name}, ${distanceText(next.distance)}` : "";
    } else if (tooPoor(face)) {
      more.textContent = `Too poor to recognise: ${wrongWith(face)}`;
    } else {
      more.textContent = nearest ? `Nearest: ${nearest.name}` : "Nobody is enrolled yet.";
    }
    return { known, name: name ?? "Unknown", figures: nearest ? figures(nearest) : "" };
  }

  return { item, update };
}
