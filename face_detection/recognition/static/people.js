// The view of all people: found by a part of the name while it is typed, and shown page by page.

import { avatar } from "./avatar.js";
import { byId, count, debounced, el } from "./elements.js";
import { attempting } from "./errors.js";
import { pager, range } from "./pages.js";
import { people } from "./people-api.js";
import * as undo from "./undo.js";

const PAGE = 48;

const search = byId("people-search");
const message = byId("people-message");
const attempt = attempting(message);
const list = pager("people", PAGE, load, draw, turned);

let q = ""; // of the page that is shown or asked for

export function start() {
  search.addEventListener("input", debounced(find));
  byId("people-form").addEventListener("submit", (event) => {
    event.preventDefault();
    find();
  });
}

/** Called when the view is shown: others may have changed people meanwhile. */
export function enter() {
  undo.show();
  attempt(list.show);
}

/** Called when the view is left. */
export const leave = undo.hide;

function find() {
  if (q === search.value.trim()) return;
  q = search.value.trim();
  attempt(list.restart);
}

async function turned() {
  await attempt(list.show);
  byId("title-people").focus();
  scrollTo(0, 0);
}

async function load(after) {
  const { persons, ...page } = await people({ limit: PAGE, ...(q && { q }), ...(after !== null && { after }) });
  return { items: persons, ...page };
}

function draw(page, first) {
  byId("people-list").replaceChildren(...page.items.map(item));
  const nobody = q ? `Nobody has “${q}” in their name.` : "Nobody is enrolled yet.";
  const found = q ? ` with “${q}”` : "";
  byId("people-summary").textContent = page.total
    ? `${count(page.total, "person", "people")}${found}${range(page, first)}` : nobody;
}

const item = ({ id, name, sample, samples }) =>
  el(
    "li", {},
    el(
      "a", { href: `#person/${encodeURIComponent(id)}` }, avatar(sample),
      el("span", {}, el("bdi", {}, name), el("small", {}, count(samples, "face", "faces"))),
    ),
  );
