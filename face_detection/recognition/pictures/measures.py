"""What can be measured on the crop of a face. Pure arithmetic on pixels; quality.py says what is good."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 160  # of the crops that are measured: what the default model takes

Floats = NDArray[np.float32]
Tensor = tuple[float, float, float]  # xx, xy, yy
WINDOW = np.s_[8:156, 20:140]  # of a crop: what holds the face


def _ellipse(x: float, y: float, width: float, height: float) -> NDArray[np.bool_]:
    """Where in the window an ellipse is, of a centre and half axes in the crop: bool (148, 120)."""
    rows, columns = np.mgrid[WINDOW]
    return np.asarray(((columns - x) / width) ** 2 + ((rows - y) / height) ** 2 <= 1)


# Where things are, after MEAN_FACE: the face without hair and background, and its parts.
FACE = _ellipse(79.5, 82, 56, 72)
FACE_BYTES = FACE.astype(np.uint8)
INSIDE = FACE.astype(np.float32)
HALF = np.ascontiguousarray(INSIDE[1::2, 1::2])
AREA = float(INSIDE.sum())
INNER = np.s_[30:138, 16:104]  # of the window: what holds the core
CORE = np.flatnonzero(_ellipse(79.5, 92, 42, 52)[INNER])  # below caps and hair
PARTS = tuple(  # both eyes, the nose, the mouth
    np.flatnonzero(_ellipse(*part))
    for part in ((50, 62, 17, 11), (110, 62, 17, 11), (80, 93, 14, 15), (80, 119, 29, 13))
)
GRID = np.s_[4::8, 4::8]
ACROSS = np.array([[-0.5, 0, 0.5]], np.float32)
SMALL, LARGE = np.ones((3, 3), np.uint8), np.ones((11, 11), np.uint8)
FLAT_CONTRAST = 12.0  # grey levels; below it, values of 8 bits are flat by themselves


@dataclass(frozen=True, slots=True)
class Measures:
    """What a crop shows. Each is in units of the face's own contrast, so that light does not count.

    sharpness: how much of the gradient is fine, in the direction in which that is least; 0: nothing.
    shake: the same against the direction in which it is most: motion blurs one direction only.
    outlines: how much of the outlines is fine, which noise does not hide.
    grain, specks: what is finer than a face's detail, in its smoothest tenth and in the third that has most.
    flat, blank: shares of the face, without hair, in small and in large areas of one colour; None where the
        contrast is too low to tell.
    evenness: the median gradient there against the root of the mean square: blocks and bars have few but
        strong edges; None likewise.
    parts: the median gradient of both eyes, the nose and the mouth against the whole face's.
    low, middle, high: grey levels below which 1, 50 and 99 % of the face lie, in [0, 255].
    """

    sharpness: float
    shake: float
    outlines: float
    grain: float
    specks: float
    flat: float | None
    blank: float | None
    evenness: float | None
    parts: tuple[float, ...]
    low: float
    middle: float
    high: float


def measure(crop: NDArray[np.uint8]) -> Measures:
    """Measure a crop: uint8 (160, 160, 3), RGB, as `crop_faces` makes it."""
    levels = np.asarray(cv2.cvtColor(crop[WINDOW], cv2.COLOR_RGB2GRAY), np.uint8)
    grey = levels.astype(np.float32)
    fine, coarse = _blurred(grey, 1.0), _blurred(grey, 2.0)
    half = cv2.resize(coarse, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    coarsest = _blurred(half, 1.73)  # with what came before it, a deviation of 4 in all
    contrast = 1 + _deviation(coarse)  # grey levels; 1 keeps a face of one colour finite
    x, y = _gradient(fine)
    tensor, coarse_tensor = _tensor(x, y, INSIDE), _tensor(*_gradient(coarse), INSIDE)
    grain, specks = _noise(grey - fine, contrast)
    least, most = _fineness(tensor, coarse_tensor)
    sharpness = least * _balance(tensor) ** 0.3
    outlines, _ = _fineness(coarse_tensor, _tensor(*_gradient(coarsest), HALF))
    flat, blank, evenness = _flat(grey, contrast) if contrast >= FLAT_CONTRAST else (None, None, None)
    low, middle, high = _percentiles(levels, (0.01, 0.5, 0.99))
    return Measures(
        sharpness=sharpness,
        shake=sharpness / math.sqrt(most + 0.01),
        outlines=outlines * (grain / 0.02 + 0.05) ** -0.16,
        grain=grain,
        specks=specks,
        flat=flat,
        blank=blank,
        evenness=evenness,
        parts=_parts(x * x + y * y),
        low=low,
        middle=middle,
        high=high,
    )


def _fineness(fine: Tensor, coarse: Tensor) -> tuple[float, float]:
    """Tell how much of the gradient is fine, in the direction in which that is least, and most; 0: nothing.

    A blur takes more from fine gradients than from coarse ones; motion does so along its direction only. So
    these are the roots of the generalised eigenvalues of the two structure tensors, less 1, which no detail
    amounts to.
    """
    floor = 1e-6 * (coarse[0] + coarse[2]) + 1e-6
    xx, xy, yy = coarse[0] + floor, coarse[1], coarse[2] + floor
    determinant = xx * yy - xy**2
    half = (fine[0] * yy + fine[2] * xx - 2 * fine[1] * xy) / 2
    root = math.sqrt(max(0.0, half**2 - determinant * (fine[0] * fine[2] - fine[1] ** 2)))
    least, most = (math.sqrt(max(0.0, (half + sign * root) / determinant)) - 1 for sign in (-1, 1))
    return max(0.0, least), max(0.0, most)


def _balance(tensor: Tensor) -> float:
    """Compare the gradient's energy in its weakest direction with the mean: 1 is equal, 0 is nothing."""
    mean = (tensor[0] + tensor[2]) / 2 + 1e-6
    return max(0.0, mean - math.hypot((tensor[0] - tensor[2]) / 2, tensor[1])) / mean


def _parts(energy: Floats) -> tuple[float, ...]:
    """Compare the gradient in eyes, nose and mouth with the whole face's: next to none in what is covered."""
    rms = math.sqrt(float(np.vdot(energy, INSIDE)) / AREA) + 0.2  # grey levels: those of rounding
    values = energy.ravel()
    return tuple(math.sqrt(_median(values[places])) / rms for places in PARTS)


def _tensor(x: Floats, y: Floats, inside: Floats) -> Tensor:
    """Return the structure tensor over the face: xx, xy, yy."""
    weighted = x * inside
    return float(np.vdot(weighted, x)), float(np.vdot(weighted, y)), float(np.vdot(y * inside, y))


def _blurred(grey: Any, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma), np.float32)


def _gradient(grey: Floats) -> tuple[Floats, Floats]:
    """Differentiate over two pixels: float32 as it is, each."""
    x, y = (cv2.filter2D(grey, -1, kernel, borderType=cv2.BORDER_REPLICATE) for kernel in (ACROSS, ACROSS.T))
    return np.asarray(x, np.float32), np.asarray(y, np.float32)


def _noise(fine: Floats, contrast: float) -> tuple[float, float]:
    """Return what is finer than the face's own detail, in units of the contrast: where there is little, and
    much.

    Grain is everywhere, also where skin is smooth; a noisy bar covers at least a third.
    """
    spread = np.sqrt(np.maximum(cv2.blur(fine * fine, (9, 9))[GRID], 0))[FACE[GRID]]
    spread.sort()
    return float(spread[len(spread) // 10]) / contrast, float(spread[len(spread) * 7 // 10]) / contrast


def _flat(grey: Floats, contrast: float) -> tuple[float, float, float]:
    """Return the shares of the face in small and in large areas of one colour, and how even its gradient is.

    The last is the median over the root of the mean square: blocks, stripes and bars have few but strong
    edges.
    What is as white as can be does not count: light does that.
    """
    inner = grey[INNER]
    x, y = _gradient(inner)
    energy = x * x + y * y
    energy[inner >= 254] = np.inf
    small = cv2.erode((energy <= (0.02 * contrast) ** 2).view(np.uint8), SMALL)
    large = cv2.erode((energy <= (0.04 * contrast) ** 2).view(np.uint8), LARGE)
    known = energy.ravel()[CORE]
    known = known[np.isfinite(known)]
    even = math.sqrt(_median(known) / (float(known.mean()) + 1e-6)) if len(known) else 1.0
    return float(small.ravel()[CORE].mean()), float(large.ravel()[CORE].mean()), even


def _deviation(grey: Floats) -> float:
    """Return the standard deviation over the face."""
    weighted = grey * INSIDE
    mean = float(weighted.sum()) / AREA
    return math.sqrt(max(0.0, float(np.vdot(weighted, grey)) / AREA - mean**2))


def _median(values: Floats) -> float:
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def _percentiles(levels: NDArray[np.uint8], shares: Sequence[float]) -> list[float]:
    """Return the levels below which these shares of the face lie."""
    below = np.cumsum(cv2.calcHist([levels], [0], FACE_BYTES, [256], (0, 256)))
    return [float(np.searchsorted(below, share * below[-1])) for share in shares]
