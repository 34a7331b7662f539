// The kept face of a sample, fetched when it comes near to being seen. A key would not travel with <img src="samples/...">.

import { el } from "./elements.js";
import { faceOf } from "./people-api.js";

const AHEAD = "300px"; // so far below what is shown faces are fetched already

const samples = new WeakMap(); // by place: the id of the sample
const near = new IntersectionObserver(
  (places) => places.filter(({ isIntersecting }) => isIntersecting).forEach(({ target }) => fill(target)),
  { rootMargin: AHEAD },
);

/** Make a place for a sample's face, which stays a blank head where there is none, or none is kept. */
export function avatar(sample) {
  const place = el("span", { class: "place head", "aria-hidden": "true" });
  if (sample !== null) {
    samples.set(place, sample);
    near.observe(place);
  }
  return place;
}

async function fill(place) {
  near.unobserve(place);
  const face = await faceOf(samples.get(place)).catch(() => null);
  if (!face || !place.isConnected) return;
  const address = URL.createObjectURL(face);
  const image = el("img", { src: address, alt: "" });
  image.addEventListener("load", () => place.replaceChildren(image), { once: true });
  for (const event of ["load", "error"]) image.addEventListener(event, () => URL.revokeObjectURL(address), { once: true });
}
