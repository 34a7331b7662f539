// Pictures as the browser draws them: upright, in the pixels that the service's boxes are in.

import { byId, el } from "./elements.js";

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

/** Give back the memory of a picture that is shown no longer. */
export const close = (picture) => picture?.image.src && URL.revokeObjectURL(picture.image.src);

/** "x, y, w, h" as the service writes it. */
export function parseBox(bbox) {
  const [x, y, w, h] = bbox.split(",").map(Number);
  return { x, y, w, h };
}

/** The face and some of what is around it, as a small square canvas to look at. */
export function thumbnail(source, { x, y, w, h }, side = 72) {
  const scale = Math.min(2, window.devicePixelRatio || 1);
  const canvas = el("canvas", { width: side * scale, height: side * scale, "aria-hidden": "true" });
  const size = 1.35 * Math.max(w, h);
  const [left, top] = [x + w / 2 - size / 2, y + h / 2 - size / 2];
  canvas.getContext("2d").drawImage(source, left, top, size, size, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/**
 * A picture in which this face is the largest, for enrolment: its surroundings, with all other faces painted over.
 * All in full resolution, because the service cuts faces out of what it is given.
 */
export function alone(source, box, others) {
  const margin = 0.6 * Math.max(box.w, box.h);
  const canvas = el("canvas", { width: box.w + 2 * margin, height: box.h + 2 * margin });
  const context = canvas.getContext("2d");
  context.fillStyle = "#808080";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.translate(margin - box.x, margin - box.y);
  context.drawImage(source, 0, 0);
  for (const { x, y, w, h } of others) context.fillRect(x, y, w, h);
  context.drawImage(source, box.x, box.y, box.w, box.h, box.x, box.y, box.w, box.h);
  return toBlob(canvas);
}

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

/** Draw boxes over a stage: each {box, number, text, known}. What they say stands in a list beside them too. */
export function drawBoxes(layer, width, height, items) {
  layer.classList.toggle("dense", items.length > 6);
  layer.replaceChildren(
    ...items.map(({ box, number, text, known }) => {
      const label = el("span", { class: "label" }, el("b", {}, `${number}`), el("span", {}, text));
      label.classList.toggle("inside", box.y < 0.09 * height);
      label.classList.toggle("right", box.x + box.w / 2 > 0.6 * width);
      const node = el("div", { class: known ? "box" : "box unknown" }, label);
      node.style.left = `${(100 * box.x) / width}%`;
      node.style.top = `${(100 * box.y) / height}%`;
      node.style.width = `${(100 * box.w) / width}%`;
      node.style.height = `${(100 * box.h) / height}%`;
      return node;
    }),
  );
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
