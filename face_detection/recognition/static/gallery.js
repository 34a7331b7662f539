// The view of the gallery: its samples page by page, by name, deleted, exported and imported.

import { deleteSample, deleteSamples, exported, imported, samples, sourceOf } from "./api.js";
import { byId, confirmed, count, el } from "./elements.js";
import { attempting } from "./errors.js";
import * as model from "./model.js";
import { pager, range } from "./pages.js";
import { onChosen } from "./pictures.js";

const PAGE = 24;

let name = ""; // whose samples are listed; empty: everybody's

const message = byId("gallery-message");
const done = byId("gallery-done");
const attempt = attempting(message, done);
const list = pager("gallery", PAGE, page, draw, turned);

export function start() {
  byId("gallery-search").addEventListener("submit", (event) => {
    event.preventDefault();
    find(byId("gallery-name").value.trim());
  });
  byId("gallery-name").addEventListener("search", () => byId("gallery-name").value || find(""));
  byId("gallery-clear").addEventListener("click", () => attempt(clear));
  byId("gallery-export").addEventListener("click", () => attempt(save));
  onChosen("gallery-import", ([file]) => attempt(() => load(file)));
  model.start();
}

/** Called when the view is shown: others may have changed the gallery meanwhile. */
export function enter() {
  model.enter();
  return attempt(list.show);
}

/** Called when the view is left. */
export const leave = model.leave;

function find(whose) {
  name = whose;
  attempt(list.restart);
}

function turned() {
  enter();
  byId("title-gallery").focus();
}

async function page(after) {
  const answer = await samples({ limit: PAGE, ...(after !== null && { after }), ...(name && { name }) });
  return { ...answer, items: answer.samples };
}

function draw(shown, first) {
  byId("gallery-list").replaceChildren(...shown.items.map(item));
  const whose = name ? ` of ${name}` : "";
  const nobody = name ? `Nobody is enrolled as ${name}.` : "Nobody is enrolled yet.";
  byId("gallery-summary").textContent = shown.total
    ? `${count(shown.total, "sample", "samples")}${whose}${range(shown, first)}` : nobody;
  byId("gallery-clear").disabled = shown.total === 0;
  byId("gallery-clear").textContent = name ? `Delete all samples of ${name}` : "Delete all";
}

function item(sample) {
  const created = new Date(sample.created);
  const remove = () => attempt(() => removeSample(sample));
  const source = sourceOf(sample);
  return el(
    "li", {},
    el("div", {}, el("h2", {}, sample.name), el("p", { class: "hint id" }, source)),
    el("time", { class: "hint", datetime: sample.created, title: created.toLocaleString() }, created.toLocaleDateString()),
    el("button", { type: "button", class: "quiet", "aria-label": `Delete ${source}`, click: remove }, "Delete"),
  );
}

async function removeSample(sample) {
  if (!(await confirmed("Delete this sample?", `${sample.name}: ${sourceOf(sample)}`, "Delete"))) return;
  await deleteSample(sample.id);
  await list.show();
  byId("title-gallery").focus();
}

async function clear() {
  const whose = name; // the dialog's question and the deletion are about the same
  const title = whose ? `Delete all samples of ${whose}?` : "Delete every sample?";
  const text = whose ? "Everyone else stays enrolled." : "Nobody will be recognised after that. Export the gallery first if you might want it back.";
  if (!(await confirmed(title, text, whose ? "Delete samples" : "Delete everything"))) return;
  await deleteSamples(whose ? { name: whose } : {});
  await list.restart();
}

async function save() {
  const address = URL.createObjectURL(await exported());
  const link = el("a", { href: address, download: `gallery-${new Date().toISOString().slice(0, 10)}.jsonl` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000); // the browser may still be reading it
}

async function load(file) {
  byId("gallery-summary").textContent = "Importing …";
  try {
    const report = await imported(file);
    done.textContent = `${count(report.imported, "sample", "samples")} imported, ${report.unchanged} already there${report.unnamed ? `, ${report.unnamed} without a name` : ""}.`;
  } finally {
    await list.show();
  }
}
