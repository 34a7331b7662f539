// Calls of the service this page came from. A key lives in the sessionStorage of this tab, and nowhere else.

import { answerOf, byId, pause } from "./elements.js";
import { ApiError } from "./errors.js";

const KEY = "face-recognition-key";
const MOST_TRIES = 4;
const LONGEST_WAIT_S = 10;
const EVERYTHING = 1e9; // as min_distance: every face comes with its nearest people, however far

/** What became of the last call: "well", "busy" (another try follows) or "failed". */
export const calls = new EventTarget();

export const hasKey = () => sessionStorage.getItem(KEY) !== null;

export const forgetKey = () => sessionStorage.removeItem(KEY);

/** Call a route. Asks for a key when one is needed, and tries again when the server is busy. */
export async function call(path, { method = "GET", body, type } = {}) {
  for (let tries = 1; ; tries++) {
    const key = sessionStorage.getItem(KEY);
    const headers = { ...(type && { "Content-Type": type }), ...(key && { Authorization: `Bearer ${key}` }) };
    let answer;
    try {
      answer = await fetch(path, { method, body, headers, cache: "no-store", credentials: "omit" });
    } catch {
      throw failed(new ApiError(0, "unreachable", "No answer."));
    }
    if (answer.ok) {
      tell("well");
      return answer;
    }
    const error = await errorIn(answer);
    if (answer.status === 401 && (await otherKey(key))) continue;
    const again = answer.status === 429 && error.retryAfterS <= LONGEST_WAIT_S && tries < MOST_TRIES;
    if (!again) throw failed(error);
    tell("busy", error);
    await pause(1000 * error.retryAfterS);
  }
}

const json = async (path, options) => (await call(path, options)).json();

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

let known = null;

/** Whether all of it works, and the model: its name, threshold and range of distances. */
export const ready = async () => (known = await json("ready"));

/** The model, asked for once. */
export const model = async () => known ?? ready();

const form = (fields) => {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return { method: "POST", body: data };
};

/** Every face of a picture, largest first, each with its two nearest people whatever their distance. */
export const recognise = (file) =>
  json("face-recognition", form({ file, include_unknown: true, top_k: 2, min_distance: EVERYTHING }));

export const detect = (file) => json("detect", form({ file }));

export const verify = (image1, image2) => json("verify", form({ image1, image2 }));

/** Enrol one picture; an error of this one picture is thrown like any other. */
export async function enrol(id, name, file) {
  const body = JSON.stringify([{ id, name, image: await base64(file) }]);
  const { errors } = await json("update-samples", { method: "POST", body, type: "application/json" });
  if (errors[id]) throw new ApiError(200, errors[id].code, errors[id].detail);
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

export const deleteSample = (id) => json(`samples/${encodeURIComponent(id)}`, { method: "DELETE" });

export const deleteSamples = (query) => json(`samples?${new URLSearchParams(query)}`, { method: "DELETE" });

export const exported = async () => (await call("export")).blob();

export const imported = (file) => json("import", { method: "POST", body: file, type: "application/x-ndjson" });
