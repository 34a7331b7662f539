// The view that enrols: many pictures, each with its name, its progress and its face.

import { enrol, newSample, samplesOf, sourceOf } from "./api.js";
import { chooser } from "./chooser.js";
import { byId, count, el } from "./elements.js";
import { explain, isOutage } from "./errors.js";
import { nameOf } from "./file-names.js";
import { close, mayBePicture, onChosen, open, parseBox, pathOf, thumbnail } from "./pictures.js";
import { nameIn, picker, whose } from "./picker.js";

const AT_ONCE = 2;
const NAMES_SHOWN = 5;

// What a row may be, and how many of them are told when nothing more is under way.
const TOLD = {
  enrolled: "enrolled", skipped: "already enrolled", choosing: "with several faces to choose from", failed: "failed",
  waiting: "not tried",
};

let rows = []; // {file, name, face, poor, state, text, more, place, item}
let running = false;

const common = picker({ id: "enrol-name", placeholder: "optional" });

export function start() {
  byId("enrol-name-label").append(common);
  onChosen("enrol-files", take);
  onChosen("enrol-folder", takeFolder);
  byId("enrol-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) run(inState("waiting", "failed"));
  });
  byId("enrol-largest").addEventListener("click", () => {
    const several = inState("choosing");
    for (const entry of several) entry.face = "largest";
    run(several);
  });
  byId("enrol-replace").addEventListener("click", () => run(inState("skipped"), true));
  byId("enrol-reset").addEventListener("click", reset);
  for (const event of ["input", "picked"]) common.addEventListener(event, () => rename(inState("skipped")));
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

function row(file) {
  const address = URL.createObjectURL(file);
  const forget = () => URL.revokeObjectURL(address);
  const image = el("img", { src: address, alt: "", loading: "lazy", width: 72, height: 72, load: forget });
  image.addEventListener("error", () => image.remove()); // not a picture, or none that browsers show
  const place = el("span", { class: "place" }, image);
  const path = pathOf(file) ?? "Pasted picture";
  const name = picker({ "aria-label": `Name for ${path}`, placeholder: "Name" });
  name.value = nameOf(file);
  for (const event of ["input", "picked"]) name.addEventListener(event, () => rename([entry]));
  const text = el("p", { class: "state" }, "Waiting");
  const more = el("div"); // what can be done about it
  const about = el("div", {}, name, el("p", { class: "hint file" }, path), text, more);
  const item = el("li", { class: "waiting" }, place, about);
  const entry = { file, name, face: null, poor: false, text, more, place, state: "waiting", item };
  return entry;
}

function mark(entry, state, text, ...more) {
  entry.state = state;
  entry.item.className = state;
  entry.text.textContent = text;
  entry.more.replaceChildren(...more);
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
  const [skipped, several] = [inState("skipped"), inState("choosing")];
  const shared = nameIn(common) !== "";
  byId("enrol-queue").hidden = rows.length === 0;
  byId("view-enrol").classList.toggle("queued", rows.length > 0);
  byId("enrol-start").textContent = left.length
    ? `Enrol ${count(left.length, "picture", "pictures")}` : several.length ? "Choose faces" : "All enrolled";
  byId("enrol-start").disabled = running || left.length === 0;
  byId("enrol-reset").disabled = running;
  byId("enrol-largest").hidden = running || several.length === 0;
  byId("enrol-largest").textContent = `Take the largest face in ${count(several.length, "picture", "pictures")}`;
  byId("enrol-replace").hidden = running || skipped.length === 0;
  byId("enrol-replace").textContent = `Replace ${count(skipped.length, "enrolled picture", "enrolled pictures")}`;
  for (const { name, state } of rows) name.disabled = shared || state === "enrolled" || state === "sending";
  const progress = byId("enrol-progress");
  progress.hidden = !running;
  progress.max = rows.length;
  progress.value = rows.length - inState("waiting", "sending").length;
}

/** Enrol these, a few at a time, until all are done or nothing more can be. */
async function run(queue, replace = false) {
  running = true;
  byId("enrol-summary").textContent = "";
  for (const entry of queue) mark(entry, "waiting", "Waiting");
  const lists = new Map(); // by whose they are
  const enrolledAs = (who) => {
    const key = JSON.stringify(who);
    if (!lists.has(key)) lists.set(key, samplesByFile(who));
    return lists.get(key);
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
  const parts = Object.entries(TOLD)
    .map(([state, text]) => [inState(state).length, text])
    .filter(([number]) => number > 0);
  byId("enrol-summary").textContent = `${parts.map((part) => part.join(" ")).join(", ")}.`;
}

/** The samples of a {person} or a {name}, by the file that each was made from. */
async function samplesByFile(who) {
  const samples = await samplesOf(who);
  return new Map(samples.map((sample) => [keyOf(sourceOf(sample)), sample]));
}

const keyOf = (path) => path.normalize("NFC"); // systems write letters with accents in several ways

/** Enrol one picture unless it is enrolled under its name already; false when the service cannot take any. */
async function send(entry, enrolledAs, replace) {
  const { file } = entry;
  const input = nameIn(common) ? common : entry.name;
  const [name, who] = [nameIn(input), whose(input)];
  if (!name) {
    mark(entry, "failed", "Not enrolled: enter a name.");
    return true;
  }
  mark(entry, "sending", "Sending …");
  const path = pathOf(file);
  try {
    const enrolled = await enrolledAs(who);
    const earlier = path && enrolled.get(keyOf(path));
    if (earlier && !replace) {
      mark(entry, "skipped", "Skipped: already enrolled under this name");
      return true;
    }
    const sample = earlier ? renewed(earlier) : newSample(who, path);
    if (path) enrolled.set(keyOf(path), sample); // the same file may follow once more
    const seen = await enrol(file, { ...sample, face: entry.face ?? "only", accept_low_quality: entry.poor }).catch((error) => {
      if (!earlier) enrolled.delete(keyOf(path));
      throw error;
    });
    entry.name.value = name;
    const warnings = seen.warnings.map(({ detail }) => detail).join(" ");
    const person = el("a", { href: `#person/${encodeURIComponent(seen.person)}` }, "Show the person");
    mark(entry, "enrolled", warnings ? `Enrolled. ${warnings}` : "Enrolled", person);
    entry.item.classList.toggle("warned", warnings !== "");
    await showFace(entry, seen);
  } catch (error) {
    return fail(entry, error);
  }
  return true;
}

/** Say why a picture is not enrolled, and offer what may help; false when the service cannot take any. */
async function fail(entry, error) {
  if (error.code === "several_faces") return letChoose(entry);
  const more = error.code === "low_quality" ? [el("button", { type: "button", click: acceptPoor }, "Enrol it all the same")] : [];
  mark(entry, "failed", `Not enrolled: ${explain(error)}`, ...more);
  return !isOutage(error);

  function acceptPoor() {
    entry.poor = true;
    if (running) mark(entry, "failed", "Not enrolled yet.");
    else run([entry]);
  }
}

/** Let the user choose one of the faces of a picture; it is enrolled with the next ones. */
async function letChoose(entry) {
  try {
    const faces = await chooser(entry.file, (face, name) => {
      entry.face = face;
      entry.state = "waiting";
      entry.item.className = "waiting";
      entry.text.textContent = `${name} will be enrolled.`;
      redraw();
    });
    mark(entry, "choosing", "Several faces: whose is meant?", faces);
  } catch (error) {
    mark(entry, "choosing", `Several faces, which cannot be shown: ${explain(error)}`);
    return !isOutage(error);
  }
  return true;
}

/** A sample that takes another picture, and keeps all else that is stored with it. */
const renewed = ({ id, person, metadata, action, expires_at }) => ({ id, person, metadata, action, expires_at });

/** Show the face that was enrolled, where the browser can show the picture. */
async function showFace({ file, place }, { bbox }) {
  const picture = await open(file).catch(() => null);
  if (picture) place.replaceChildren(thumbnail(picture.image, parseBox(bbox)));
  close(picture);
}

function reset() {
  rows = [];
  byId("enrol-list").replaceChildren();
  common.value = "";
  byId("enrol-summary").textContent = "";
  redraw();
}
