"""The three stages of MTCNN, from a picture to faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.detector.networks import load_network
from recognition.detector.patches import LARGEST_SIDE_PX, patches, points
from recognition.detector.pyramid import CELL_PX, Mapper, bounded, levels, placed, scales
from recognition.detector.suppression import best_first, suppress
from recognition.faces import Face

MAX_SIDE_PX = 1024  # loses nothing on WIDER FACE, 960 loses 0.014 of average precision: `make detection`
STRIDE_PX = 2  # of P-Net: its one pooling
P_SURE, R_SURE, O_SURE = 0.6, 0.7, 0.8  # the package's thresholds of confidence
P_OVERLAP_IN_LEVEL, P_OVERLAP, R_OVERLAP, O_OVERLAP = 0.5, 0.7, 0.7, 0.7  # and of suppression
R_SIDE_PX, O_SIDE_PX = 24, 48  # network inputs: Zhang et al. 2016, figure 2
# Patches of one call at most: larger ones outgrow a core's cache, or leave the other core idle; measured.
R_BATCH, O_BATCH = 16, 2
STRIP_PX = 1 << 16  # of a pyramid level, whose intermediate values still fit a core's cache; measured

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Network = Callable[[Floats], Floats]


def load_mtcnn(
    models_dir: Path, *, min_face_px: int = 20, max_side_px: int = MAX_SIDE_PX, threads: int = 1
) -> Callable[[NDArray[np.uint8]], list[Face]]:
    """Load pnet.onnx, rnet.onnx and onet.onnx from models_dir and return the detector.

    The detector takes one upright uint8 (H, W, 3) RGB picture of any size and returns its faces, highest
    confidence first: boxes in float pixels of that picture, clipped to its pixel centres as the package
    does (x + w <= W - 1), landmarks not clipped. It may be called from several threads at once.

    min_face_px: the side of the smallest face looked for, 12 or more, in pixels of the bounded picture.
    max_side_px: a picture with a longer side beyond this is shrunk to it first; 0 for no bound (but
        that of OpenCV, 32766).
    threads: how many threads one call may use: its own, and others that all calls share.

    Raises FileNotFoundError if a file is missing, ValueError for another network or a setting out of range.
    """
    if min_face_px < CELL_PX or max_side_px < 0 or threads < 1:
        raise ValueError(f"out of range: {min_face_px=} (12 or more), {max_side_px=}, {threads=} (1 or more)")
    pnet, rnet, onet = (load_network(models_dir / f"{name}.onnx") for name in ("pnet", "rnet", "onet"))
    cv2.setNumThreads(1)  # in the whole process: its own threads would stand in the way of these
    apply = sharing(threads)
    bound = min(max_side_px or LARGEST_SIDE_PX, LARGEST_SIDE_PX)

    def detect(picture: NDArray[np.uint8]) -> list[Face]:
        small, seen = bounded(picture, bound)
        pixels = small.astype(np.float32, order="C")
        boxes = propose(pnet, small, pixels, min_face_px, apply)
        boxes = refine(rnet, pixels, boxes, apply)
        boxes, scores, landmarks = finish(onet, pixels, boxes, apply)
        return placed(boxes, scores, landmarks, small.shape[:2], seen)

    return detect


def sharing(threads: int) -> Mapper:
    """A map that shares its work between the calling thread and threads - 1 others.

    The caller works as well, because another thread in its place would first have to be woken: on two cores,
    Linux woke both threads on the same core and left them there while the caller only waited.
    """
    pool = ThreadPoolExecutor(max(1, threads - 1), "mtcnn")

    def apply(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        items = list(items)
        results = [None] * len(items)
        places = iter(range(len(items)))  # each place is taken once, whoever asks

        def work() -> None:
            for place in places:
                results[place] = function(items[place])

        helpers = [pool.submit(work) for _ in range(min(threads, len(items)) - 1)]
        try:
            work()
        finally:
            for helper in helpers:
                if not helper.cancel():  # it has begun
                    helper.result()
        return results

    return apply


def propose(
    pnet: Network, picture: NDArray[np.uint8], pixels: Floats, min_face_px: int, apply: Mapper
) -> Doubles:
    """P-Net over the pyramid of a uint8 (H, W, 3) picture, also as float32: squares (n, 4), best first."""
    height, width = picture.shape[:2]
    factors = scales(height, width, min_face_px)
    pyramid = levels(picture, pixels, factors, apply)
    pieces = [(k, top, strip) for k, level in enumerate(pyramid) for top, strip in strips(level)]
    cells = list(apply(lambda piece: _cells(pnet, *piece), pieces))
    if not cells:
        return np.empty((0, 4))
    level, row, column, logits, offsets = (np.concatenate(part) for part in zip(*cells, strict=True))
    corners = np.stack([column, row, column, row], axis=1) * STRIDE_PX + [1, 1, CELL_PX, CELL_PX]
    boxes = (corners + offsets * (CELL_PX - 1)) / np.array(factors)[level, None]
    scores = sigmoid(logits)
    apart = level[:, None] * [4.0 * width, 0, 4.0 * width, 0]  # so that boxes of two levels never meet
    starts = np.searchsorted(level, np.arange(len(factors) + 1))
    order = np.concatenate([a + best_first(scores[a:b]) for a, b in pairwise(starts)])
    kept = order[suppress((boxes + apart)[order], P_OVERLAP_IN_LEVEL)]
    kept = kept[best_first(scores[kept])]
    return squared(boxes[kept[suppress(boxes[kept], P_OVERLAP)]])


def strips(level: Floats) -> list[tuple[int, Floats]]:
    """Cut a pyramid level into strips that P-Net maps to consecutive rows: (first row of cells, pixels).

    Strips overlap by 10 px, what a 12 px window needs beyond its stride, so cells are as without cutting.
    """
    height, width = level.shape[:2]
    rows = (height - CELL_PX + 1) // STRIDE_PX + 1
    step = max(8, STRIP_PX // (STRIDE_PX * width))
    tops = [*range(0, max(1, rows - step // 2), step), rows]
    reach = CELL_PX - STRIDE_PX
    bottoms = [*(STRIDE_PX * top + reach for top in tops[1:-1]), height]
    return [(top, level[STRIDE_PX * top : bottom]) for top, bottom in zip(tops, bottoms, strict=False)]


def _cells(pnet: Network, level: int, top: int, strip: Floats) -> tuple[NDArray[Any], ...]:
    """The cells of a strip that look like a face: level, row, column (m,), logits (m,), offsets (m, 4)."""
    values = pnet(strip[None])[0]
    row, column = np.nonzero(values[0] > logit(P_SURE))
    chosen = values[:, row, column].T
    return np.full(len(row), level), row + top, column, chosen[:, 0], chosen[:, 1:].astype(np.float64)


def refine(rnet: Network, pixels: Floats, boxes: Doubles, apply: Mapper) -> Doubles:
    """R-Net on the boxes (n, 4): those that stay, corrected and square (m, 4), best first."""
    values = _on_patches(rnet, pixels, boxes, R_SIDE_PX, R_BATCH, 5, apply)
    sure = values[:, 0] > logit(R_SURE)
    order = np.flatnonzero(sure)[best_first(sigmoid(values[sure, 0]))]
    boxes = adjusted(boxes[order], values[order, 1:5])
    return squared(boxes[suppress(boxes, R_OVERLAP)])


def finish(onet: Network, pixels: Floats, boxes: Doubles, apply: Mapper) -> tuple[Doubles, Doubles, Doubles]:
    """O-Net on the boxes (n, 4): boxes (m, 4), confidences (m,), landmarks (m, 5, 2), best first."""
    values = _on_patches(onet, pixels, boxes, O_SIDE_PX, O_BATCH, 15, apply)
    sure = values[:, 0] > logit(O_SURE)
    order = np.flatnonzero(sure)[best_first(sigmoid(values[sure, 0]))]
    boxes, values = boxes[order], values[order]
    size = boxes[:, None, 2:] - boxes[:, None, :2] + 1
    landmarks = boxes[:, None, :2] + values[:, 5:].reshape(-1, 2, 5).transpose(0, 2, 1) * size - 1
    boxes, scores = adjusted(boxes, values[:, 1:5]), sigmoid(values[:, 0])
    kept = suppress(boxes, O_OVERLAP, "smaller")
    return boxes[kept], scores[kept], landmarks[kept]


def _on_patches(
    network: Network, pixels: Floats, boxes: Doubles, side: int, batch: int, outputs: int, apply: Mapper
) -> Floats:
    if not len(boxes):
        return np.empty((0, outputs), np.float32)
    height, width = pixels.shape[:2]
    at = points(boxes, height, width, side)
    parts = np.array_split(at, math.ceil(len(boxes) / batch))
    return np.concatenate(list(apply(lambda part: network(patches(pixels, part)), parts)))


def squared(boxes: Doubles) -> Doubles:
    """Squares with the centres of the boxes (n, 4) and their longer sides."""
    low, high = boxes[:, :2], boxes[:, 2:]
    half = (high - low).max(axis=1, keepdims=True) / 2
    centre = (low + high) / 2
    return np.hstack([centre - half, centre + half])


def adjusted(boxes: Doubles, offsets: Floats) -> Doubles:
    """Boxes (n, 4) with each side moved by its offset times the size, which counts the last pixel in."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + offsets * np.hstack([size, size])


def sigmoid(logits: Floats) -> Doubles:
    """Probabilities from logits (n,), in float32 as the package has them: near 1 many are equal."""
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float64)


def logit(probability: float) -> float:
    """The logit of a probability strictly between 0 and 1."""
    return math.log(probability / (1 - probability))
