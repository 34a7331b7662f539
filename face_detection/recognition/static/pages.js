// Lists that come page by page: onwards by what a page says is next, and back the same way.

import { byId } from "./elements.js";

/**
 * Lead through the pages of a list, with the buttons PREFIX-back and PREFIX-next in the row PREFIX-pages.
 *
 * load: called with where a page starts, null for the first; answers {items, total, next}.
 * draw: called with that answer and the number of its first item, unless another page has been asked for meanwhile.
 * turned: called when the user turns the page.
 * Returns {show, restart}: show the page again as it is now; start from the first one.
 */
export function pager(prefix, size, load, draw, turned) {
  let starts = [null]; // of each page up to this one
  let next = null;
  let turn = 0;

  async function show() {
    const mine = ++turn;
    const page = await load(starts.at(-1));
    if (mine !== turn) return;
    if (!page.items.length && starts.length > 1) {
      starts.pop(); // the last page was emptied
      return show();
    }
    next = page.next;
    draw(page, (starts.length - 1) * size + 1);
    byId(`${prefix}-pages`).hidden = starts.length === 1 && next === null;
    byId(`${prefix}-back`).disabled = starts.length === 1;
    byId(`${prefix}-next`).disabled = next === null;
  }

  function restart() {
    starts = [null];
    return show();
  }

  byId(`${prefix}-next`).addEventListener("click", () => {
    starts.push(next);
    turned();
  });
  byId(`${prefix}-back`).addEventListener("click", () => {
    starts.pop();
    turned();
  });
  return { show, restart };
}

/** Which of all are shown: ", 25 to 48 shown"; nothing where all are. */
export const range = ({ items, total }, first) =>
  total > items.length ? `, ${first.toLocaleString("en")} to ${(first + items.length - 1).toLocaleString("en")} shown` : "";
