"""Suppression of boxes that show what a better box shows."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

PAIRS_AT_ONCE = 1 << 16  # bounds the memory: a dozen temporaries of this length


def suppress(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float64],
    threshold: float,
    relative_to: Literal["union", "smaller"] = "union",
) -> NDArray[np.intp]:
    """Indices of the boxes that no better box overlaps by more than the threshold, best score first.

    boxes: (n, 4) float64, x1, y1, x2, y2 in any one unit; scores: (n,), higher is better, no NaN.
    relative_to: the overlap is the intersection over the union, or over the smaller of the two areas.

    Not the greedy suppression of the paper but the rule of the package: a box that is itself suppressed
    still suppresses others, so a chain of neighbours collapses to its best member.

    Boxes are swept by their left edge, and only pairs close enough to overlap that much are looked at.
    """
    best_first = np.argsort(scores, kind="stable")[::-1]
    sweep = np.argsort(boxes[best_first, 0], kind="stable")  # of places in best_first
    x1, y1, x2, y2 = boxes[best_first[sweep]].T
    area = (x2 - x1) * (y2 - y1)
    # Sharing more than t of the union takes more than t of each box's width, so x1 of the right one lies
    # within (1 - t) of the left one's width.
    reach = x2 - threshold * (x2 - x1) if relative_to == "union" else x2
    first = np.arange(1, len(boxes) + 1)
    partners = np.maximum(np.searchsorted(x1, reach, side="right") - first, 0)
    before = np.concatenate([[0], np.cumsum(partners)])
    lost = np.zeros(len(boxes), bool)
    start = 0
    while start < len(boxes):
        stop = max(start + 1, int(np.searchsorted(before, before[start] + PAIRS_AT_ONCE, side="right")) - 1)
        left = np.repeat(np.arange(start, stop), partners[start:stop])
        right = np.arange(len(left)) + np.repeat(first[start:stop] - before[start:stop], partners[start:stop])
        right += before[start]
        start = stop
        width = np.minimum(x2[left], x2[right]) - x1[right]
        height = np.minimum(y2[left], y2[right]) - np.maximum(y1[left], y1[right])
        meet = (width > 0) & (height > 0)
        left, right, shared = left[meet], right[meet], (width * height)[meet]
        if relative_to == "union":
            whole = area[left] + area[right] - shared
        else:
            whole = np.minimum(area[left], area[right])
        over = shared > threshold * whole
        lost[np.maximum(sweep[left[over]], sweep[right[over]])] = True
    return best_first[~lost]
