"""The image pyramid: one picture at falling sizes, so that a 12 pixel window meets faces of every size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box, Face

CELL_PX = 12  # the window of P-Net: Zhang et al. 2016, figure 2
FACTOR = 0.709  # about sqrt(1/2), halves the area from level to level: the authors' code and the package
USUAL_MIN_FACE_PX = 20  # the smallest face for which the package's count of levels was made
SMALL_FACTOR = 0.16  # below it an integral image is quicker than cv2.resize; measured
INTEGRAL_PX = (1 << 31) // 255  # beyond it the sums would not fit 32 bits

Mapper = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


def bounded(picture: NDArray[np.uint8], max_side_px: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """The (H, W, 3) picture, shrunk if its longer side has more than max_side_px.

    First to averages of blocks of whole pixels, then, by less than a half, to samples between these. That
    takes a quarter to an eighth of the time of one exact average, which finds no more faces of WIDER FACE
    (measured at bounds from 450 to 900 px).

    Returns the result, and height and width of the part of the picture that it shows: a rest of less than a
    block, on the right and below, is left out.
    """
    height, width = picture.shape[:2]
    longer = max(height, width)
    if longer <= max_side_px:
        return picture, (height, width)
    size = (max(1, round(width * max_side_px / longer)), max(1, round(height * max_side_px / longer)))
    block = longer // max_side_px
    down, across = height // block, width // block
    if block > 1 and down and across:
        height, width = down * block, across * block
        picture = np.asarray(
            cv2.resize(picture[:height, :width], (across, down), interpolation=cv2.INTER_AREA), dtype=np.uint8
        )
    small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    return small, (height, width)


def placed(
    corners: NDArray[np.float64],
    scores: NDArray[np.float64],
    landmarks: NDArray[np.float64],
    size: tuple[int, int],
    seen: tuple[int, int],
) -> list[Face]:
    """The faces found in what `bounded` made of a picture, in pixels of that picture.

    Boxes are clipped to the pixel centres, landmarks are not; what lies outside is left out.

    Args:
        corners: (n, 4), x1, y1, x2, y2; scores: (n,); landmarks: (n, 5, 2), x and y.
        size: height and width of the bounded picture; seen: what else `bounded` returned.
    """
    height, width = size
    ratio = np.array([seen[1] / width, seen[0] / height])
    corners = np.clip(corners, 0, [width - 1, height - 1] * 2) * np.tile(ratio, 2)
    landmarks = (landmarks * ratio).astype(np.float32)
    return [
        Face(Box(x1, y1, x2 - x1, y2 - y1), score, marks)
        for (x1, y1, x2, y2), score, marks in zip(corners.tolist(), scores.tolist(), landmarks, strict=True)
        if x2 > x1 and y2 > y1
    ]


def scales(height: int, width: int, min_face_px: int) -> list[float]:
    """The factors by which a (height, width) picture is shrunk, largest first; none if it is too small.

    The first turns a face of min_face_px into P-Net's 12 pixels. Their count is the package's,
    round(log(shorter / 12) / log(1 / 0.709) - 1), for its 20 px; for another min_face_px it is that of a
    picture in which such faces have 20 px. The last level's shorter side has between 12 and 17 px.
    """
    shorter = min(height, width) * USUAL_MIN_FACE_PX / min_face_px
    count = round(-(math.log(shorter / CELL_PX) / math.log(FACTOR) + 1))
    return [CELL_PX / min_face_px * FACTOR**level for level in range(count)]


def levels(
    picture: NDArray[np.uint8], pixels: NDArray[np.float32], factors: list[float], apply: Mapper
) -> list[NDArray[np.float32]]:
    """The (H, W, 3) picture, area-averaged to (int(H * f), int(W * f), 3) float32 for every factor f <= 1.

    Each level is made from the full picture and not rounded: rounded or repeatedly shrunk levels move the
    proposals enough to change which of several near-equal boxes wins.

    pixels: the picture as float32; factors: from the largest down; apply: map, or one that shares its work.
    """
    height, width = picture.shape[:2]
    sizes = [(int(height * factor), int(width * factor)) for factor in factors]
    summable = height * width < INTEGRAL_PX
    resized = sum(factor >= SMALL_FACTOR or not summable for factor in factors)

    def resize(size: tuple[int, int]) -> NDArray[np.float32]:
        return np.asarray(cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA), dtype=np.float32)

    def average() -> list[NDArray[np.float32]]:
        sums = np.asarray(cv2.integral(picture, sdepth=cv2.CV_32S), dtype=np.int32)
        return [_averaged(sums, *size) for size in sizes[resized:]]

    jobs: list[Callable[[], Any]] = [partial(resize, size) for size in sizes[:resized]]
    if resized < len(sizes):  # the longest job, so the first
        small, *large = apply(lambda job: job(), [average, *jobs])
        return [*large, *small]
    return list(apply(lambda job: job(), jobs))


def _averaged(sums: NDArray[np.int32], height: int, width: int) -> NDArray[np.float32]:
    """Area average from an integral image (H + 1, W + 1, 3): its cost falls with the size of the result.

    Between pixel corners the integral of a picture of constant pixels is bilinear, so this is exact:
    Crow, Summed-area tables for texture mapping, SIGGRAPH 1984.
    """
    full = (sums.shape[0] - 1) * (sums.shape[1] - 1)
    row, part = _edges(sums.shape[0] - 1, height)
    lines = sums[row] + part[:, None, None] * (sums[row + 1] - sums[row])
    lines = np.diff(lines, axis=0)
    column, part = _edges(sums.shape[1] - 1, width)
    cells = lines[:, column]
    cells += part[:, None] * (lines[:, column + 1] - cells)
    return np.asarray(np.diff(cells, axis=1) * (height * width / full), dtype=np.float32)


def _edges(size: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The edges of count equal parts of size pixels: whole pixels before each, and the part of the next."""
    at = np.arange(count + 1, dtype=np.float64) * (size / count)
    whole: NDArray[np.intp] = np.minimum(at.astype(np.intp), size - 1)
    return whole, np.asarray(at - whole, dtype=np.float64)
