// Merges of this session, the last of which can be taken back.

import { byId, count } from "./elements.js";
import { explain, isOutage } from "./errors.js";
import { unmerge } from "./people-api.js";

const merges = []; // {into, merged}, the last one last
let news = false; // what was done last is told until the view after the next
const bar = byId("undo");
const button = byId("undo-merge");

button.addEventListener("click", back);

/** Remember a merge: into whom, and what the answer says of who was merged. */
export function remember(into, merged) {
  // Whoever is merged on takes along what could have been taken back.
  const kept = merges.filter((other) => other.into.id !== merged.id);
  merges.splice(0, merges.length, ...kept, { into, merged });
  tell();
}

export function show() {
  bar.hidden = !byId("undo-text").textContent;
}

export function hide() {
  bar.hidden = true;
  if (!merges.length && !news) byId("undo-text").textContent = "";
  news = false;
}

function tell() {
  const last = merges.at(-1);
  button.hidden = !last;
  if (last) byId("undo-text").textContent = `${last.merged.name} was merged into ${last.into.name}.`;
}

async function back() {
  const { into, merged } = merges.at(-1);
  button.disabled = true;
  try {
    const person = await unmerge(into.id, merged);
    merges.pop();
    tell();
    const left = person.left ? ` ${count(person.left, "face was", "faces were")} changed since and not moved back.` : "";
    byId("undo-text").textContent = `${person.name} is back, with ${count(person.samples, "face", "faces")}.${left}`;
    news = true;
    location.hash = `#person/${encodeURIComponent(person.id)}`;
  } catch (error) {
    if (!isOutage(error)) {
      merges.pop(); // it would fail again
      tell();
    }
    byId("undo-text").textContent = `The merge cannot be taken back: ${explain(error)}`;
  } finally {
    button.disabled = false;
  }
}
