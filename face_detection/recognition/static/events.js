// The view of events: whom cameras saw when, the newest first, of one camera or one person where that is asked for.

import { call, json } from "./api.js";
import { head } from "./avatar.js";
import { strangersLike } from "./deciding.js";
import { byId, confirmed, count, el } from "./elements.js";
import { attempting } from "./errors.js";
import { pager, range } from "./pages.js";
import { person } from "./people-api.js";
import { askWhich, picker, put, whose } from "./picker.js";

const PAGE = 24;

const camera = byId("events-camera");
const message = byId("events-message");
const attempt = attempting(message);
const who = picker({ id: "events-person", placeholder: "Everybody" });
const list = pager("events", PAGE, load, draw, turned);

let about = null; // the id of the only person whose events are shown

export function start() {
  byId("events-person-label").append(who);
  camera.addEventListener("change", () => attempt(list.restart));
  who.addEventListener("picked", () => only(whose(who).person));
  who.addEventListener("input", () => who.value === "" && only(null));
  byId("events-form").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(find);
  });
}

/** Called when the view is shown, with the id of the only person who is meant, or nothing. */
export async function enter(id) {
  if (!id || id === about) return attempt(list.show);
  about = id;
  camera.value = "";
  put(who, await person(id).catch(() => null));
  return attempt(list.restart);
}

function only(id) {
  if (about === id) return;
  about = id;
  attempt(list.restart);
}

function find() {
  const { person: id = null, name } = whose(who);
  if (name) {
    askWhich(who);
    throw new Error("Choose a person from the list.");
  }
  about = id;
  return list.restart();
}

async function turned() {
  await attempt(list.show);
  byId("title-events").focus();
  scrollTo(0, 0);
}

async function load(after) {
  const asked = { ...(camera.value && { camera: camera.value }), ...(about && { person: about }) };
  const query = new URLSearchParams({ limit: PAGE, ...asked, ...(after !== null && { after }) });
  const { events, ...page } = await json(`events?${query}`);
  return { items: events, ...page };
}

function draw(page, first) {
  offer(page.cameras);
  byId("events-list").replaceChildren(...page.items.map(item));
  const none = about || camera.value ? "No such visit was seen." : "No camera has seen anybody yet.";
  byId("events-summary").textContent = page.total ? `${count(page.total, "visit", "visits")}${range(page, first)}` : none;
}

/** Let the user choose among the cameras; the chosen one stays, though it may have no events any more. */
function offer(cameras) {
  const chosen = camera.value;
  const names = chosen && !cameras.includes(chosen) ? [...cameras, chosen] : cameras;
  if (names.join("\n") === [...camera.options].slice(1).map(({ value }) => value).join("\n")) return;
  camera.replaceChildren(camera.options[0], ...names.map((name) => el("option", { value: name }, name)));
  camera.value = chosen;
}

function item(event) {
  const since = new Date(event.since);
  const known = event.person !== null;
  const name = el("bdi", {}, event.name ?? "Unknown");
  const title = known ? el("a", { href: `#person/${encodeURIComponent(event.person)}` }, name) : name;
  const what = `${event.name ?? "unknown"}, ${event.camera}, ${since.toLocaleString()}`;
  const remove = () => attempt(() => removeEvent(event, what));
  return el(
    "li", { class: known ? null : "unknown" },
    head(event.picture ? () => pictureOf(event.id) : null),
    el(
      "div", {},
      el("h2", {}, title),
      el("p", {}, el("bdi", {}, event.camera)),
      el("p", { class: "hint" }, el("time", { datetime: event.since }, since.toLocaleString()), `, ${lasting(event)}`),
      known && event.false_match !== null ? el("p", { class: "hint" }, strangersLike(event)) : null,
      el("p", { class: "row" }, el("button", { type: "button", class: "quiet", "aria-label": `Delete ${what}`, click: remove }, "Delete")),
    ),
  );
}

/** How long a visit was: "for 3 min", or that it is not over. */
function lasting({ since, until }) {
  if (until === null) return "still there";
  const seconds = (Date.parse(until) - Date.parse(since)) / 1000;
  if (seconds < 59.5) return `for ${Math.max(1, Math.round(seconds))}\u00a0s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `for ${minutes}\u00a0min` : `for ${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`;
}

/** The kept picture of an event, as a JPEG; thrown where there is none. Nobody is told of failures. */
const pictureOf = async (id) => (await call(`events/${id}/picture`, { quiet: true })).blob();

async function removeEvent({ id }, what) {
  if (!(await confirmed("Delete this event?", what, "Delete"))) return;
  await json(`events/${id}`, { method: "DELETE" });
  await list.show();
  byId("title-events").focus();
}
