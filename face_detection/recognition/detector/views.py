"""Detectors made of detectors: each looks at a picture in another way, and answers in its pixels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from recognition.detector.pyramid import bounded
from recognition.detector.suppression import suppress
from recognition.faces import Box, Face

Pixels = NDArray[np.uint8]
Detector = Callable[[Pixels], list[Face]]

# A face in a tile has a box at least so far from where the tile was cut, or it is cut off itself.
WHOLE_PX = 2
MIRRORED = [1, 0, 2, 4, 3]  # the landmarks of a face in the mirror, whose left is right
SAME_FACE = 0.5  # of the smaller box: more in common is one face, found in two tiles or at two sizes


def shrinking(detector: Detector, max_side_px: int) -> Detector:
    """A detector that searches a picture at no more than max_side_px on its longer side; 0: as it is."""

    def detect(picture: Pixels) -> list[Face]:
        small, seen = bounded(picture, max_side_px or max(picture.shape[:2]))
        return _enlarged(detector(small), small, seen)

    return detect


def turned(detector: Detector, quarters: int) -> Detector:
    """A detector that first turns a picture by `quarters` of a full turn, counterclockwise."""

    def detect(picture: Pixels) -> list[Face]:
        faces = detector(np.ascontiguousarray(np.rot90(picture, quarters)))
        return [_turned_back(face, quarters, *picture.shape[:2]) for face in faces]

    return detect if quarters else detector


def mirrored(detector: Detector) -> Detector:
    """A detector that looks at the mirror image of a picture."""

    def detect(picture: Pixels) -> list[Face]:
        faces = detector(np.ascontiguousarray(picture[:, ::-1]))
        return [_mirrored_back(face, picture.shape[1]) for face in faces]

    return detect


def toned(detector: Detector, tone: Callable[[Pixels], Pixels]) -> Detector:
    """A detector that changes the brightness of a picture before it searches it."""
    return lambda picture: detector(tone(picture))


def tiled(detector: Detector, side_px: int, overlap_px: int) -> Detector:
    """A detector that searches a picture at its full size, in tiles of side_px.

    The whole picture is searched shrunk to side_px as well, and in tiles at half its size, a quarter and so
    on, for faces that are larger than the overlap. A smaller one lies wholly in some tile.

    overlap_px: of neighbouring tiles, at least; more than twice the smallest face that the detector finds, so
        that there is a size at which each face is neither too small nor too large.
    """

    def detect(picture: Pixels) -> list[Face]:
        if max(picture.shape[:2]) <= side_px:
            return detector(picture)
        faces = shrinking(detector, side_px)(picture)
        level, ratio = picture, (1.0, 1.0)
        while max(level.shape[:2]) > side_px:
            for face in _in_tiles(detector, level, side_px, overlap_px):
                faces.append(_scaled(face, *ratio))
            level, seen = bounded(level, max(level.shape[:2]) // 2)
            ratio = ratio[0] * seen[1] / level.shape[1], ratio[1] * seen[0] / level.shape[0]
        return _each_once(faces)

    return detect


def _in_tiles(detector: Detector, picture: Pixels, side_px: int, overlap_px: int) -> list[Face]:
    """The faces of at most overlap_px, in pixels of the picture; one in two tiles is listed twice."""
    height, width = picture.shape[:2]
    faces = []
    for top in _starts(height, side_px, overlap_px):
        for left in _starts(width, side_px, overlap_px):
            tile = picture[top : top + side_px, left : left + side_px]
            inner = (
                WHOLE_PX if left else -math.inf,
                WHOLE_PX if top else -math.inf,
                tile.shape[1] - WHOLE_PX if left + side_px < width else math.inf,
                tile.shape[0] - WHOLE_PX if top + side_px < height else math.inf,
            )
            faces += [
                _moved(face, left, top)
                for face in detector(tile)
                if max(face.box.w, face.box.h) <= overlap_px and _lies_in(face.box, inner)
            ]
    return faces


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """Where tiles of one side begin that cover a length evenly and overlap by so much at least."""
    count = max(1, math.ceil((length - overlap) / (side - overlap)))
    last = max(0, length - side)
    return [round(number * last / max(1, count - 1)) for number in range(count)]


def _lies_in(box: Box, inner: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = inner
    return left <= box.x and top <= box.y and box.x + box.w <= right and box.y + box.h <= bottom


def _each_once(faces: list[Face]) -> list[Face]:
    """The faces without those that show what a surer one shows, the surest first."""
    faces = sorted(faces, key=lambda face: face.confidence, reverse=True)
    corners = [(face.box.x, face.box.y, face.box.x + face.box.w, face.box.y + face.box.h) for face in faces]
    kept = suppress(np.array(corners, dtype=np.float64).reshape(-1, 4), SAME_FACE, "smaller")
    return [faces[place] for place in kept]


def _enlarged(faces: list[Face], small: Pixels, seen: tuple[int, int]) -> list[Face]:
    """Faces of what `bounded` made of a picture, in pixels of that picture."""
    if small.shape[:2] == seen:
        return faces
    return [_scaled(face, seen[1] / small.shape[1], seen[0] / small.shape[0]) for face in faces]


def _scaled(face: Face, across: float, down: float) -> Face:
    box = Box(face.box.x * across, face.box.y * down, face.box.w * across, face.box.h * down)
    return replace(face, box=box, landmarks=(face.landmarks * (across, down)).astype(np.float32))


def _moved(face: Face, right: int, down: int) -> Face:
    box = replace(face.box, x=face.box.x + right, y=face.box.y + down)
    return replace(face, box=box, landmarks=face.landmarks + np.array([right, down], np.float32))


def _turned_back(face: Face, quarters: int, height: int, width: int) -> Face:
    """A face of a turned picture, in pixels of the (height, width) picture before."""
    box = face.box
    corners = np.array([(box.x, box.y), (box.x + box.w, box.y + box.h)])
    corners = _points_back(corners, quarters, height, width)
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return replace(
        face,
        box=Box(left, top, right - left, bottom - top),
        landmarks=_points_back(face.landmarks, quarters, height, width).astype(np.float32),
        quarters=quarters,
    )


def _mirrored_back(face: Face, width: int) -> Face:
    landmarks = face.landmarks[MIRRORED].copy()
    landmarks[:, 0] = width - landmarks[:, 0]
    return replace(face, box=replace(face.box, x=width - face.box.x - face.box.w), landmarks=landmarks)


def _points_back(
    points: NDArray[np.floating], quarters: int, height: int, width: int
) -> NDArray[np.floating]:
    x, y = points[:, 0], points[:, 1]
    turns = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}
    return np.stack(turns[quarters], axis=1)
