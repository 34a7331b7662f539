// The view that recognises: a picture, or the camera as fast as answers come.

import { enrol, model, newSample, recognise } from "./api.js";
import { byId, count, distanceText, pause } from "./elements.js";
import { complain, isOutage } from "./errors.js";
import { faceItem } from "./faces.js";
import { alone, close, drawBoxes, frame, onChosen, open, parseBox, pathOf, shape, thumbnail } from "./pictures.js";

const WAIT_AFTER_ERROR_MS = 2000;

let picture = null; // what the boxes belong to
let shown = null; // of each of its faces: {box, item, update}; null until they are known
let turn = 0; // counts pictures and cameras, so that a late answer to an earlier one is dropped
let stream = null;
let facing = "user";

const slider = byId("threshold");
const video = byId("video");
const list = byId("faces");

export function start() {
  onChosen("recognise-file", take);
  onChosen("recognise-other", take);
  byId("recognise-example").addEventListener("click", example);
  byId("camera-start").addEventListener("click", startCamera);
  byId("camera-toggle").addEventListener("click", () => (stream ? leave() : startCamera()));
  byId("camera-turn").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    startCamera();
  });
  slider.addEventListener("input", redraw);
  byId("threshold-reset").addEventListener("click", () => model().then(useThreshold));
}

/** Called when the view is left: the camera goes off. */
export function leave() {
  if (!stream) return;
  turn++;
  stop(stream);
  stream = null;
  video.pause();
  byId("camera-toggle").textContent = "Use the camera";
  byId("camera-turn").hidden = true;
}

const stop = (opened) => opened.getTracks().forEach((track) => track.stop());

/** Recognise the first of these files. */
export async function take([file]) {
  leave();
  const mine = ++turn;
  const message = byId("recognise-message");
  message.textContent = "";
  try {
    const opened = await open(file);
    if (mine !== turn) return close(opened);
    close(picture);
    picture = opened;
    byId("picture").src = picture.image.src;
    showStage("picture", picture);
    clearFaces("Looking for faces …");
    await look(picture, mine);
  } catch (error) {
    if (mine !== turn) return;
    byId("summary").textContent = "";
    complain(message, error);
  }
}

async function example() {
  const answer = await fetch("static/ready.jpg");
  take([await answer.blob()]);
}

async function startCamera() {
  leave();
  const mine = ++turn;
  const message = byId("recognise-message");
  message.textContent = "";
  if (!navigator.mediaDevices?.getUserMedia) {
    message.textContent = "Browsers open the camera only for pages over https, or on the server itself (localhost).";
    return;
  }
  try {
    const opened = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: facing, width: { ideal: 1280 } },
    });
    if (mine !== turn) return stop(opened);
    stream = opened;
    stream.getVideoTracks()[0].addEventListener("ended", leave); // it was pulled out
    video.srcObject = stream;
    await video.play();
  } catch {
    if (mine !== turn) return;
    leave();
    message.textContent = "The camera cannot be used: there is none, or this page may not use it.";
    return;
  }
  byId("camera-toggle").textContent = "Stop the camera";
  navigator.mediaDevices.enumerateDevices().then((devices) => {
    byId("camera-turn").hidden = devices.filter(({ kind }) => kind === "videoinput").length < 2;
  });
  close(picture);
  showStage("video", { width: video.videoWidth, height: video.videoHeight });
  clearFaces("Looking for faces …");
  await live(mine, message);
}

/** Ask about one frame after the other, each when the last answer is in; hold still while a face is named. */
async function live(mine, message) {
  while (mine === turn) {
    if (held()) {
      video.pause();
      await new Promise((resolve) => list.addEventListener("focusout", resolve, { once: true }));
      await pause(0); // the focus may only have moved within the list
      continue;
    }
    try {
      if (video.paused) await video.play();
      await new Promise(requestAnimationFrame); // none while the tab is hidden
      await look(await frame(video), mine);
      message.textContent = "";
    } catch (error) {
      if (mine !== turn) return;
      if (!isOutage(error)) complain(message, error);
      await pause(WAIT_AFTER_ERROR_MS);
    }
  }
}

const held = () => stream !== null && list.contains(document.activeElement);

/** Ask about a picture and show the answer, unless something newer is shown by then. */
async function look(asked, mine) {
  const scale = await model();
  const { faces, ms } = await recognise(asked.blob);
  if (mine !== turn || held()) return;
  picture = asked;
  know(scale);
  const boxes = faces.map((face) => parseBox(face.bbox));
  shown = faces.map((face, i) => {
    const crop = thumbnail(asked.image, boxes[i]);
    const enrolAs = (name) => nameFace(asked, boxes, i, name, mine);
    return { box: boxes[i], ...faceItem(face, i + 1, crop, enrolAs) };
  });
  list.replaceChildren(...shown.map(({ item }) => item));
  byId("taken").textContent = `answered in ${Math.round(ms)} ms`;
  redraw();
}

/** Enrol face i: with the picture as it is if it is its largest face, else with what is around it. */
async function nameFace(asked, boxes, i, name, mine) {
  const others = boxes.filter((_, j) => j !== i);
  const blob = i === 0 ? asked.blob : await alone(asked.image, boxes[i], others);
  await enrol(blob, newSample(name, pathOf(asked.blob)));
  if (mine !== turn) return;
  if (stream) return byId("camera-toggle").focus(); // the camera goes on
  await look(asked, mine);
  shown?.[i]?.item.focus();
}

function redraw() {
  const threshold = Number(slider.value);
  byId("threshold-value").textContent = slider.disabled ? "" : distanceText(threshold);
  if (!shown) return;
  const told = shown.map(({ update }) => update(threshold));
  drawBoxes(
    byId("boxes"), picture.width, picture.height,
    told.map((face, i) => ({ ...face, box: shown[i].box, number: i + 1 })),
  );
  const names = told.map(({ name }) => name).join(", ");
  const summary = told.length ? `${count(told.length, "face", "faces")}: ${names}` : "No face was found in the picture.";
  if (byId("summary").textContent !== summary) byId("summary").textContent = summary; // is read aloud
}

/** Let the slider start from the model's threshold, as soon as the model is known. */
export function know(scale) {
  if (slider.disabled) useThreshold(scale);
}

function useThreshold({ threshold, distance_range: [low, high] }) {
  const step = (high - low) / 400;
  Object.assign(slider, { min: low, max: high, step, value: threshold, disabled: false });
  const reset = byId("threshold-reset");
  reset.hidden = false;
  reset.textContent = `Reset to ${threshold}, the model’s default`;
  redraw();
}

function showStage(what, { width, height }) {
  byId("recognise-empty").hidden = true;
  byId("recognise-shown").hidden = false;
  byId("picture").hidden = what !== "picture";
  video.hidden = what !== "video";
  shape(byId("stage"), width, height);
}

function clearFaces(text) {
  shown = null;
  list.replaceChildren();
  byId("boxes").replaceChildren();
  byId("taken").textContent = "";
  byId("summary").textContent = text;
}
