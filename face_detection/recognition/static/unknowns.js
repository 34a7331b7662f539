// The view of people whom nobody has named: in groups, those with the most faces first, each with its best faces.

import { head } from "./avatar.js";
import { byId, confirmed, count, el } from "./elements.js";
import { attempting, explain } from "./errors.js";
import { pager, range } from "./pages.js";
import { actOn, faceOfUnknown, unknowns } from "./people-api.js";
import { askWhich, nameIn, picker, whose } from "./picker.js";

const PAGE = 24;

const title = byId("title-unknowns");
const message = byId("unknowns-message");
const done = byId("unknowns-done");
const attempt = attempting(message);
const mergeButton = byId("unknowns-merge");
const list = pager("unknowns", PAGE, load, draw, turned);

export function start() {
  mergeButton.addEventListener("click", () => attempt(mergeChosen));
}

/** Called when the view is shown: more may have been seen meanwhile. */
export function enter() {
  done.replaceChildren();
  attempt(list.show);
}

async function turned() {
  await attempt(list.show);
  title.focus();
  scrollTo(0, 0);
}

async function load(after) {
  const { unknowns: items, ...page } = await unknowns({ limit: PAGE, ...(after !== null && { after }) });
  return { items, ...page };
}

function draw(page, first) {
  byId("unknowns-list").replaceChildren(...page.items.map(item));
  byId("unknowns-off").hidden = page.keeping;
  byId("unknowns-summary").textContent = page.total
    ? `${count(page.total, "unknown person", "unknown people")}${range(page, first)}` : "Nobody unknown has been kept.";
  chosen();
}

function item(unknown, place) {
  const { id, best, faces, last_seen: seen, cameras, looks_like: like } = unknown;
  const number = `unknown person ${place + 1}`;
  const pictures = best.length ? best.map((face) => head(() => faceOfUnknown(id, face))) : [head(null)];
  const refused = el("p", { class: "message", role: "alert" });
  const where = cameras.length ? ` · ${cameras.join(", ")}` : "";
  const perhaps = like && el(
    "p", { class: "row" }, el("span", {}, "Looks like ", el("bdi", {}, like.name)),
    button("Yes, it is", `${like.name} is ${number}`, () => name({ person: like.person, name: like.name }), null),
  );
  const input = picker({ required: true, placeholder: "Who is it?", "aria-label": `Name of ${number}` });
  const form = el("form", { class: "naming", submit }, input, el("button", { type: "submit", class: "primary" }, "Name"));
  const box = el("input", { type: "checkbox", "aria-label": `Choose ${number}`, change: chosen });
  const node = el(
    "li", {}, el("div", { class: "best-faces" }, ...pictures),
    el("p", {}, el("label", { class: "check" }, box, count(faces, "face", "faces"))),
    el("p", { class: "hint" }, el("time", { datetime: seen }, `Last seen ${new Date(seen).toLocaleString()}`), where),
    perhaps, form,
    el("p", { class: "row" }, button("Ignore", `Ignore ${number}`, ignore), button("Forget", `Forget ${number}`, forget)),
    refused,
  );
  Object.assign(node, { unknown, box });
  return node;

  function button(text, label, work, kind = "quiet") {
    return el("button", { type: "button", class: kind, "aria-label": label, click: () => tried(work) }, text);
  }

  async function tried(work) {
    refused.textContent = "";
    try {
      await work();
    } catch (error) {
      refused.textContent = explain(error);
      if (error.code === "ambiguous_name") askWhich(input);
    }
  }

  function submit(event) {
    event.preventDefault();
    if (nameIn(input)) tried(() => name({ ...whose(input), name: nameIn(input) }));
  }

  async function name({ person: known, name }) {
    const { person, samples } = await actOn(id, { action: "name", ...(known ? { person: known } : { name }) });
    const link = el("a", { href: `#person/${encodeURIComponent(person)}` }, name ?? "this person");
    await settled(`The best ${count(samples.length, "face is", "faces are")} enrolled now: `, link);
  }

  async function ignore() {
    const text = `${count(faces, "face is", "faces are")} deleted, and no face of this person is kept again. One vector stays, to know them by.`;
    if (!(await confirmed("Ignore this person?", text, "Ignore"))) return;
    await actOn(id, { action: "ignore" });
    await settled("This person is ignored from now on.");
  }

  async function forget() {
    const text = `${count(faces, "face is", "faces are")} deleted. When seen again, this person is somebody new.`;
    if (!(await confirmed("Forget this person?", text, "Forget"))) return;
    await actOn(id, { action: "forget" });
    await settled("Forgotten.");
  }
}

async function settled(...told) {
  await list.show();
  title.focus();
  done.replaceChildren(...told);
}

const chosenOnes = () => [...byId("unknowns-list").children].filter(({ box }) => box.checked).map(({ unknown }) => unknown);

function chosen() {
  const number = chosenOnes().length;
  mergeButton.hidden = number < 2;
  mergeButton.textContent = `These ${number} are one person`;
}

/** Give the faces of those who are chosen to the one with the most. */
async function mergeChosen() {
  const [into, ...others] = chosenOnes().sort((a, b) => b.faces - a.faces);
  if (!(await confirmed("Put them together?", "This cannot be undone.", "Put together"))) return;
  for (const { id } of others) await actOn(id, { action: "merge", into: into.id });
  await settled("They are one person now.");
}
