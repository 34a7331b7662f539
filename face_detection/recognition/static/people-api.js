// Calls about people, and about whose a face is.

import { call, form, json } from "./api.js";
import { middleOf } from "./pictures.js";

const sent = (method, value) => ({ method, body: JSON.stringify(value), type: "application/json" });

const personPath = (id) => `persons/${encodeURIComponent(id)}`;

/** One page of people by name: query has `q`, a part of the name, `limit` and `after`. */
export const people = (query) => json(`persons?${new URLSearchParams(query)}`);

export const person = (id) => json(personPath(id));

/** Change some of `name`, `metadata` and `expires_at`. */
export const changePerson = (id, changes) => json(personPath(id), sent("PATCH", changes));

export const deletePerson = (id) => json(personPath(id), { method: "DELETE" });

/** Give all faces of one person to another; `merged` of the answer takes it back. */
export const merge = (id, into) => json(`${personPath(id)}/merge`, sent("POST", { into }));

/** Take a merge back. Answers with who is there again, and how many faces are `left` because they were changed. */
export const unmerge = (into, merged) => json(`${personPath(into)}/unmerge`, sent("POST", merged));

/** Look for what may be wrong in a part of the gallery: query has `limit` and `after`. */
export const examine = (query) => json(`doctor?${new URLSearchParams(query)}`);

/** Give a sample to somebody else: {person} or {name}. */
export const moveSample = (id, whose) => json(`samples/${encodeURIComponent(id)}`, sent("PATCH", whose));

/** The kept face of a sample, as a JPEG; thrown where none is kept. Nobody is told of failures. */
export const faceOf = async (id) => (await call(`samples/${encodeURIComponent(id)}/face`, { quiet: true })).blob();

/** One page of people whom nobody has named: query has `limit` and `after`. */
export const unknowns = (query) => json(`unknowns?${new URLSearchParams(query)}`);

/** Do something with one of them: `action` is name (with `name` or `person`), merge (`into`), ignore or forget. */
export const actOn = (id, deed) => json(`unknowns/${encodeURIComponent(id)}`, sent("POST", deed));

/** The picture of a face of one of them, as `faceOf` is that of a sample. */
export const faceOfUnknown = async (id, face) =>
  (await call(`unknowns/${encodeURIComponent(id)}/faces/${encodeURIComponent(face)}`, { quiet: true })).blob();

/** What a correction takes: of a face of an answer, whose it is, and what becomes of the sample it was taken for. */
export const correction = ({ bbox, candidates: [nearest] }, whose, then) => ({
  ...whose, then, face: middleOf(bbox), wrong_sample: nearest.id, wrong_person: nearest.person,
});

/**
 * Enrol a face that was taken for somebody else's, and put right what it was taken for.
 *
 * fields: of the call; what is no text is sent as JSON.
 */
export function correct(file, fields) {
  const texts = Object.entries(fields).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
  return json("corrections", form({ file, ...Object.fromEntries(texts) }));
}
