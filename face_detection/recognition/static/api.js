// Calls of the service this page came from. A key lives in the sessionStorage of this tab, and nowhere else.

import { answerOf, byId, pause } from "./elements.js";
import { ApiError } from "./errors.js";

const KEY = "face-recognition-key";
const MOST_TRIES = 4;
const LONGEST_WAIT_S = 10;

/** What became of the last call: "well", "busy" (another try follows) or "failed". */
export const calls = new EventTarget();

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export const forgetKey = () => sessionStorage.removeItem(KEY);

/** Call a route. Asks for a key when one is needed, and tries again when the server is busy; `quiet` does neither. */
export async function call(path, { method = "GET", body, type, quiet = false } = {}) {
  for (let tries = 1; ; tries++) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...(type && { "Content-Type": type }), ...(key && { Authorization: `Bearer ${key}` }) };
    let answer;
    try {
      answer = await fetch(path, { method, body, headers, cache: "no-store", credentials: "omit" });
    } catch {
      const error = new ApiError(0, "unreachable", "No answer.");
      throw quiet ? error : failed(error);
    }
    if (answer.ok) {
      if (!quiet) tell("well");
      return answer;
    }
    const error = await errorIn(answer);
    if (quiet) throw error;
    if (answer.status === 401 && (await otherKey(key))) continue;
    const again = answer.status === 429 && error.retryAfterS <= LONGEST_WAIT_S && tries < MOST_TRIES;
    if (!again) throw failed(error);
    tell("busy", error);
    await pause(1000 * error.retryAfterS);
  }
}

export const json = async (path, options) => (await call(path, options)).json();

async function errorIn(answer) {
  const retryAfterS = Number(answer.headers.get("Retry-After")) || 2;
  try {
    const { code, detail } = await answer.json();
    return new ApiError(answer.status, code, detail, retryAfterS);
  } catch {
    return new ApiError(answer.status, "unknown", `The server answered with status ${answer.status}.`, retryAfterS);
  }
}

function failed(error) {
  tell("failed", error);
  return error;
}

function tell(what, error) {
  calls.dispatchEvent(new CustomEvent("told", { detail: { what, error } }));
}

let asking = null;

/** Whether there is a key to try after the one that was refused. Several calls share one question. */
async function otherKey(refused) {
  if (asking || sessionStorage.getItem(KEY) === refused) {
    asking ??= askForKey(refused !== null).finally(() => (asking = null));
    await asking;
  }
  return hasKey();
}

async function askForKey(again) {
  forgetKey();
  byId("key-refused").textContent = again ? "That key was not accepted." : "";
  byId("key").value = "";
  const answer = await answerOf(byId("key-dialog"));
  const key = byId("key").value.trim();
  byId("key").value = "";
  if (answer === "use" && key) sessionStorage.setItem(KEY, key);
}

/** The service's version, undefined where it does not tell it. */
export async function version() {
  const answer = await fetch("health", { cache: "no-store", credentials: "omit" });
  return (await answer.json()).version;
}

let known = null;

/** Whether all of it works, the model (its name, threshold and range of distances), and what decisions mean. */
export const ready = async (options) => (known = await json("ready", options));

/** The same, asked for once. */
export const model = async () => known ?? ready();

/** What a call takes as a form. */
export const form = (fields) => {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return { method: "POST", body: data };
};

/**
 * Every face of a picture, largest first, each with the two people that it may be, as far as the call allows.
 *
 * question: what decides, as a field of the call: {min_distance} or {max_false_match}; options: further ones.
 * Returns {faces, warnings, ms}; the warnings are codes. `poor` of a face tells that it gets no name, however near
 * somebody is.
 */
export async function recognise(file, question, options) {
  const began = performance.now();
  const answer = await call("face-recognition", form({ file, include_unknown: true, top_k: 2, ...question, ...options }));
  const warnings = answer.headers.get("X-Picture-Warnings")?.split(", ") ?? [];
  const isPoor = (face) => face.candidates.length === 0 && isNear(face, question);
  const faces = (await answer.json()).map((face) => ({ ...face, poor: isPoor(face) }));
  return { faces, warnings, ms: performance.now() - began };
}

function isNear({ distance, false_match: rate }, { min_distance: limit, max_false_match: most }) {
  return limit === undefined ? rate !== null && rate <= most : distance !== null && distance < limit;
}

/** Every face of a picture, largest first. */
export const detect = (file, options) => json("detect", form({ file, ...options }));

export const verify = (image1, image2) => json("verify", form({ image1, image2 }));

/**
 * A sample to enrol, under an id that says nothing.
 *
 * whose: {person}, an id, or {name}; path: tells its file again when it is enrolled once more.
 */
export const newSample = (whose, path) => ({ id: uuid(), ...whose, ...(path && { metadata: { path } }) });

/** The file that a sample was made from; before 1.0.0 its path was the sample's id. */
export const sourceOf = ({ id, metadata }) => (typeof metadata?.path === "string" ? metadata.path : id);

/** A random UUID. Pages over plain http have no crypto.randomUUID. */
function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80; // the variant of RFC 9562
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
}

/** Enrol one picture and tell what was seen in it; an error of this one picture is thrown like any other. */
export async function enrol(file, sample) {
  const body = JSON.stringify([{ ...sample, image: await base64(file) }]);
  const { errors, samples } = await json("update-samples", { method: "POST", body, type: "application/json" });
  const error = errors[sample.id];
  if (error) throw new ApiError(200, error.code, error.detail);
  return samples[sample.id];
}

function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

export const samples = (query) => json(`samples?${new URLSearchParams(query)}`);

/** All samples of a {person}, an id, or of a {name}. */
export async function samplesOf(whose) {
  const found = [];
  for (let after = null; ; ) {
    const page = await samples({ ...whose, limit: 1000, ...(after !== null && { after }) });
    found.push(...page.samples);
    after = page.next;
    if (after === null) return found;
  }
}

export const deleteSamples = (query) => json(`samples?${new URLSearchParams(query)}`, { method: "DELETE" });

/** Delete one sample. Browsers take `.` and `..`, ids of older services, out of every path. */
export const deleteSample = (id) =>
  [".", ".."].includes(id) ? deleteSamples({ id }) : json(`samples/${encodeURIComponent(id)}`, { method: "DELETE" });

export const exported = async () => (await call("export")).blob();

export const imported = (file) => json("import", { method: "POST", body: file, type: "application/x-ndjson" });
