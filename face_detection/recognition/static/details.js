// What is known of a person beside their faces: name, expiry, and notes, which are metadata with names of their own.

import { byId } from "./elements.js";

const NOTES = ["consent", "purpose", "note"];

const field = (name) => byId(`person-${name}`);
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const textOf = (value) => (value == null ? "" : typeof value === "string" ? value : JSON.stringify(value));

let filled = null; // what the fields said before anybody changed them, by name

/** Show a person in the fields. */
export function fill({ name, expires_at: expiresAt, metadata }) {
  const notes = isObject(metadata) ? metadata : {};
  filled = { name, expires: dayOf(expiresAt), ...Object.fromEntries(NOTES.map((note) => [note, textOf(notes[note])])) };
  for (const [each, text] of Object.entries(filled)) field(each).value = text;
  const other = metadata !== null && !isObject(metadata);
  for (const note of NOTES) field(note).disabled = other;
  byId("person-other").hidden = !other;
}

/** What was changed in the fields, for a person as they are now: what nobody has touched here is left alone. */
export function changes({ metadata }) {
  const value = (name) => field(name).value.trim();
  const touched = Object.keys(filled).filter((name) => value(name) !== filled[name]);
  const notes = NOTES.filter((note) => touched.includes(note));
  return {
    ...(touched.includes("name") && { name: value("name") }),
    ...(touched.includes("expires") && { expires_at: endOf(value("expires")) }),
    ...(notes.length && { metadata: noted(metadata, notes, value) }),
  };
}

function noted(metadata, notes, value) {
  const all = { ...metadata };
  for (const note of notes) {
    if (value(note)) all[note] = value(note);
    else delete all[note];
  }
  return Object.keys(all).length ? all : null;
}

/** The day of a time, here, as a field of dates has it. */
function dayOf(time) {
  if (time === null) return "";
  const date = new Date(time);
  const [year, month, day] = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
  return `${String(year).padStart(4, "0")}-${String(month).padStart(2, "0")}-${String(day).padStart(2, "0")}`;
}

/** When a day ends, here. */
const endOf = (day) => (day ? new Date(`${day}T23:59:59`).toISOString() : null);
