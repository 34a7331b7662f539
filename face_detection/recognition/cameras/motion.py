"""Whether anything moves before a camera: a cheap difference of small grey pictures. Pure."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = (
    64,
    36,
)  # a face of 40 px in a picture of 1280 px is 2 wide then, and more than CELLS with its body
Small = NDArray[np.uint8]  # (HEIGHT, WIDTH), grey

# Chosen on the clips of benchmarks/cameras.py of one half of the people; docs/cameras.md has the figures.
ADAPTS_S = 10.0  # after which time two thirds of a change belong to the background
LEVELS = 6.0  # that a cell differs by at least, of 255
TIMES_NOISE = 5.0  # what cells usually differ by
CELLS = 4  # of WIDTH * HEIGHT that have to differ


def small(frame: NDArray[np.uint8]) -> Small:
    """Shrink a frame, uint8 (H, W, 3) BGR: each cell is the mean of its pixels, which takes noise away."""
    shrunk = cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(shrunk, cv2.COLOR_BGR2GRAY), np.uint8)


class Motion:
    """What the picture is like without anything that moves, as far as it is known.

    Slow changes of light become a part of it. A change of all of the picture at once, as of a camera that
    sets its
    exposure, is taken away before cells are compared: it is no motion.
    """

    def __init__(self) -> None:
        self._background: NDArray[np.float32] | None = None
        self._noise = 0.0
        self._at = 0.0

    def moves(self, picture: Small, at: float) -> bool:
        """Tell whether anything moves, and learn.

        at: when the picture was taken, in seconds; not before the one before. The first picture moves.
        """
        now = picture.astype(np.float32)
        if self._background is None:
            self._background, self._at = now, at
            return True
        off = now - self._background
        off -= np.median(off)
        off = np.abs(off, out=off)
        usual = (
            float(np.median(off)) / 0.6745
        )  # the standard deviation of a normal distribution by its median
        limit = max(LEVELS, TIMES_NOISE * max(usual, self._noise))
        moving = int((off > limit).sum()) >= CELLS
        share = 1 - math.exp(-max(0.0, at - self._at) / ADAPTS_S)
        self._background += share * (now - self._background)
        self._noise += share * (usual - self._noise)
        self._at = at
        return moving
