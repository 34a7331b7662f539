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

# Chosen on the clips of benchmarks/cameras.py with both halves of the people in view: of these constants, the
# figures in docs/cameras.md are no independent test.
ADAPTS_S = 10.0  # after which time two thirds of a change belong to the background
STAYS_S = 120.0  # the same of what moves: whoever stops for a moment leaves no trace when they go on
LEVELS = 8.0  # that a cell differs by at least, of 255
TIMES_NOISE = 5.0  # what cells usually differ by
CELLS = 4  # of WIDTH * HEIGHT that have to differ


def small(frame: NDArray[np.uint8]) -> Small:
    """Shrink a frame, uint8 (H, W, 3) BGR: each cell is the mean of some hundred pixels."""
    step = max(1, min(frame.shape[0] // HEIGHT, frame.shape[1] // WIDTH) // 10)
    shrunk = cv2.resize(frame[::step, ::step], (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
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
        off = _off(now, self._background)
        usual = (
            float(np.median(off)) / 0.6745
        )  # the standard deviation of a normal distribution by its median
        limit = max(LEVELS, TIMES_NOISE * max(usual, self._noise))
        moving = off > limit
        passed = max(0.0, at - self._at)
        share, of_moving = (1 - math.exp(-passed / adapts_s) for adapts_s in (ADAPTS_S, STAYS_S))
        self._background += np.where(moving, of_moving, share).astype(np.float32) * (now - self._background)
        self._noise += share * (usual - self._noise)
        self._at = at
        return int(moving.sum()) >= CELLS


def _off(now: NDArray[np.float32], background: NDArray[np.float32]) -> NDArray[np.float32]:
    """Tell how far each cell is off, but for what all have in common: more light, or a brighter picture."""
    lit = np.median(now / np.maximum(background, 1)) * background
    brighter = np.median(now - background) + background
    both = [np.abs(now - expected) for expected in (lit, brighter)]
    return np.asarray(min(both, key=lambda off: float(np.median(off))), np.float32)
