// The pictures that are recognised one after the other, as a strip to choose from, with who is in each.

import { byId, count, el } from "./elements.js";
import { explain } from "./errors.js";
import { peopleIn } from "./panel.js";
import { pathOf } from "./pictures.js";

/**
 * Fill the strip, which shows itself for more than one picture.
 *
 * choose: called with an entry that the user goes to.
 * Returns the entries, one for each file: {file, answer, asking, item, radio, place, caption}. `answer` is null until
 * it is there, then {faces, warnings, ms} or {error}; `asking` tells whether it is on its way.
 */
export function fill(files, choose) {
  const entries = files.map((file) => newEntry(file, choose));
  byId("strip").hidden = entries.length < 2;
  byId("strip-legend").textContent = count(entries.length, "picture", "pictures");
  byId("strip-done").textContent = "";
  byId("strip-list").replaceChildren(...entries.map(({ item }) => item));
  return entries;
}

function newEntry(file, choose) {
  const place = el("span", { class: "place" });
  const caption = el("span", { class: "who" }, "Waiting");
  const radio = el("input", { type: "radio", name: "strip", change: () => choose(entry) });
  const name = el("span", { class: "hint file" }, pathOf(file) ?? "Pasted picture");
  const item = el("li", {}, el("label", {}, radio, place, name, caption));
  const entry = { file, answer: null, asking: false, item, radio, place, caption };
  return entry;
}

/** Mark the picture that is shown. */
export function mark({ radio, item }) {
  radio.checked = true;
  item.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Say in the strip who is in each picture, by what decides at this moment. */
export function caption(entries) {
  for (const { answer, item, caption: node } of entries) {
    if (!answer) continue;
    item.classList.toggle("failed", "error" in answer);
    node.textContent = answer.error ? explain(answer.error) : peopleIn(answer.faces) || "No face";
  }
}

/** Say that all has been done that could be. */
export function conclude(entries) {
  const failed = entries.filter(({ answer }) => answer?.error).length;
  const waiting = entries.filter(({ answer }) => !answer).length;
  const parts = [
    `${entries.length - failed - waiting} recognised`, failed && `${failed} failed`, waiting && `${waiting} not tried`,
  ];
  byId("strip-done").textContent = `${parts.filter(Boolean).join(", ")}.`;
}
