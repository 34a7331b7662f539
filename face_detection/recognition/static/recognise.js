// The view that recognises: pictures, one after the other, or the camera.

import { enrol, model, newSample, recognise } from "./api.js";
import * as camera from "./camera.js";
import * as deciding from "./deciding.js";
import { byId } from "./elements.js";
import { complain, isOutage } from "./errors.js";
import * as panel from "./panel.js";
import { correct, correction } from "./people-api.js";
import { close, middleOf, onChosen, open, overview, pathOf, shape } from "./pictures.js";
import * as strip from "./strip.js";

let entries = []; // of the strip
let selected = null; // the entry that is shown
let picture = null; // of the selected entry, once it is read
let changes = 0; // of who is enrolled, or of the options: an answer from before one is out of date
let running = null; // the entries that are being recognised

const message = byId("recognise-message");

export function start() {
  panel.start(() => strip.caption(entries), askAgain);
  onChosen("recognise-file", take);
  onChosen("recognise-other", take);
  byId("recognise-example").addEventListener("click", example);
  byId("camera-start").addEventListener("click", startCamera);
  byId("camera-toggle").addEventListener("click", () => (camera.isOn() ? camera.stop() : startCamera()));
  byId("camera-turn").addEventListener("click", () => {
    camera.turnRound();
    startCamera();
  });
}

/** Called when the view is left. */
export const leave = () => camera.stop();

/** Called when the view is shown, and after an outage: what has no answer yet is asked for again. */
export function enter() {
  deciding.refresh();
  run();
}

/** Recognise these files instead of what was shown before, and show the first. */
export function take(files) {
  camera.stop();
  fill(files);
  select(entries[0]);
  run();
}

function fill(files) {
  entries = strip.fill(files, select);
  selected = null;
  close(picture);
  picture = null;
  message.textContent = "";
}

async function example() {
  const answer = await fetch("static/ready.jpg");
  take([await answer.blob()]);
}

function startCamera() {
  camera.start((size) => {
    fill([]);
    showStage("video", size);
  });
}

async function select(entry) {
  selected = entry;
  strip.mark(entry);
  close(picture);
  picture = null;
  message.textContent = "";
  panel.clear("Looking for faces …");
  const opened = await open(entry.file).catch(() => null); // recognising it says why
  if (selected !== entry) return close(opened);
  picture = opened;
  if (picture) byId("picture").src = picture.image.src;
  showStage(picture && "picture", picture);
  render();
}

/** Show the answer about the selected picture, once both are there. */
function render() {
  const [entry, shown] = [selected, picture];
  const { answer } = entry;
  if (answer?.error) {
    panel.clear("");
    complain(message, answer.error);
  } else if (answer?.faces && shown) {
    panel.show(shown, answer, {
      enrolAs: (i, whose) => nameFace(entry, answer.faces[i], i, whose),
      correctAs: (i, whose, then) => correctFace(entry, answer.faces[i], i, whose, then),
    });
  }
}

/** Recognise what has no answer yet, the selected picture first, until all have one or the service cannot go on. */
async function run() {
  const mine = entries;
  if (running === mine) return;
  running = mine;
  const next = () => [selected, ...mine].find((entry) => entry && !entry.answer && !entry.asking);
  try {
    for (let entry = next(); entry && mine === entries; entry = next()) {
      await ask(entry);
      if (entry === selected && !panel.hasFocus()) render(); // nobody's typing is taken away
    }
  } catch {
    if (mine === entries && !selected.answer && !selected.asking) panel.clear(""); // the page tells it
  }
  if (mine !== entries) return;
  running = null;
  if (mine.length) strip.conclude(mine);
}

/** With other options every picture may have other faces. */
function askAgain() {
  changes++;
  for (const entry of entries) entry.answer = null;
  run();
}

/** Recognise one picture. Throws only when the service can recognise none. */
async function ask(entry) {
  const before = changes;
  entry.answer = null;
  entry.asking = true;
  try {
    const opened = await open(entry.file);
    entry.place.replaceChildren(overview(opened));
    close(opened);
    deciding.know(await model());
    const answer = await recognise(entry.file, deciding.question(), panel.options());
    entry.answer = before === changes ? answer : null;
  } catch (error) {
    entry.answer = isOutage(error) ? null : { error };
    if (isOutage(error)) throw error;
  } finally {
    entry.asking = false;
  }
  strip.caption([entry]);
}

/** Enrol face i of a picture, then look again at this picture and at those with unknown faces. */
async function nameFace(entry, face, i, whose) {
  const sample = { ...newSample(whose, pathOf(entry.file)), face: middleOf(face.bbox), ...panel.options() };
  const { warnings } = await enrol(entry.file, sample);
  await lookAgain(entry, i, warnings, ({ faces }) => !panel.allKnown(faces));
}

/** Give face i to whose it is, then look again at all pictures: others may have been taken for the same. */
async function correctFace(entry, face, i, whose, then) {
  const path = pathOf(entry.file);
  const fields = { ...correction(face, whose, then), ...(path && { metadata: { path } }), ...panel.options() };
  const { warnings } = await correct(entry.file, fields);
  await lookAgain(entry, i, warnings, () => true);
}

/** Recognise a picture again after face i was enrolled, and then those whose answers may be out of date. */
async function lookAgain(entry, i, warnings, outOfDate) {
  changes++;
  deciding.refresh();
  if (!entries.includes(entry)) return;
  for (const other of entries) if (other.answer?.faces && outOfDate(other.answer)) other.answer = null;
  await ask(entry);
  if (entry === selected) {
    render();
    panel.remark(warnings);
    panel.focusFace(i);
  }
  run();
}

function showStage(what, size) {
  const empty = what === null && entries.length < 2;
  byId("recognise-empty").hidden = !empty;
  byId("recognise-shown").hidden = empty;
  byId("stage").hidden = what === null;
  byId("picture").hidden = what !== "picture";
  byId("video").hidden = what !== "video";
  if (size) shape(byId("stage"), size.width, size.height);
}
