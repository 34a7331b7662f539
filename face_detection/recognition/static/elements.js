// Elements and their text. Names, ids and file names are other people's text: they are only ever set as text.

export const byId = (id) => document.getElementById(id);

/** Make an element. Attributes that are functions become listeners; false and null ones are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false && value != null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

export const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

export const distanceText = (distance) => distance.toFixed(2);

export const count = (number, one, many) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const TYPING_MS = 200;

/** Let a function be called when nobody has called it again for a moment: when somebody has stopped typing. */
export function debounced(work) {
  let timer;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(work, TYPING_MS, ...args);
  };
}

/** Ask in a dialog, with the careful answer chosen beforehand: resolves to true or false. */
export async function confirmed(title, text, action) {
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = action;
  return (await answerOf(byId("confirm-dialog"))) === "yes";
}

/** Show a dialog and resolve to the value of the button that closed it, "" when it was dismissed. */
export function answerOf(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
