// Names typed with suggestions: who is there already is chosen, and so cannot be mixed up with others of that name.

import { avatar } from "./avatar.js";
import { byId, count, debounced, el } from "./elements.js";
import { people } from "./people-api.js";

const MOST = 8;
const GAP = 4; // pixels between an input and its list
const EDGE = 20; // pixels beside a list, where the window may have a scroll bar
const NARROWEST = 256; // pixels of a list where there is room

const chosen = new WeakMap(); // by input: the person
const others = new WeakMap(); // by input: the id of whom it is never to suggest
const list = byId("suggestions");
let open = null; // the input that the list belongs to
let offered = ""; // what it has suggestions for
let active = -1; // which of its options would be chosen
let turn = 0; // answers to what was typed before are dropped
let refused = false; // this key may not list people

addEventListener("resize", () => open && lay());

/** Make an input for a name that suggests people. */
export function picker(attributes) {
  const input = el("input", {
    type: "text", maxlength: 1000, autocomplete: "off", spellcheck: "false", dir: "auto", role: "combobox",
    "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "suggestions", ...attributes,
  });
  input.addEventListener("input", () => {
    chosen.delete(input);
    offer(input);
  });
  input.addEventListener("keydown", key);
  input.addEventListener("blur", close);
  return input;
}

/** Whose name stands in an input: {person}, an id, where somebody was chosen, else {name}, which may be empty. */
export function whose(input) {
  const person = chosen.get(input);
  return person ? { person: person.id } : { name: nameIn(input) };
}

export const nameIn = (input) => input.value.normalize("NFC").trim();

/** Put a person into an input, as if they had been chosen there; null empties it. */
export function put(input, person) {
  input.value = person?.name ?? "";
  if (person) chosen.set(input, person);
  else chosen.delete(input);
}

/** Suggest anybody but the person with this id. */
export const leaveOut = (input, id) => others.set(input, id);

/** Show who is meant by what stands in an input, of whom there are several. */
export function askWhich(input) {
  input.focus();
  suggest(input);
}

const offer = debounced(suggest);

async function suggest(input) {
  const q = nameIn(input);
  if (open === input && offered === q) return; // nobody's choice is taken away
  const mine = ++turn;
  if (!q || refused || input !== document.activeElement) return close();
  try {
    const { persons } = await people({ q, limit: MOST });
    if (mine !== turn || input !== document.activeElement) return;
    show(input, persons.filter(({ id }) => id !== others.get(input)));
    offered = q;
  } catch (error) {
    refused = error.status === 403;
    if (mine === turn) close();
  }
}

function show(input, persons) {
  close();
  if (!persons.length) return;
  open = input;
  list.replaceChildren(...persons.map((person, i) => option(person, i, persons)));
  input.setAttribute("aria-expanded", "true");
  list.hidden = false;
  lay();
  byId("suggested").textContent = count(persons.length, "suggestion", "suggestions");
}

/** Lay the list below its input, within the window. */
function lay() {
  const { left, bottom, width } = open.getBoundingClientRect();
  const wide = Math.max(width, NARROWEST);
  list.style.width = `min(${wide}px, 100vw - ${EDGE}px)`;
  list.style.left = `max(0px, min(${left}px, 100vw - ${wide + EDGE}px))`;
  list.style.top = `${bottom + scrollY + GAP}px`;
}

function option(person, i, persons) {
  const alike = persons.some(({ id, name }) => id !== person.id && name === person.name);
  const since = alike ? `, since ${new Date(person.created).toLocaleString()}` : "";
  const choose = (event) => {
    event.preventDefault(); // the focus stays where it is
    pick(i);
  };
  const node = el(
    "li", { role: "option", id: `suggestion-${i}`, "aria-selected": "false", pointerdown: choose },
    avatar(person.sample), el("span", {}, el("bdi", {}, person.name), el("small", {}, `${count(person.samples, "face", "faces")}${since}`)),
  );
  node.person = person;
  return node;
}

function pick(i) {
  const input = open;
  put(input, list.children[i].person);
  close();
  input.dispatchEvent(new CustomEvent("picked", { bubbles: true }));
}

function key(event) {
  if (event.isComposing) return;
  if (!open) return event.key === "ArrowDown" ? suggest(event.target) : undefined;
  const number = list.children.length;
  if (event.key === "ArrowDown") mark((active + 1) % number);
  else if (event.key === "ArrowUp") mark((active <= 0 ? number : active) - 1);
  else if (event.key === "Enter" && active >= 0) pick(active);
  else if (event.key === "Escape") close();
  else return;
  event.preventDefault();
}

function mark(i) {
  list.children[active]?.setAttribute("aria-selected", "false");
  active = i;
  list.children[i].setAttribute("aria-selected", "true");
  list.children[i].scrollIntoView({ block: "nearest" });
  open.setAttribute("aria-activedescendant", `suggestion-${i}`);
}

function close() {
  turn++;
  if (!open) return;
  open.setAttribute("aria-expanded", "false");
  open.removeAttribute("aria-activedescendant");
  open = null;
  active = -1;
  list.hidden = true;
  list.replaceChildren();
  byId("suggested").textContent = "";
}
