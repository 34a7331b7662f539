// Pictures as the browser draws them: upright, in the pixels that the service's boxes are in.

import { byId, el } from "./elements.js";

// What systems and browsers may not know to be pictures; index.html has the same list.
const ENDINGS = [".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jpx", ".jxl", ".jfif", ".jpe"];
export const ACCEPT = ["image/*", ...ENDINGS].join(",");

const SIDE = 72; // of thumbnails, in CSS pixels

/** Read a picture; `image` has the size that its EXIF orientation gives it, like the service's boxes. */
export async function open(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(image.src);
    throw new Error("Not a picture that this browser can show.");
  }
  return { blob, image, width: image.naturalWidth, height: image.naturalHeight };
}

/**
 * Where a picture's file lies: its path below the folder that was chosen, with slashes, or its name.
 * Undefined for a picture that comes from no file.
 */
export const pathOf = ({ webkitRelativePath, name }) => webkitRelativePath?.replace(/^[^/]*[/]/, "") || name;

/** Tell, as far as its type or name does, whether a file is a picture; the service looks at its bytes. */
export const mayBePicture = ({ type, name }) =>
  type.startsWith("image/") || ENDINGS.some((ending) => name.toLowerCase().endsWith(ending));

/** Give back the memory of a picture that is shown no longer. */
export const close = (picture) => picture && URL.revokeObjectURL(picture.image.src);

/** "x, y, w, h" as the service writes it. */
export function parseBox(bbox) {
  const [x, y, w, h] = bbox.split(",").map(Number);
  return { x, y, w, h };
}

/** The middle of such a box: where enrolment is to look for this face and no other. */
export function middleOf(bbox) {
  const { x, y, w, h } = parseBox(bbox);
  return { x: x + w / 2, y: y + h / 2 };
}

/** What lies in a box and some of what is around it, as a small square canvas. */
export function thumbnail(source, { x, y, w, h }, around = 1.35) {
  const scale = Math.min(2, window.devicePixelRatio || 1);
  const canvas = el("canvas", { width: SIDE * scale, height: SIDE * scale, "aria-hidden": "true" });
  const size = around * Math.max(w, h);
  const [left, top] = [x + w / 2 - size / 2, y + h / 2 - size / 2];
  canvas.getContext("2d").drawImage(source, left, top, size, size, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** The whole picture as a small square canvas. */
export const overview = ({ image, width, height }) => thumbnail(image, { x: 0, y: 0, w: width, h: height }, 1);

/** What a video shows at this moment, in its own resolution. */
export async function frame(video) {
  const canvas = el("canvas", { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  return { blob: await toBlob(canvas), image: canvas, width: canvas.width, height: canvas.height };
}

const toBlob = (canvas) => new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.95));

/** Give a stage the shape of its picture, as large as there is room for and at most so tall. */
export function shape(stage, width, height, tallest = "68vh") {
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.style.width = `min(100%, ${(width / height).toFixed(4)} * ${tallest})`;
}

/** Call `take` with the files that are chosen; the same file may be chosen again. */
export function onChosen(id, take) {
  const input = byId(id);
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = "";
    if (files.length) take(files);
  });
}
