// Boxes over a picture, and their labels, of which none may cover another.

import { el } from "./elements.js";

const LEVELS = ["", "short", "bare"]; // of a label, from all it can say down to the number alone
const CROWD = 7; // faces, from which on labels say no more than who is known
const GAP = 3; // pixels between a box and its label

const arrangements = new WeakMap(); // by layer: places its labels anew
const resized = new ResizeObserver((changes) => changes.forEach(({ target }) => arrangements.get(target)()));

/**
 * Draw boxes over a picture: each {box, number, name, figures, known}, in pixels of the picture.
 * A label says less where there is no room; the list beside the picture says all of it.
 */
export function drawBoxes(layer, width, height, items) {
  const crowd = items.length >= CROWD;
  layer.classList.toggle("crowd", crowd);
  const nodes = items.map(({ box, number, name, figures, known }) => {
    const text = el("span", {}, crowd && !known ? "" : name, crowd || !figures ? "" : el("small", {}, figures));
    const label = el("span", { class: "label" }, el("b", {}, `${number}`), text);
    const node = el("div", { class: known ? "box" : "box unknown" }, label);
    node.style.left = `${(100 * box.x) / width}%`;
    node.style.top = `${(100 * box.y) / height}%`;
    node.style.width = `${(100 * box.w) / width}%`;
    node.style.height = `${(100 * box.h) / height}%`;
    return node;
  });
  layer.replaceChildren(...nodes);
  arrangements.set(layer, () => arrange(layer, nodes));
  arrange(layer, nodes);
  resized.observe(layer);
}

/** Place the labels of these boxes, for the size that the layer has now. */
function arrange(layer, nodes) {
  const labels = nodes.map((node) => node.firstChild);
  for (const label of labels) label.hidden = false;
  const sizes = LEVELS.map((level) => {
    for (const label of labels) label.className = `label ${level}`;
    return labels.map(rectangle);
  });
  const room = rectangle(layer);
  const boxes = nodes.map(rectangle).map(({ x, y, w, h }) => ({ x: x - room.x, y: y - room.y, w, h }));
  const places = placeLabels(room, boxes, sizes);
  for (const [i, place] of places.entries()) {
    labels[i].hidden = place === null;
    if (place === null) continue;
    labels[i].className = `label ${LEVELS[place.level]}`;
    labels[i].style.left = `${place.x - boxes[i].x - nodes[i].clientLeft}px`;
    labels[i].style.top = `${place.y - boxes[i].y - nodes[i].clientTop}px`;
  }
}

function rectangle(node) {
  const { x, y, width: w, height: h } = node.getBoundingClientRect();
  return { x, y, w, h };
}

/**
 * Find places for labels such that none covers another: first for all at their smallest, so that every box has
 * its number, then for as much of each as there is room for beside the others.
 *
 * room: {w, h}; boxes: [{x, y, w, h}]; sizes: of each level, largest first, the {w, h} of each label.
 * Returns for each box {x, y, w, h, level}, or null where there is no room at all.
 */
export function placeLabels(room, boxes, sizes) {
  const smallest = sizes.length - 1;
  const places = boxes.map(() => null);

  /** The first place for label i that is free of other labels and, if so asked, of other boxes. */
  const free = (i, level, besideBoxes) =>
    around(boxes[i], sizes[level][i], room).find(
      (place) =>
        inside(place, room) &&
        !places.some((other, j) => j !== i && other && overlap(place, other)) &&
        !(besideBoxes && boxes.some((other, j) => j !== i && overlap(place, other))),
    );
  const put = (i, level, place) => place && (places[i] = { ...place, level });

  for (const i of boxes.keys()) put(i, smallest, free(i, smallest, true) ?? free(i, smallest, false));
  for (const i of boxes.keys()) {
    for (let level = 0; level < smallest && places[i]; level++) if (put(i, level, free(i, level, true))) break;
  }
  return places;
}

/** Where a label may go, all in the room, best first: above, below and beside its box, then over it. */
function around(box, size, room) {
  const { x, y, w, h } = box;
  const [right, bottom] = [x + w - size.w, y + h - size.h];
  const [above, below, before, after] = [y - size.h - GAP, y + h + GAP, x - size.w - GAP, x + w + GAP];
  const places = [
    [x, above], [right, above], [x, below], [right, below],
    [before, y], [after, y], [before, bottom], [after, bottom],
    [x, y], [right, y], [x, bottom], [right, bottom],
  ].map(([left, top]) => ({
    x: Math.max(0, Math.min(left, room.w - size.w)), y: Math.max(0, Math.min(top, room.h - size.h)), w: size.w, h: size.h,
  }));
  return places.sort((a, b) => Number(overlap(a, box)) - Number(overlap(b, box)));
}

const inside = ({ w, h }, room) => w <= room.w && h <= room.h;

const overlap = (a, b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
