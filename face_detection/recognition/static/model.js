// Below the gallery: its embedding model, changed to another one in the background, and back.

import { json } from "./api.js";
import { byId, confirmed, count, el, pause } from "./elements.js";
import { explain } from "./errors.js";

const LOOK_MS = 1000;
const OWN = "the server’s own model";

// What holds up a change: samples without a face. Other troubles are the server's.
const WITHOUT_FACE = "without_face";

const panel = byId("model");
const message = byId("model-message");
const progress = byId("model-progress");

let status = null; // as the service told it last
let looking = null; // the loop that looks how far it is

/** Calls are quiet: that the server lacks a model is no outage. When the gallery has changed, the window hears of it: `model`. */
const ask = (method, value) =>
  json("model-change", { method, quiet: true, ...(value && { body: JSON.stringify(value), type: "application/json" }) });

export function start() {
  panel.addEventListener("toggle", () => (panel.open ? look() : leave()));
  byId("model-form").addEventListener("submit", (event) => {
    event.preventDefault();
    change(byId("model-name").value.trim());
  });
  byId("model-stop").addEventListener("click", () => attempt(() => ask("DELETE")));
  byId("model-back").addEventListener("click", () => change(status.other));
}

/** Called when the view is shown. */
export function enter() {
  if (panel.open) look();
}

/** Called when the view is left. */
export function leave() {
  looking = null;
}

/** Show how far it is, and go on while somebody is at it. */
async function look() {
  const mine = (looking = {});
  do {
    await attempt(() => ask("GET"));
    await pause(LOOK_MS);
  } while (mine === looking && underWay());
}

/** Whether somebody is at it, or will be without being asked. */
const underWay = () => status !== null && status.to !== null && (status.running || status.resumes);

async function change(model) {
  const wish = byId("model-without").value;
  const text = wish === "drop" ? "Samples without a kept face are deleted then." : "Everybody stays enrolled, and the old model’s vectors are kept, to go back to.";
  if (!(await confirmed(`Change the gallery to ${model}?`, text, "Change"))) return;
  await attempt(() => ask("POST", { model, without_face: wish }));
  if (message.textContent === "") look();
}

async function attempt(work) {
  message.textContent = "";
  const before = status?.model;
  try {
    status = await work();
    draw();
    if (before !== undefined && before !== status.model) dispatchEvent(new Event("model"));
  } catch (error) {
    message.textContent = explain(error); // what was told last still stands
  }
}

function draw() {
  const { model, other, to, samples, done, waiting } = status;
  byId("model-now").textContent = `The gallery has ${model ?? OWN}.`;
  say(told());
  Object.assign(progress, { hidden: !underWay(), max: Math.max(1, samples), value: done });
  byId("model-form").hidden = underWay();
  byId("model-stop").hidden = !underWay();
  byId("model-back").hidden = to !== null || model === null || other === null;
  byId("model-back").textContent = `Go back to ${other}`;
  const listed = !underWay() && waiting > 0;
  byId("model-waiting").hidden = !listed;
  byId("model-waiting-list").replaceChildren(...(listed ? status.waiting_samples : []).map((id) => el("li", {}, el("bdi", {}, id))));
  if (to !== null && !underWay()) byId("model-name").value = to;
}

function told() {
  const { model, other, has_other: both, to, waiting, trouble } = status;
  const them = count(waiting, "sample", "samples");
  if (to !== null && !underWay() && trouble === WITHOUT_FACE)
    return `${them} have no face that could be read, so the gallery has not changed to ${to} yet. Enrol them anew and change again, or say what becomes of them.`;
  if (to !== null && !underWay()) return `The change to ${to} has stopped${trouble === null ? "" : ` (${trouble})`}. Change again to go on with it.`;
  if (to !== null) return `Changing to ${to} …${trouble === null ? "" : ` It is held up (${trouble}), and tried again.`}`;
  if (waiting > 0) return `${them} are not found before they are enrolled anew.`;
  return both && model !== null ? `It can go back to ${other ?? "the one before"}.` : "";
}

/** Say it once: a screen reader reads what is set. */
function say(text) {
  const node = byId("model-status");
  if (node.textContent !== text) node.textContent = text;
}
