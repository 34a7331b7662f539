// The faces of a picture as a list, which follows the threshold without asking the service again.

import { explain } from "./errors.js";
import { distanceText, el, percent } from "./elements.js";

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
 * enrolAs: called with a name when the face is given one; may throw.
 * Returns {item, update}; update(threshold) changes the item and returns what the picture's box says.
 */
export function faceItem(face, number, crop, enrolAs) {
  const [nearest, next] = face.candidates;
  const title = el("h2");
  const line = el("p", { class: "figures" });
  const more = el("p", { class: "hint" });
  const message = el("p", { class: "message", role: "alert" });
  const input = el("input", {
    type: "text", required: true, maxlength: 1000, autocomplete: "off", placeholder: "Who is this?",
    "aria-label": `Name of face ${number}`,
  });
  const button = el("button", { type: "submit", class: "primary" }, "Name this face");
  const form = el("form", { class: "naming", submit }, input, button);
  const about = el("div", {}, title, line, more, form, message);
  const item = el("li", { class: "face", tabindex: "-1" }, el("span", { class: "number" }, `${number}`), crop, about);

  async function submit(event) {
    event.preventDefault();
    const name = input.value.normalize("NFC").trim();
    if (!name) return;
    button.disabled = true;
    message.textContent = "";
    try {
      await enrolAs(name);
    } catch (error) {
      message.textContent = explain(error);
    }
    button.disabled = false;
  }

  function update(threshold) {
    const name = nameAt(face, threshold);
    const known = name !== null;
    item.classList.toggle("unknown", !known);
    form.hidden = known;
    title.textContent = name ?? "Unknown face";
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
