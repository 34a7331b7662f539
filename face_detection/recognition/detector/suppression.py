"""Suppression of boxes that show what a better box shows."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

PAIRS_AT_ONCE = 1 << 16  # bounds the memory: a dozen temporaries of this length


def best_first(scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """The order (n,) from the highest score down, equal ones as in the package: as numpy's default sort does.

    P-Net's scores are often equal, a hair below 1; then the order decides which proposal becomes the face.
    """
    return np.argsort(scores)[::-1]


def suppress(
    boxes: NDArray[np.float64], threshold: float, relative_to: Literal["union", "smaller"] = "union"
) -> NDArray[np.intp]:
    """Places, ascending, of the boxes that no box before them overlaps by more than the threshold.

    boxes: (n, 4) float64, x1, y1, x2, y2 in any one unit, the best first.
    relative_to: the overlap is the intersection over the union, or over the smaller of the two areas.

    Not the greedy suppression of the paper but the rule of the package: a box that is itself suppressed
    still suppresses others, so a chain of neighbours collapses to its best member.

    Boxes are swept by their left edge, and only pairs close enough to overlap that much are looked at.
    """
    sweep = np.argsort(boxes[:, 0])
    x1, y1, x2, y2 = boxes[sweep].T
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
    return np.flatnonzero(~lost)
