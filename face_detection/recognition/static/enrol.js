// The view that enrols: many pictures, each with its name, its progress and its face.

import { enrol, newSample, samplesOf, sourceOf } from "./api.js";
import { byId, count, el } from "./elements.js";
import { explain, isOutage } from "./errors.js";
import { close, mayBePicture, onChosen, open, parseBox, pathOf, thumbnail } from "./pictures.js";

const AT_ONCE = 2;
const NAMES_SHOWN = 5;

let rows = []; // {file, name, state, text, place, item}
let running = false;

export function start() {
  onChosen("enrol-files", take);
  onChosen("enrol-folder", takeFolder);
  byId("enrol-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) run(inState("waiting", "failed"));
  });
  byId("enrol-replace").addEventListener("click", () => run(inState("skipped"), true));
  byId("enrol-reset").addEventListener("click", reset);
  byId("enrol-name").addEventListener("input", () => rename(inState("skipped")));
}

/** Put these files on the list. */
export function take(files) {
  const added = files.map(row);
  rows.push(...added);
  byId("enrol-list").append(...added.map(({ item }) => item));
  byId("enrol-summary").textContent = "";
  redraw();
}

/** Put the pictures of a folder on the list, and say which files are none. */
function takeFolder(files) {
  take(files.filter(mayBePicture));
  const others = files.filter((file) => !mayBePicture(file) && !file.name.startsWith(".")).map(({ name }) => name);
  const shown = others.slice(0, NAMES_SHOWN).join(", ") + (others.length > NAMES_SHOWN ? ", …" : "");
  if (others.length) byId("enrol-summary").textContent = `${count(others.length, "file is", "files are")} no picture: ${shown}`;
}

/** The name that a file suggests, as the command line has it: its folder's below the one chosen, else its own. */
export function nameOf(file) {
  const [name = "", folder] = (pathOf(file) ?? "").split("/").reverse();
  return (folder ?? name.replace(/\.[^.]*$/, "")).normalize("NFC").trim();
}

function row(file) {
  const address = URL.createObjectURL(file);
  const forget = () => URL.revokeObjectURL(address);
  const image = el("img", { src: address, alt: "", loading: "lazy", width: 72, height: 72, load: forget });
  image.addEventListener("error", () => image.remove()); // not a picture, or none that browsers show
  const place = el("span", { class: "place" }, image);
  const path = pathOf(file) ?? "Pasted picture";
  const name = el("input", {
    type: "text", maxlength: 1000, autocomplete: "off", "aria-label": `Name for ${path}`, input: () => rename([entry]),
  });
  name.value = nameOf(file);
  const text = el("p", { class: "state" }, "Waiting");
  const about = el("div", {}, name, el("p", { class: "hint file" }, path), text);
  const entry = { file, name, text, place, state: "waiting", item: el("li", { class: "waiting" }, place, about) };
  return entry;
}

function mark(entry, state, text) {
  entry.state = state;
  entry.item.className = state;
  entry.text.textContent = text;
  redraw();
}

const inState = (...states) => rows.filter(({ state }) => states.includes(state));

/** Under another name a picture may not be enrolled yet. */
function rename(entries) {
  for (const entry of entries) if (entry.state === "skipped") mark(entry, "waiting", "Waiting");
  redraw();
}

function redraw() {
  const left = inState("waiting", "failed", "sending");
  const skipped = inState("skipped");
  const common = byId("enrol-name").value.trim();
  byId("enrol-queue").hidden = rows.length === 0;
  byId("view-enrol").classList.toggle("queued", rows.length > 0);
  byId("enrol-start").textContent = left.length ? `Enrol ${count(left.length, "picture", "pictures")}` : "All enrolled";
  byId("enrol-start").disabled = running || left.length === 0;
  byId("enrol-reset").disabled = running;
  byId("enrol-replace").hidden = running || skipped.length === 0;
  byId("enrol-replace").textContent = `Replace ${count(skipped.length, "enrolled picture", "enrolled pictures")}`;
  for (const { name, state } of rows) name.disabled = common !== "" || state === "enrolled" || state === "sending";
  const progress = byId("enrol-progress");
  progress.hidden = !running;
  progress.max = rows.length;
  progress.value = inState("enrolled", "skipped", "failed").length;
}

/** Enrol these, a few at a time, until all are done or nothing more can be. */
async function run(queue, replace = false) {
  running = true;
  byId("enrol-summary").textContent = "";
  for (const entry of queue) mark(entry, "waiting", "Waiting");
  const lists = new Map(); // by name
  const enrolledAs = (name) => {
    if (!lists.has(name)) lists.set(name, samplesByFile(name));
    return lists.get(name);
  };
  const lane = async () => {
    for (let entry = queue.shift(); entry; entry = queue.shift()) {
      if (await send(entry, enrolledAs, replace)) continue;
      queue.length = 0; // the next ones would fare no better
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  running = false;
  redraw();
  const parts = [["enrolled", "enrolled"], ["skipped", "already enrolled"], ["failed", "failed"], ["waiting", "not tried"]]
    .map(([state, text]) => [inState(state).length, text])
    .filter(([number]) => number > 0);
  byId("enrol-summary").textContent = `${parts.map((part) => part.join(" ")).join(", ")}.`;
}

/** The samples of a name, by the file that each was made from. */
async function samplesByFile(name) {
  const samples = await samplesOf(name);
  return new Map(samples.map((sample) => [keyOf(sourceOf(sample)), sample]));
}

const keyOf = (path) => path.normalize("NFC"); // systems write letters with accents in several ways

/** Enrol one picture unless it is enrolled under its name already; false when the service cannot take any. */
async function send(entry, enrolledAs, replace) {
  const { file } = entry;
  const name = (byId("enrol-name").value || entry.name.value).normalize("NFC").trim();
  if (!name) {
    mark(entry, "failed", "Not enrolled: enter a name.");
    return true;
  }
  entry.name.value = name;
  mark(entry, "sending", "Sending …");
  const path = pathOf(file);
  try {
    const enrolled = await enrolledAs(name);
    const earlier = path && enrolled.get(keyOf(path));
    if (earlier && !replace) {
      mark(entry, "skipped", "Skipped: already enrolled under this name");
      return true;
    }
    const sample = earlier ? renewed(earlier) : newSample(name, path);
    if (path) enrolled.set(keyOf(path), sample); // the same file may follow once more
    const seen = await enrol(file, sample).catch((error) => {
      if (!earlier) enrolled.delete(keyOf(path));
      throw error;
    });
    const warnings = seen.warnings.map(({ detail }) => detail).join(" ");
    mark(entry, "enrolled", warnings ? `Enrolled. ${warnings}` : "Enrolled");
    await showFace(entry, seen);
  } catch (error) {
    mark(entry, "failed", `Not enrolled: ${explain(error)}`);
    return !isOutage(error);
  }
  return true;
}

/** A sample that takes another picture, and keeps all else that is stored with it. */
const renewed = ({ id, name, metadata, action, expires_at }) => ({ id, name, metadata, action, expires_at });

/** Show the face that was enrolled, where the browser can show the picture. */
async function showFace({ file, place }, { bbox }) {
  const picture = await open(file).catch(() => null);
  if (picture) place.replaceChildren(thumbnail(picture.image, parseBox(bbox)));
  close(picture);
}

function reset() {
  rows = [];
  byId("enrol-list").replaceChildren();
  byId("enrol-name").value = "";
  byId("enrol-summary").textContent = "";
  redraw();
}
