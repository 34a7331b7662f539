// The frame of the page: which view is shown, what is dropped and pasted, and how the server is.

import { calls, forgetKey, hasKey, ready, version } from "./api.js";
import * as check from "./check.js";
import * as compare from "./compare.js";
import { know } from "./deciding.js";
import { byId, el } from "./elements.js";
import * as enrol from "./enrol.js";
import * as events from "./events.js";
import { explain, isDown, isOutage } from "./errors.js";
import * as gallery from "./gallery.js";
import * as people from "./people.js";
import * as person from "./person.js";
import * as recognise from "./recognise.js";

const VIEWS = { recognise, enrol, people, person, check, events, gallery, compare };
const UNDER = { person: "people", check: "people" }; // views that others lead to, by their links
const alert = byId("alert");

let view = null;
let about; // what the view is about, as the address has it behind the view's name
let checking = false;

function show() {
  const [asked, ...rest] = location.hash.slice(1).split("/");
  const name = Object.hasOwn(VIEWS, asked) ? asked : "recognise";
  const what = decoded(rest.join("/"));
  if (view && (asked === "main" || (VIEWS[name] === view && what === about))) return; // #main: past the navigation
  view?.leave?.();
  const first = view === null;
  view = VIEWS[name];
  about = what;
  for (const other of Object.keys(VIEWS)) byId(`view-${other}`).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${UNDER[name] ?? name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = byId(`title-${name}`);
  document.title = `${title.textContent} · Faces`;
  if (!first) title.focus();
  scrollTo(0, 0);
  view.enter?.(about);
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody has typed it
  }
}

/** Ask the server how it is, with a recognition from end to end. */
async function checkServer() {
  checking = true;
  try {
    const model = await ready();
    know(model);
    say("well", `Ready · ${model.model}`);
  } catch {
    say("ill", "Not ready");
  } finally {
    checking = false;
  }
}

function say(state, text) {
  const server = byId("server");
  if (server.textContent !== text) server.textContent = text; // is read aloud
  server.dataset.state = state;
}

calls.addEventListener("told", ({ detail: { what, error } }) => {
  byId("forget").hidden = !hasKey();
  if (what === "failed" && isDown(error)) say("ill", "Not ready");
  if (what === "well") {
    alert.replaceChildren();
    if (!checking && byId("server").dataset.state === "ill") checkServer(); // it is back, or a part of it
  } else if (what === "busy") warn(`The server is busy; trying again in ${error.retryAfterS} s.`);
  else if (isOutage(error)) warn(explain(error), el("button", { type: "button", click: again }, "Try again"));
});

async function again() {
  await checkServer();
  view.enter?.(about);
}

function warn(text, ...more) {
  const said = alert.querySelector("span")?.textContent;
  if (said !== text) alert.replaceChildren(el("p", { class: "banner" }, el("span", {}, text), ...more));
}

byId("forget").addEventListener("click", () => {
  forgetKey();
  location.reload();
});

/** A picture without its name, where it never lay in a file: browsers call all that is copied so. */
const nameless = (file) => (file.name === "image.png" ? new Blob([file], { type: file.type }) : file);

const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");

document.addEventListener("dragover", (event) => {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!holdsFiles(event)) return;
  event.preventDefault();
  view.take?.([...event.dataTransfer.files], event.target);
});
document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files].map(nameless);
  if (files.length) view.take?.(files, event.target);
});

for (const { start } of Object.values(VIEWS)) start();
addEventListener("hashchange", show);
addEventListener("model", checkServer);
show();
checkServer();
version().then((number) => number && byId("version").append(`Version ${number}`), () => {}); // the alert tells of outages
