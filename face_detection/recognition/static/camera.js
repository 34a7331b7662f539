// The camera: what it sees is recognised as fast as answers come.

import { enrol, model, newSample, recognise } from "./api.js";
import * as deciding from "./deciding.js";
import { byId, pause } from "./elements.js";
import { complain, isOutage } from "./errors.js";
import * as panel from "./panel.js";
import { correct, correction } from "./people-api.js";
import { frame, middleOf } from "./pictures.js";

const WAIT_AFTER_ERROR_MS = 2000;

let stream = null;
let turn = 0; // counts starts and stops, so that what belongs to an earlier one is dropped
let facing = "user";

const video = byId("video");
const message = byId("recognise-message");

export const isOn = () => stream !== null;

/** The other camera of a device that has two, from the next start on. */
export const turnRound = () => (facing = facing === "user" ? "environment" : "user");

export function stop() {
  turn++;
  if (!stream) return;
  end(stream);
  stream = null;
  video.pause();
  byId("camera-toggle").textContent = "Use the camera";
  byId("camera-turn").hidden = true;
}

const end = (opened) => opened.getTracks().forEach((track) => track.stop());

/** Open the camera and recognise until it is stopped; `show` is called with the video once it has a size. */
export async function start(show) {
  stop();
  const mine = turn;
  message.textContent = "";
  if (!navigator.mediaDevices?.getUserMedia) {
    message.textContent = "Browsers allow the camera only on https pages, or on the server itself (localhost).";
    return;
  }
  try {
    const opened = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: facing, width: { ideal: 1280 } },
    });
    if (mine !== turn) return end(opened);
    stream = opened;
    stream.getVideoTracks()[0].addEventListener("ended", stop); // it was unplugged
    video.srcObject = stream;
    await video.play();
  } catch {
    if (mine !== turn) return;
    stop();
    message.textContent = "The camera cannot be used: either there is none, or this page has no permission to use it.";
    return;
  }
  byId("camera-toggle").textContent = "Stop the camera";
  navigator.mediaDevices.enumerateDevices().then((devices) => {
    byId("camera-turn").hidden = devices.filter(({ kind }) => kind === "videoinput").length < 2;
  });
  show({ width: video.videoWidth, height: video.videoHeight });
  panel.clear("Looking for faces …");
  await live(mine);
}

/** Ask about one frame after the other, each when the last answer is in; hold still while a face is named. */
async function live(mine) {
  while (mine === turn) {
    if (panel.hasFocus()) {
      video.pause();
      await panel.focusLeft();
      continue;
    }
    try {
      if (video.paused) await video.play();
      await new Promise(requestAnimationFrame); // none while the tab is hidden
      await look(mine);
      message.textContent = "";
    } catch (error) {
      if (mine !== turn) return;
      if (!isOutage(error)) complain(message, error);
      await pause(WAIT_AFTER_ERROR_MS);
    }
  }
}

async function look(mine) {
  const picture = await frame(video);
  deciding.know(await model());
  const answer = await recognise(picture.blob, deciding.question(), panel.options());
  if (mine !== turn || panel.hasFocus()) return;
  const goOn = () => {
    deciding.refresh();
    if (mine === turn) byId("camera-toggle").focus();
  };
  panel.show(picture, answer, {
    enrolAs: async (i, whose) => {
      await enrol(picture.blob, { ...newSample(whose), face: middleOf(answer.faces[i].bbox) });
      goOn();
    },
    correctAs: async (i, whose, then) => {
      await correct(picture.blob, correction(answer.faces[i], whose, then));
      goOn();
    },
  });
}
