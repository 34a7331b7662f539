"""Dark, flat and back-lit pictures, made such that a detector sees what is in them."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Tone = Callable[[Pixels], Pixels]

DARKEST, BRIGHTEST = 1, 99  # percentiles that become black and white
BLANK = 3  # levels between them, at least: with fewer there is nothing but noise to be seen
MEDIAN = 0.35  # of black to white: where the median is darker, it becomes that bright,
MOST = 5  # but with no stronger exponent, which would show noise
CLIP, TILES = 3.0, (8, 8)  # of the equalisation: clip 2 and 4 find fewer faces, 16 tiles no more


def raised(sample: Pixels) -> Tone | None:
    """What raises the contrast of a picture: uint8 (H, W, 3), RGB, to the same; None where it has none.

    First the levels between the darkest and the brightest are spread, and brought to a usual median, in the
    whole picture alike. Then each part gets the same contrast, as far as its noise allows: contrast limited
    adaptive histogram equalisation (Zuiderveld, Graphics Gems IV, 1994), of the lightness alone. It takes all
    three to find the faces of all the kinds of pictures that docs/accuracy.md lists.

    sample: the picture, or a smaller copy, which tells the levels.
    """
    grey = cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY)
    low, middle, high = np.percentile(grey, (DARKEST, 50, BRIGHTEST)).tolist()
    if high - low < BLANK:
        return None
    levels = np.clip((np.arange(256) - low) / (high - low), 0, 1)
    median = min(max((middle - low) / (high - low), 1 / 512), MEDIAN)
    exponent = max(math.log(MEDIAN) / math.log(median), 1 / MOST)
    spread = (255 * levels**exponent).round().astype(np.uint8)

    def tone(pixels: Pixels) -> Pixels:
        lab = cv2.cvtColor(cv2.LUT(pixels, spread), cv2.COLOR_RGB2LAB)
        lab[..., 0] = cv2.createCLAHE(CLIP, TILES).apply(np.ascontiguousarray(lab[..., 0]))
        return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), dtype=np.uint8)

    return tone
