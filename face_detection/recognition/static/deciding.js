// What gives a face a name: a distance, or the share of strangers who get one, too. The service is asked for more than
// the sliders allow, so that moving them asks it nothing.

import { model, ready } from "./api.js";
import { byId, distanceText, percent } from "./elements.js";

// With either, faces come with whoever is near, as far as the call allows.
const EVERY_DISTANCE = { min_distance: 1e9 };
const MOST_STRANGERS = { max_false_match: 0.5 };

const USUAL = 0.01; // the share of strangers to begin with
const LEAST_TOLD = 1e-5; // of strangers; no scores that were measured tell of fewer

const distance = byId("threshold");
const strangers = byId("wish");
const byDistance = byId("by-distance");
const byStrangers = byId("by-strangers");

let decisions = null; // what wishes mean in this gallery, as /ready has it
let steps = []; // of the slider of strangers: the wishes, the strictest first
let share = USUAL; // of strangers, that is wished
let moved = () => {};
let changed = () => {};

/** `onMove` is called whenever other faces may have names, `onRule` whenever the service has to be asked anew. */
export function start(onMove, onRule) {
  moved = onMove;
  changed = onRule;
  distance.addEventListener("input", show);
  strangers.addEventListener("input", () => useWish(steps[Number(strangers.value)].max_false_match));
  byId("threshold-reset").addEventListener("click", () => model().then(useThreshold));
  byId("wish-reset").addEventListener("click", () => useWish(decisions.max_false_match));
  for (const choice of [byDistance, byStrangers]) choice.addEventListener("change", follow);
}

/** Begin with what the service decides by, as soon as that is known; later on, say what wishes mean by now. */
export function know({ decisions: told, ...scale }) {
  if (told === decisions) return;
  const first = decisions === null;
  decisions = told;
  steps = [...told.wishes].reverse();
  const offered = steps.length > 0;
  byStrangers.disabled = !offered;
  byId("strangers-refused").hidden = offered;
  Object.assign(strangers, { min: 0, max: Math.max(0, steps.length - 1), step: 1 });
  if (first) {
    share = told.max_false_match ?? USUAL;
    byStrangers.checked = offered && told.max_false_match !== null;
    useThreshold(scale);
  }
  useWish(share);
  if (byStrangers.checked && !offered) {
    byDistance.checked = true;
    follow();
  }
}

/** Ask again what wishes mean, once it is known: it changes with who is enrolled. */
export async function refresh() {
  if (decisions) await ready({ quiet: true }).then(know, () => {}); // whatever is asked next tells of outages
}

function useThreshold({ threshold, distance_range: [low, high] }) {
  Object.assign(distance, { min: low, max: high, step: (high - low) / 400, value: threshold, disabled: false });
  const reset = byId("threshold-reset");
  reset.hidden = false;
  reset.textContent = `Reset to ${threshold}, the model’s default`;
  show();
}

/** Go to the step next to a share. */
function useWish(wished) {
  const far = ({ max_false_match: step }) => Math.abs(Math.log(step / wished));
  const nearest = steps.reduce((best, step, i) => (far(step) < far(steps[best]) ? i : best), 0);
  strangers.value = nearest;
  share = steps[nearest]?.max_false_match ?? wished;
  show();
}

function follow() {
  show();
  changed();
}

/** What the service is to be asked, as fields of the call. */
export const question = () => (byStrangers.checked ? MOST_STRANGERS : EVERY_DISTANCE);

/** Whether a candidate gives a face their name now. */
export function accepts({ distance: far, false_match: rate }) {
  return byStrangers.checked ? rate !== null && rate <= share : far < Number(distance.value);
}

/** How near a candidate is by what decides: ["6.32", "68 %"], or ["1 in 5,000"]. */
export function measures({ distance: far, similarity, false_match: rate }) {
  if (!byStrangers.checked) return [distanceText(far), percent(similarity)];
  if (rate === null) return [];
  return [`${rate < LEAST_TOLD ? "under " : ""}${oneIn(Math.max(rate, LEAST_TOLD))}`];
}

/** How many strangers would come as near as a face or a candidate, "" where that cannot be told. */
export function strangersLike({ false_match: rate }) {
  if (rate === null) return "";
  if (rate > 0.5) return "Most strangers would come as near.";
  return `${rate < LEAST_TOLD ? "Fewer than" : "About"} ${oneIn(Math.max(rate, LEAST_TOLD))} strangers would come as near.`;
}

/** A share in words, to one digit: it is an estimate. */
const oneIn = (rate) => `1 in ${Number((1 / rate).toPrecision(1)).toLocaleString("en")}`;

/** Show the rule that is chosen, and what it means. */
function show() {
  byId("distance-rule").hidden = byStrangers.checked;
  byId("strangers-rule").hidden = !byStrangers.checked;
  byId("threshold-value").textContent = distanceText(Number(distance.value));
  if (steps.length) showWish(steps[Number(strangers.value)]);
  moved();
}

function showWish({ max_false_match: wished, distance: near, missed }) {
  const { least, max_false_match: set } = decisions;
  byId("wish-value").textContent = oneIn(wished);
  strangers.setAttribute("aria-valuetext", oneIn(wished));
  byId("wish-strictest").textContent = oneIn(steps[0].max_false_match);
  byId("wish-laxest").textContent = oneIn(steps.at(-1).max_false_match);
  const cost = missed === null
    ? "Nobody here has enough pictures to tell how many faces of enrolled people get no name."
    : `About ${percent(missed)} of the faces of enrolled people get no name.`;
  byId("wish-cost").textContent = `${cost} Names begin at a distance of about ${distanceText(near)} from the mean of a person’s faces.`;
  byId("wish-refused").textContent = least !== null && wished < least
    ? `This cannot be had here. About ${oneIn(least)} can, with one in ten faces of enrolled people missed.` : "";
  const reset = byId("wish-reset");
  reset.hidden = set === null;
  reset.textContent = set === null ? "" : `Reset to ${oneIn(set)}, as the service is set`;
}
