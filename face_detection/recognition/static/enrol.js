// The view that enrols: many pictures, each with its name, its progress and its face.

import { detect, enrol } from "./api.js";
import { byId, count, el } from "./elements.js";
import { explain, isOutage } from "./errors.js";
import { close, onChosen, open, parseBox, thumbnail } from "./pictures.js";

const AT_ONCE = 2;

let rows = []; // {file, name, state, text, place, item}
let running = false;

export function start() {
  onChosen("enrol-files", take);
  onChosen("enrol-folder", (files) => take(files.filter(({ type }) => type.startsWith("image/"))));
  byId("enrol-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!running) run();
  });
  byId("enrol-reset").addEventListener("click", reset);
  byId("enrol-name").addEventListener("input", redraw);
}

/** Put these files on the list. */
export function take(files) {
  const added = files.map(row);
  rows.push(...added);
  byId("enrol-list").append(...added.map(({ item }) => item));
  byId("enrol-summary").textContent = "";
  redraw();
}

/** The name that a file suggests: its folder's where a folder was chosen, else its own without numbers. */
export function nameOf({ name, webkitRelativePath }) {
  const folder = webkitRelativePath?.split("/").at(-2);
  const stem = folder ?? name.replace(/\.[^.]*$/, "").replace(/[\s_.-]*\(?\d+\)?$/, "");
  return stem.replace(/[_\s]+/g, " ").trim();
}

function row(file) {
  const address = URL.createObjectURL(file);
  const forget = () => URL.revokeObjectURL(address);
  const image = el("img", { src: address, alt: "", loading: "lazy", width: 72, height: 72, load: forget });
  image.addEventListener("error", () => image.remove()); // not a picture, or none that browsers show
  const place = el("span", { class: "place" }, image);
  const name = el("input", {
    type: "text", maxlength: 1000, autocomplete: "off", "aria-label": `Name for ${file.name}`, input: redraw,
  });
  name.value = nameOf(file);
  const text = el("p", { class: "state" }, "Waiting");
  const about = el("div", {}, name, el("p", { class: "hint file" }, file.name), text);
  return { file, name, text, place, state: "waiting", item: el("li", { class: "waiting" }, place, about) };
}

function mark(entry, state, text) {
  entry.state = state;
  entry.item.className = state;
  entry.text.textContent = text;
  redraw();
}

const missing = () => rows.filter(({ state }) => state !== "enrolled");

function redraw() {
  const left = missing();
  const common = byId("enrol-name").value.trim();
  byId("enrol-queue").hidden = rows.length === 0;
  byId("view-enrol").classList.toggle("queued", rows.length > 0);
  byId("enrol-start").textContent = left.length ? `Enrol ${count(left.length, "picture", "pictures")}` : "All are enrolled";
  byId("enrol-start").disabled = running || left.length === 0;
  byId("enrol-reset").disabled = running;
  for (const { name, state } of rows) name.disabled = common !== "" || state === "enrolled" || state === "sending";
  const progress = byId("enrol-progress");
  progress.hidden = !running;
  progress.max = rows.length;
  progress.value = rows.filter(({ state }) => state === "enrolled" || state === "refused").length;
}

/** Enrol what is not enrolled yet, a few at a time, until all is done or nothing more can be. */
async function run() {
  running = true;
  byId("enrol-summary").textContent = "";
  const queue = missing();
  for (const entry of queue) mark(entry, "waiting", "Waiting");
  const lane = async () => {
    for (let entry = queue.shift(); entry; entry = queue.shift()) {
      if (await send(entry)) continue;
      queue.length = 0; // the next ones would fare no better
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  running = false;
  redraw();
  const of = (wanted) => rows.filter(({ state }) => state === wanted).length;
  const told = [`${of("enrolled")} enrolled`, `${of("refused")} refused`, `${of("waiting")} not tried`];
  byId("enrol-summary").textContent = `${told.filter((text) => !text.startsWith("0 ")).join(", ")}.`;
}

/** Enrol one picture; false when the service cannot take any. */
async function send(entry) {
  const { file } = entry;
  const name = byId("enrol-name").value.trim() || entry.name.value.trim();
  if (!name) {
    mark(entry, "refused", "Not enrolled: it needs a name.");
    return true;
  }
  entry.name.value = name;
  mark(entry, "sending", "Sending …");
  try {
    // the same file under the same name again replaces its sample
    await enrol(`${[...name].slice(0, 200).join("")}/${[...file.name].slice(-200).join("")} (${file.size})`, name, file);
  } catch (error) {
    mark(entry, "refused", `Not enrolled: ${explain(error)}`);
    return !isOutage(error);
  }
  mark(entry, "enrolled", "Enrolled");
  await showFace(entry);
  return true;
}

/** Show the face that was enrolled, where the browser can show the picture and the key lets us ask. */
async function showFace({ file, place, text }) {
  let picture = null;
  try {
    const faces = await detect(file);
    picture = await open(file);
    if (!faces.length) return;
    place.replaceChildren(thumbnail(picture.image, parseBox(faces[0].bbox)));
    if (faces.length > 1) text.textContent = `Enrolled: the largest of ${faces.length} faces`;
  } catch {
    // it is enrolled all the same
  } finally {
    close(picture);
  }
}

function reset() {
  rows = [];
  byId("enrol-list").replaceChildren();
  byId("enrol-name").value = "";
  byId("enrol-summary").textContent = "";
  redraw();
}
