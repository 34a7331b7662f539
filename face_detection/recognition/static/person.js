// The view of one person: all faces, and what is known of them, to be put right.

import { deleteSample, samples, sourceOf } from "./api.js";
import { avatar } from "./avatar.js";
import * as details from "./details.js";
import { byId, confirmed, count, el } from "./elements.js";
import { ApiError, attempting, explain } from "./errors.js";
import { pager, range } from "./pages.js";
import { changePerson, deletePerson, merge, moveSample, person } from "./people-api.js";
import { askWhich, leaveOut, nameIn, picker, put, whose } from "./picker.js";
import * as undo from "./undo.js";

const PAGE = 48;

const title = byId("title-person");
const message = byId("person-message");
const done = byId("person-done");
const attempt = attempting(message, done);
const into = picker({ id: "person-into", required: true });
const faces = pager("person", PAGE, load, draw, turned);

let shown = null; // who is shown
let turn = 0;

export function start() {
  byId("person-into-label").append(into);
  onSubmit("person-details", save);
  onSubmit("person-merge", mergeInto);
  byId("person-delete").addEventListener("click", () => attempt(remove));
}

function onSubmit(id, work) {
  byId(id).addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(work);
  });
}

/** Called when the view is shown, with the person's id. */
export function enter(id) {
  undo.show();
  if (shown?.id !== id) {
    shown = null;
    title.textContent = "Person";
    byId("person-shown").hidden = true;
    put(into, null);
  }
  attempt(() => show(id, faces.restart));
}

/** Called when the view is left. */
export const leave = undo.hide;

/** Show a person as they are now; who has gone with the last face is shown no longer. */
async function show(id, list = faces.show) {
  const mine = ++turn;
  const before = shown;
  try {
    const found = await person(id);
    if (mine !== turn) return;
    shown = found;
    render();
    await list();
  } catch (error) {
    if (mine !== turn) return;
    const gone = error instanceof ApiError && error.code === "not_found";
    if (gone && before) location.hash = "#people";
    else throw gone ? new Error("This person is not there, or no longer.") : error;
  }
}

function render() {
  title.replaceChildren(el("bdi", {}, shown.name));
  document.title = `${shown.name} · Faces`;
  byId("person-since").textContent = `Enrolled ${new Date(shown.created).toLocaleDateString()} · id ${shown.id}`;
  byId("person-events").href = `#events/${encodeURIComponent(shown.id)}`;
  details.fill(shown);
  leaveOut(into, shown.id);
  byId("person-shown").hidden = false;
}

async function load(after) {
  const page = await samples({ person: shown.id, limit: PAGE, ...(after !== null && { after }) });
  return { ...page, items: page.samples };
}

function draw(page, first) {
  byId("person-summary").textContent = page.total ? `${count(page.total, "face", "faces")}${range(page, first)}` : "No faces yet.";
  byId("person-faces").replaceChildren(...page.items.map(item));
}

async function turned() {
  await attempt(faces.show);
  title.focus();
  scrollTo(0, 0);
}

function item(sample) {
  const created = new Date(sample.created);
  const source = sourceOf(sample);
  const move = el("button", { type: "button", class: "quiet", "aria-label": `Move ${source}`, "aria-expanded": "false" }, "Move");
  const remove = el("button", { type: "button", class: "quiet", "aria-label": `Remove ${source}`, click: () => attempt(() => removeFace(sample)) }, "Remove");
  const about = el(
    "div", {}, el("p", { class: "hint file" }, source),
    el("time", { class: "hint", datetime: sample.created, title: created.toLocaleString() }, created.toLocaleDateString()),
    el("p", { class: "row" }, move, remove),
  );
  move.addEventListener("click", () => {
    const form = about.querySelector("form");
    move.setAttribute("aria-expanded", `${!form}`);
    if (form) return form.remove();
    about.append(movingForm(sample));
    about.querySelector("input").focus();
  });
  return el("li", {}, avatar(sample.id), about);
}

function movingForm(sample) {
  const input = picker({ required: true, placeholder: "Whose face is it?", "aria-label": "Whose face is it?" });
  leaveOut(input, shown.id);
  const refused = el("p", { class: "message", role: "alert" });
  return el("form", { class: "naming", submit }, input, el("button", { type: "submit", class: "primary" }, "Move"), refused);

  async function submit(event) {
    event.preventDefault();
    if (!nameIn(input)) return;
    refused.textContent = "";
    try {
      const { name } = await moveSample(sample.id, whose(input));
      await show(shown.id);
      title.focus();
      done.textContent = `The face is ${name}’s now.`;
    } catch (error) {
      refused.textContent = explain(error);
      if (error.code === "ambiguous_name") askWhich(input);
    }
  }
}

async function removeFace(sample) {
  const last = shown.samples === 1 ? " It is the last one." : "";
  if (!(await confirmed("Remove this face?", `${shown.name}: ${sourceOf(sample)}.${last}`, "Remove"))) return;
  await deleteSample(sample.id);
  await show(shown.id);
  title.focus();
}

async function save() {
  const changed = details.changes(await person(shown.id)); // others may have changed the rest meanwhile
  if (Object.keys(changed).length) shown = await changePerson(shown.id, changed);
  render();
  done.textContent = "Saved.";
}

async function mergeInto() {
  const { person: other } = whose(into);
  if (!other) {
    askWhich(into);
    throw new Error("Choose a person from the list.");
  }
  const { merged, ...kept } = await merge(shown.id, other);
  undo.remember(kept, merged);
  location.hash = `#person/${encodeURIComponent(kept.id)}`;
}

async function remove() {
  const all = shown.samples ? ` and ${count(shown.samples, "face", "faces")}` : "";
  const { id, name } = shown; // the dialog's question and the deletion are about the same
  if (!(await confirmed(`Delete ${name}?`, `The name${all} will be deleted. This cannot be undone.`, "Delete"))) return;
  await deletePerson(id);
  location.hash = "#people";
}
