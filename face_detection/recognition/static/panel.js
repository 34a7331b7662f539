// The faces that are shown: boxes over the picture, and a list beside it. Both follow what decides.

import { drawBoxes } from "./boxes.js";
import * as deciding from "./deciding.js";
import { byId, count } from "./elements.js";
import { faceItem, nameOf } from "./faces.js";
import { parseBox, thumbnail } from "./pictures.js";

let shown = null; // {picture, faces, items: [{box, item, update}]}, or null while no faces are known

const list = byId("faces");
const smallFaces = byId("small-faces");

// What is worth knowing of a picture, by the code of the warning.
const REMARKS = {
  contrast_raised: "The picture is so dark or flat that its contrast had to be raised to find faces.",
  searched_shrunk: "The picture is large and was searched at a smaller size: small faces may be missing.",
  turned: "The picture lies on its side or upside down.",
};

/** `onMove` is called whenever other faces may have names, `onOptions` whenever the service has to be asked anew. */
export function start(onMove, onOptions) {
  const move = () => {
    redraw();
    onMove();
  };
  deciding.start(move, onOptions);
  smallFaces.addEventListener("change", onOptions);
}

/** What the user has chosen for the pictures to come, as fields of the calls. */
export const options = () => (smallFaces.checked ? { small_faces: true } : {});

/**
 * Show the faces of a picture.
 *
 * enrolAs(i, whose), correctAs(i, whose, then): called when face i is given to {person} or {name}, as an unknown
 * one, and as one that was taken for somebody else's; `then` says what becomes of that enrolled face.
 */
export function show(picture, { faces, warnings, ms }, { enrolAs, correctAs }) {
  const items = faces.map((face, i) => {
    const box = parseBox(face.bbox);
    const crop = thumbnail(picture.image, box);
    const [enrol, correct] = [enrolAs, correctAs].map((work) => (...told) => work(i, ...told));
    return { box, ...faceItem(face, i + 1, crop, enrol, correct) };
  });
  shown = { picture, faces, items };
  list.replaceChildren(...items.map(({ item }) => item));
  byId("taken").textContent = `answered in ${Math.round(ms)} ms`;
  byId("remarks").textContent = warnings.map((code) => REMARKS[code]).filter(Boolean).join(" ");
  redraw();
}

/** Show no faces, and say why. */
export function clear(text) {
  shown = null;
  list.replaceChildren();
  byId("boxes").replaceChildren();
  byId("taken").textContent = "";
  byId("remarks").textContent = "";
  byId("summary").textContent = text;
}

/** Say what is worth knowing of what was done with a face that is shown. */
export const remark = (warnings) => byId("remarks").append(warnings.map(({ detail }) => ` ${detail}`).join(""));

export const focusFace = (i) => shown?.items[i]?.item.focus();

export const hasFocus = () => list.contains(document.activeElement);

/** Resolve when the focus leaves the list of faces. */
export async function focusLeft() {
  while (hasFocus()) await new Promise((resolve) => list.addEventListener("focusout", () => setTimeout(resolve), { once: true }));
}

/** Whether each of these faces is somebody's by what decides at this moment. */
export const allKnown = (faces) => faces.every((face) => nameOf(face) !== null);

/** Who these faces are by what decides at this moment: "Ann, Ben, 2 unknown". */
export function peopleIn(faces) {
  const names = new Set(faces.map(nameOf).filter((name) => name !== null));
  const unknown = faces.filter((face) => nameOf(face) === null).length;
  return [...names, ...(unknown ? [unknown === 1 ? "unknown" : `${unknown} unknown`] : [])].join(", ");
}

function redraw() {
  if (!shown) return;
  const { picture, faces, items } = shown;
  const labelled = items.map(({ box, update }, i) => ({ ...update(), box, number: i + 1 }));
  drawBoxes(byId("boxes"), picture.width, picture.height, labelled);
  const summary = faces.length
    ? `${count(faces.length, "face", "faces")}: ${peopleIn(faces)}` : "No face was found in the picture.";
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary; // is read aloud
}
