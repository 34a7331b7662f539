"""The picture of a face that is kept of a sample: cut generously out of the sample's picture. Pure."""

from __future__ import annotations

import cmath
import math
from dataclasses import replace

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from recognition.faces import Box, Face, KeptFace
from recognition.pictures.crops import pose

# The side of what is kept, in sides of the square that poses.MEAN_FACE stands in. A circle of this width
# holds the crop that any known model takes, however the head is tilted: from the centre to its farthest
# corner there are 0.69 sides for FaceNet's, and 0.804 for that of ArcFace's 112 x 112 alignment.
SIDE = 1.64
MAX_SIDE_PX = 256  # of which FaceNet's crop then has 159, and needs 160
# Of the JPEG, with colours at full resolution: the smallest at which the distances from other pictures change
# by less than 0.1, but for one pair in thousands; see benchmarks/FACES.md.
QUALITY = 98
SHOWN_QUALITY = 90  # of one that is only looked at: a quarter of the bytes


def keep_face(picture: NDArray[np.uint8], face: Face) -> KeptFace:
    """Cut out a face with a margin, so that crops for any model can be made of it later.

    Args:
        picture: uint8 (H, W, 3), RGB, in full resolution.
        face: of that picture.
    """
    part, face = cut(picture, face)
    jpeg: bytes = simplejpeg.encode_jpeg(part, quality=QUALITY, colorspace="RGB", colorsubsampling="444")
    return KeptFace(jpeg, face)


def small_jpeg(picture: NDArray[np.uint8]) -> bytes:
    """Make a picture of a face that somebody else has cut out small enough to be kept, as a JPEG.

    picture: uint8 (H, W, 3), RGB.
    """
    height, width = picture.shape[:2]
    shrink = min(1.0, MAX_SIDE_PX / max(height, width))
    small = _resized(picture, (max(1, round(shrink * width)), max(1, round(shrink * height))))
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(small), quality=SHOWN_QUALITY, colorspace="RGB")
    return jpeg


def cut(
    picture: NDArray[np.uint8], face: Face, max_side_px: int = MAX_SIDE_PX
) -> tuple[NDArray[np.uint8], Face]:
    """Cut out the pixels that are kept: uint8 (h, w, 3), RGB, and the face in them.

    They are cut along the picture's own rows and columns, so that nothing is resampled unless it is larger
    than max_side_px; a face that lies on its side, or upside down, is turned by quarters of a full turn. What
    lies outside the picture is left out.
    """
    turn, centre = pose(face)
    left, right = _range(centre.real, abs(turn), picture.shape[1])
    top, bottom = _range(centre.imag, abs(turn), picture.shape[0])
    # Whole blocks of pixels first: ten times as quick on a large face.
    blocks = max(1, max(bottom - top, right - left) // max_side_px)
    height, width = max(1, (bottom - top) // blocks), max(1, (right - left) // blocks)
    part = picture[top : top + height * blocks, left : left + width * blocks]
    shrink = min(1.0, max_side_px / max(height, width))
    size = max(1, round(shrink * width)), max(1, round(shrink * height))
    part = _resized(_resized(part, (width, height)), size)
    face = _moved(face, left, top, size[0] / width / blocks, size[1] / height / blocks)
    for _ in range(round(cmath.phase(turn) / (math.pi / 2)) % 4):
        face = _turned(face, part.shape[1])
        part = np.rot90(part)
    return np.ascontiguousarray(part), replace(face, quarters=0)


def _resized(part: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if part.shape[1::-1] == size:
        return part
    return cv2.resize(part, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _range(centre: float, side: float, length: int) -> tuple[int, int]:
    """The part of a row or column of the picture that is kept: one pixel at least."""
    first = min(max(math.floor(centre - SIDE / 2 * side), 0), length - 1)
    return first, max(min(math.ceil(centre + SIDE / 2 * side), length), first + 1)


def _moved(face: Face, left: int, top: int, across: float, down: float) -> Face:
    """The face in pixels of a part of its picture, of which the upper left corner is told, after scaling."""
    box = face.box
    return replace(
        face,
        box=Box((box.x - left) * across, (box.y - top) * down, box.w * across, box.h * down),
        landmarks=((face.landmarks - (left, top)) * (across, down)).astype(np.float32),
    )


def _turned(face: Face, width: int) -> Face:
    """The face after its picture, so wide, was turned counterclockwise by a quarter."""
    box, landmarks = face.box, face.landmarks
    return replace(
        face,
        box=Box(box.y, width - box.x - box.w, box.h, box.w),
        landmarks=np.stack([landmarks[:, 1], width - landmarks[:, 0]], axis=1),
    )
