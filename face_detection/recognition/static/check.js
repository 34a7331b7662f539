// The view that checks the gallery: what may be wrong, the surest first, each with what can be done about it.

import { deleteSample } from "./api.js";
import { avatar } from "./avatar.js";
import { byId, confirmed, count, el, percent } from "./elements.js";
import { complain, explain } from "./errors.js";
import { examine, merge, moveSample } from "./people-api.js";
import * as undo from "./undo.js";

const PART = 200; // samples that one call looks at
const SHOWN = 30; // findings at first, and as many more at a time

const message = byId("check-message");
const progress = byId("check-progress");
const button = byId("check-start");

let findings = new Map(); // by id
let shown = SHOWN;
let running = null; // the check that is under way

export function start() {
  button.addEventListener("click", () => (running ? giveUp() : run()));
  byId("check-more").addEventListener("click", () => {
    shown += SHOWN;
    draw();
  });
}

/** Called when the view is shown. */
export const enter = undo.show;

/** Called when the view is left: what was found stays. */
export function leave() {
  undo.hide();
  if (running) giveUp();
}

function giveUp() {
  stop();
  byId("check-summary").textContent = `Stopped. ${count(findings.size, "finding", "findings")} so far.`;
}

function stop() {
  running = null;
  button.textContent = "Check the gallery";
  progress.hidden = true;
}

/** Look at all samples, part by part, and show what has been found so far. */
async function run() {
  const mine = (running = {});
  findings = new Map();
  shown = SHOWN;
  message.textContent = "";
  button.textContent = "Stop";
  byId("check-summary").textContent = "Checking …";
  let done = 0;
  try {
    for (let after = null; ; ) {
      const part = await examine({ limit: PART, ...(after !== null && { after }) });
      if (mine !== running) return;
      for (const finding of part.findings) keepSurer(finding);
      done += part.examined;
      Object.assign(progress, { hidden: false, max: Math.max(1, part.total), value: done });
      draw();
      after = part.next;
      if (after === null) break;
    }
    const found = count(findings.size, "finding", "findings");
    byId("check-summary").textContent = `${count(done, "face", "faces")} checked, ${found}.`;
  } catch (error) {
    if (mine !== running) return;
    complain(message, error);
    byId("check-summary").textContent = "";
  }
  stop();
}

function keepSurer(finding) {
  if (!(findings.get(finding.id)?.sure >= finding.sure)) findings.set(finding.id, finding);
}

function draw() {
  const sorted = [...findings.values()].sort((a, b) => b.sure - a.sure);
  const list = byId("check-list");
  const there = new Map([...list.children].map((node) => [node.finding, node]));
  // What is there already stays the same node: nobody's focus is taken away.
  const nodes = sorted.slice(0, shown).map((finding) => there.get(finding) ?? item(finding));
  for (const [place, node] of nodes.entries()) if (list.children[place] !== node) list.insertBefore(node, list.children[place] ?? null);
  while (list.children.length > nodes.length) list.lastChild.remove();
  byId("check-more").hidden = sorted.length <= shown;
}

function item(finding) {
  const { samples, advice, detail, sure } = finding;
  const faces = samples.map(({ id, person, name }) =>
    el("a", { href: `#person/${encodeURIComponent(person)}` }, avatar(id), el("bdi", {}, name)),
  );
  const refused = el("p", { class: "message", role: "alert" });
  const actions = advice.map((each) => action(finding, each, refused));
  const node = el(
    "li", { tabindex: "-1" }, el("div", { class: "pair-of-faces" }, ...faces),
    el("div", {}, el("p", {}, detail), el("p", { class: "hint" }, `${percent(sure)} sure`), el("p", { class: "row" }, ...actions), refused),
  );
  node.finding = finding;
  return node;
}

/** What can be done, as a button that does it, or as a link where more pictures are needed. */
function action(finding, advice, refused) {
  const nameOf = (person) => finding.samples.find((sample) => sample.person === person)?.name ?? "somebody else";
  const [from, into] = [nameOf(advice.person), nameOf(advice.into)];
  const choices = {
    move_sample: [`Move the face to ${into}`, () => moveSample(advice.sample, { person: advice.into })],
    delete_sample: [`Remove ${from}’s face`, () => removeFace(advice.sample, from)],
    merge_persons: [`Merge ${from} into ${into}`, () => mergePeople(advice)],
  };
  if (!(advice.action in choices)) return el("a", { href: "#enrol" }, `Enrol more pictures of ${from}`);
  const [text, work] = choices[advice.action];
  const node = el("button", { type: "button" }, text);
  node.addEventListener("click", async () => {
    refused.textContent = "";
    node.disabled = true;
    try {
      if ((await work()) !== false) settle(finding);
    } catch (error) {
      refused.textContent = explain(error);
    }
    node.disabled = false;
  });
  return node;
}

async function removeFace(sample, whose) {
  if (!(await confirmed("Remove this face?", `It is ${whose}’s.`, "Remove"))) return false;
  return deleteSample(sample);
}

async function mergePeople({ person, into }) {
  const { merged, ...kept } = await merge(person, into);
  undo.remember(kept, merged);
  undo.show();
}

/** Take away what is done, and what was found of the same face. */
function settle(finding) {
  const [{ id }] = finding.samples;
  for (const [key, other] of findings) if (other.samples.some((sample) => sample.id === id)) findings.delete(key);
  draw();
  byId("title-check").focus();
}
