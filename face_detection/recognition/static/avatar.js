// The kept picture of a face, fetched when it comes near to being seen. A key would not travel with <img src="samples/...">.

import { el } from "./elements.js";
import { faceOf } from "./people-api.js";

const AHEAD = "300px"; // so far below what is shown faces are fetched already

const fetchers = new WeakMap(); // by place: what fetches its picture
const near = new IntersectionObserver(
  (places) => places.filter(({ isIntersecting }) => isIntersecting).forEach(({ target }) => fill(target)),
  { rootMargin: AHEAD },
);

/** Make a place for a sample's face, which stays a blank head where there is none, or none is kept. */
export const avatar = (sample) => head(sample === null ? null : () => faceOf(sample));

/** Make a place for the picture that a function fetches, as a blob; a blank head where that is null, or fails. */
export function head(fetcher) {
  const place = el("span", { class: "place head", "aria-hidden": "true" });
  if (fetcher !== null) {
    fetchers.set(place, fetcher);
    near.observe(place);
  }
  return place;
}

async function fill(place) {
  near.unobserve(place);
  const face = await fetchers.get(place)().catch(() => null);
  if (!face || !place.isConnected) return;
  const address = URL.createObjectURL(face);
  const image = el("img", { src: address, alt: "" });
  image.addEventListener("load", () => place.replaceChildren(image), { once: true });
  for (const event of ["load", "error"]) image.addEventListener(event, () => URL.revokeObjectURL(address), { once: true });
}
