// The faces of one picture, one of which is to be enrolled.

import { detect } from "./api.js";
import { el } from "./elements.js";
import { close, middleOf, open, parseBox, thumbnail } from "./pictures.js";

/**
 * Find the faces of a picture and make what offers them, largest first.
 *
 * choose: called with the middle of the face that is chosen, and how it is called: "Face 2 of 3".
 */
export async function chooser(file, choose) {
  const [faces, picture] = await Promise.all([detect(file), open(file).catch(() => null)]);
  const buttons = faces.map(({ bbox }, i) => {
    const name = `Face ${i + 1} of ${faces.length}`;
    const shown = picture ? thumbnail(picture.image, parseBox(bbox)) : `${i + 1}`; // not all browsers show all pictures
    const click = () => {
      for (const other of buttons) other.setAttribute("aria-pressed", `${other === button}`);
      choose(middleOf(bbox), name);
    };
    const button = el("button", { type: "button", "aria-label": name, "aria-pressed": "false", click }, shown);
    return button;
  });
  close(picture);
  return el("div", { class: "choices", role: "group", "aria-label": "Which face?" }, ...buttons);
}
