// "Not her": a recognised face is given to whose it is, and the enrolled face that it was taken for is put right.

import { avatar } from "./avatar.js";
import { el } from "./elements.js";
import { explain } from "./errors.js";
import { askWhich, nameIn, picker, whose } from "./picker.js";

/**
 * Make the form for one face.
 *
 * nearest: the candidate that the face was taken for.
 * correctAs: called with whose it is, {person} or {name}, and what becomes of the enrolled face; may throw.
 * cancelled: called when the form is to go.
 */
export function correctionForm(number, nearest, correctAs, cancelled) {
  const input = picker({ required: true, placeholder: "Who is this?", "aria-label": `Whose face ${number} is` });
  const message = el("p", { class: "message", role: "alert" });
  const button = el("button", { type: "submit", class: "primary" }, "Correct");
  const fates = {
    keep: `${nearest.name}’s: keep it`,
    move: "the same person’s as this one: move it, too",
    remove: "of no use: remove it",
  };
  const choices = Object.entries(fates).map(([then, text]) =>
    el("label", { class: "check" }, el("input", { type: "radio", name: `then-${number}`, value: then, checked: then === "keep" }), text),
  );
  const form = el(
    "form", { class: "correction", submit }, input,
    el("fieldset", {}, el("legend", {}, "It resembles this enrolled face, which is"), avatar(nearest.id), el("div", {}, ...choices)),
    el("p", { class: "row" }, button, el("button", { type: "button", click: cancelled }, "Cancel")), message,
  );
  return form;

  async function submit(event) {
    event.preventDefault();
    if (!nameIn(input)) return;
    button.disabled = true;
    message.textContent = "";
    try {
      await correctAs(whose(input), form.querySelector(":checked").value);
    } catch (error) {
      message.textContent = explain(error);
      if (error.code === "ambiguous_name") askWhich(input);
    }
    button.disabled = false;
  }
}
