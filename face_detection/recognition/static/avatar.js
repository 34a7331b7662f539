// The kept face of a sample, or of somebody unknown, fetched when it comes near to being seen. A key would not travel with <img src="samples/...">.

import { el } from "./elements.js";
import { faceOf } from "./people-api.js";

const AHEAD = "300px"; // so far below what is shown faces are fetched already

const sources = new WeakMap(); // by place: what fetches the face
const near = new IntersectionObserver(
  (places) => places.filter(({ isIntersecting }) => isIntersecting).forEach(({ target }) => fill(target)),
  { rootMargin: AHEAD },
);

/**
 * Make a place for a face, which stays a blank head where there is none, or none is kept.
 *
 * sample: its id; null: there is none. fetchFace: fetches the face, if it is no sample's.
 */
export function avatar(sample, fetchFace = () => faceOf(sample)) {
  const place = el("span", { class: "place head", "aria-hidden": "true" });
  if (sample !== null) {
    sources.set(place, fetchFace);
    near.observe(place);
  }
  return place;
}

async function fill(place) {
  near.unobserve(place);
  const face = await sources.get(place)().catch(() => null);
  if (!face || !place.isConnected) return;
  const address = URL.createObjectURL(face);
  const image = el("img", { src: address, alt: "" });
  image.addEventListener("load", () => place.replaceChildren(image), { once: true });
  for (const event of ["load", "error"]) image.addEventListener(event, () => URL.revokeObjectURL(address), { once: true });
}
