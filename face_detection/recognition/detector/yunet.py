"""YuNet: one network that sees faces of most sizes at once.

W. Wu, H. Peng, S. Yu: YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research 20, 2023,
https://doi.org/10.1007/s11633-023-1423-y. What becomes of the network's values is as in OpenCV's
FaceDetectorYN (cv2 5.0), which has the same boxes and scores of a picture that is looked at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.detector.landmarks import located
from recognition.detector.mtcnn import MAX_SIDE_PX, sigmoid
from recognition.detector.networks import load_network
from recognition.detector.patches import LARGEST_SIDE_PX
from recognition.detector.pyramid import CELL_PX, bounded, placed
from recognition.detector.views import tiled
from recognition.faces import Face

STRIDES_PX = (8, 16, 32)  # of the cells: Wu et al. 2023, section 3. The network takes multiples of the last
# Of the score. On WIDER FACE 0.7 has MTCNN's precision and a higher recall; 0.6 loses 0.025 of precision.
LEAST_SCORE = 0.7
OVERLAP, MOST = 0.3, 5000  # of suppression: OpenCV's; boxes beyond the 5,000 surest are left out
# Scores seldom exceed 0.94. These make probabilities of them, such that the least one is 0.8, as MTCNN's is,
# and that 91 % of LFW's pictures have a face of at least 0.99, as with MTCNN: limits then mean the same.
STEEPNESS, OFFSET = 2.05, -0.35  # of the log odds
SMALLEST = 0.5  # of min_face_px, as with MTCNN: at 0.9, faces of WIDER of just 20 px are lost
# It loses some faces of 500 px, and nearly all of 1,000 px. So a picture is looked at again at a quarter of
# its size, until its longer side is no more than ENOUGH_PX, for faces that are not small there. That takes a
# sixteenth of the time.
QUARTER, ENOUGH_PX, LARGE_PX = 4, 384, 64
WHOLE_PX = 2048  # the longest side that is looked at in one piece, which takes 0.3 GB; beyond it, in tiles

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]


def load_yunet(
    models_dir: Path,
    *,
    min_face_px: int = 20,
    max_side_px: int = MAX_SIDE_PX,
    threads: int = 1,
    onet: str | None = "onet.onnx",
) -> Callable[[Pixels], list[Face]]:
    """Load yunet.onnx and onet.onnx from models_dir and return the detector, like that of `load_mtcnn`.

    The detector takes one upright uint8 (H, W, 3) RGB picture of any size and returns its faces, highest
    confidence first: boxes in float pixels of that picture, clipped to its pixel centres (x + w <= W - 1),
    landmarks not clipped. It may be called from several threads at once.

    min_face_px: the side of the smallest face looked for, 12 or more, in pixels of the bounded picture. YuNet
        sees few faces below 20 px.
    max_side_px, threads: as of `load_mtcnn`.
    onet: MTCNN's last network, which locates the landmarks; None: they are YuNet's own, which scatter three
        times as much. With them MobileFaceNet's TMR at FMR 1e-5 is 0.90 on LFW, and with O-Net's 0.95.

    Raises FileNotFoundError if a file is missing, ValueError for another network or a setting out of range.
    """
    if min_face_px < CELL_PX or max_side_px < 0 or threads < 1:
        raise ValueError(f"out of range: {min_face_px=} (12 or more), {max_side_px=}, {threads=} (1 or more)")
    network = load_network(models_dir / "yunet.onnx", threads)
    locate = partial(located, load_network(models_dir / onet)) if onet else _as_they_are
    cv2.setNumThreads(1)  # as `load_mtcnn` does
    bound = min(max_side_px or LARGEST_SIDE_PX, LARGEST_SIDE_PX)

    def detect(picture: Pixels) -> list[Face]:
        small, seen = bounded(picture, bound)
        found = []
        for level, shown, least_px in looks(small):
            boxes, scores, landmarks = read(network(padded(level)[None])[0], *level.shape[:2])
            ratio = np.array([shown[1] / level.shape[1], shown[0] / level.shape[0]])
            kept = boxes[:, 2:].max(axis=1, initial=0) >= least_px
            found.append((boxes[kept] * np.tile(ratio, 2), scores[kept], landmarks[kept] * ratio))
        boxes, scores, landmarks = (np.concatenate(part) for part in zip(*found, strict=True))
        large = np.flatnonzero(boxes[:, 2:].max(axis=1, initial=0) >= SMALLEST * min_face_px)
        best = large[suppressed(boxes[large], scores[large])]
        corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
        points = locate(small, landmarks[best])
        return placed(corners[best], confidences(scores[best]), points, small.shape[:2], seen)

    return tiled(detect, WHOLE_PX, WHOLE_PX // 8) if bound > WHOLE_PX else detect


def _as_they_are(_: Pixels, landmarks: Doubles) -> Doubles:
    return landmarks


def looks(picture: Pixels) -> Iterator[tuple[Pixels, tuple[int, int], int]]:
    """The picture and smaller copies: pixels, what they show, and the least longer side of a box there."""
    yield picture, picture.shape[:2], 0
    side = max(picture.shape[:2])
    while side > ENOUGH_PX:
        side = -(-side // QUARTER)
        yield *bounded(picture, side), LARGE_PX


def padded(picture: Pixels) -> Pixels:
    """The picture with black on the right and below, so that the largest stride divides both sides."""
    down, right = (-side % STRIDES_PX[-1] for side in picture.shape[:2])
    return np.asarray(cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_CONSTANT), dtype=np.uint8)


def read(values: Floats, height: int, width: int) -> tuple[Doubles, Doubles, Doubles]:
    """What the network says of a picture that was padded: boxes that overlap, as many as there are.

    values: float32 (16, cells), as `preparation.yunet.rearranged` says; height, width: before it was padded.

    Returns boxes (n, 4), x, y, w, h, scores (n,), LEAST_SCORE or more, and landmarks (n, 5, 2), x and y.
    """
    sides = [-(-side // STRIDES_PX[-1]) * STRIDES_PX[-1] for side in (height, width)]
    columns = np.array([sides[1] // stride for stride in STRIDES_PX])
    ends = np.cumsum([sides[0] // stride for stride in STRIDES_PX] * columns)
    scores = np.sqrt(sigmoid(values[0]) * sigmoid(values[1]))
    cells = np.flatnonzero(scores >= LEAST_SCORE)
    level = np.searchsorted(ends, cells, side="right")
    row, column = np.divmod(cells - np.append(0, ends)[level], columns[level])
    corner, stride = np.stack([column, row], axis=1), np.array(STRIDES_PX)[level, None]
    chosen = values[:, cells].T.astype(np.float64)
    size = np.exp(chosen[:, 4:6]) * stride
    boxes = np.hstack([(corner + chosen[:, 2:4]) * stride - size / 2, size])
    landmarks = (corner[:, None] + chosen[:, 6:].reshape(-1, 5, 2)) * stride[:, None]
    return boxes, scores[cells], landmarks


def suppressed(boxes: Doubles, scores: Doubles) -> NDArray[np.intp]:
    """The places of the boxes (n, 4), x, y, w, h, that no surer one overlaps too much, the surest first.

    OpenCV compares them in whole pixels, cut off towards 0.
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    whole = np.trunc(boxes).tolist()
    return np.asarray(cv2.dnn.NMSBoxes(whole, scores.tolist(), 0.0, OVERLAP, top_k=MOST), dtype=np.intp)


def confidences(scores: Doubles) -> Doubles:
    """Probabilities (n,) of scores (n,), both in (0, 1)."""
    return np.asarray(1 / (1 + np.exp(-OFFSET) * (1 / scores - 1) ** STEEPNESS))
