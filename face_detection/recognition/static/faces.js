// The faces of a picture as a list, which follows what decides without asking the service again.

import { correctionForm } from "./correction.js";
import { accepts, measures, strangersLike } from "./deciding.js";
import { explain } from "./errors.js";
import { distanceText, el, percent } from "./elements.js";
import { askWhich, nameIn, picker, whose } from "./picker.js";

/** What is wrong with a face, in words: "blurred, turned away". */
const wrongWith = ({ reasons }) => reasons.map(({ code }) => code.replaceAll("_", " ")).join(", ");

/** Whose face it is by what decides at this moment, null for nobody. */
export const nameOf = ({ candidates: [nearest] }) => (nearest && accepts(nearest) ? nearest.name : null);

/**
 * Make the list item of one face.
 *
 * face: as api.recognise returns it.
 * crop: the canvas that shows it.
 * enrolAs: called with whose face it is, {person} or {name}, when an unknown one is named; may throw.
 * correctAs: the same for a face that was taken for somebody else's, and what becomes of that enrolled face.
 * Returns {item, update}; update() lets the item say what is decided now, and returns what the picture's box says.
 */
export function faceItem(face, number, crop, enrolAs, correctAs) {
  const [nearest, next] = face.candidates;
  const title = el("h2");
  const line = el("p", { class: "figures" });
  const sureness = el("p", { class: "hint" });
  const more = el("p", { class: "hint" });
  const message = el("p", { class: "message", role: "alert" });
  const input = picker({ required: true, placeholder: "Who is this?", "aria-label": `Name of face ${number}` });
  const button = el("button", { type: "submit", class: "primary" }, "Name this face");
  const form = el("form", { class: "naming", submit }, input, button);
  const wrong = el("button", { type: "button", class: "link", click: () => ask(true) });
  const about = el("div", {}, title, line, sureness, more, form, message, wrong);
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

  function update() {
    const name = nameOf(face);
    const known = name !== null;
    item.classList.toggle("unknown", !known);
    form.hidden = known;
    wrong.replaceChildren(el("span", {}, "Not ", el("bdi", {}, name ?? ""), "?"));
    wrong.hidden = !known || correction !== null;
    if (!known) ask(false);
    title.replaceChildren(el("bdi", {}, name ?? "Unknown face"));
    const seen = face.poor || face.distance === null ? null : nearest ?? face;
    line.textContent = seen ? `distance ${distanceText(seen.distance)} · similarity ${percent(seen.similarity)}` : "";
    sureness.textContent = seen ? strangersLike(seen) : "";
    if (known) {
      more.textContent = next ? `Next nearest: ${[next.name, ...measures(next).slice(0, 1)].join(", ")}` : "";
    } else if (face.poor) {
      more.textContent = `Too poor to recognise: ${wrongWith(face)}`;
    } else if (nearest) {
      more.textContent = `Nearest: ${nearest.name}`;
    } else {
      more.textContent = face.distance === null ? "Nobody is enrolled yet." : "";
    }
    return { known, name: name ?? "Unknown", figures: nearest ? ` ${measures(nearest).join(" · ")}` : "" };
  }

  return { item, update };
}
