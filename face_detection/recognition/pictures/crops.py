"""Cut faces out of a picture the way the embedding network wants them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.faces import Face
from recognition.poses import MEAN_FACE, fitted
from serving.model import Template

# The part of MEAN_FACE's square that FaceNet's crops show. Narrower than high, so that the crop is a little
# stretched sideways, as the detector's boxes were when FaceNet was trained. Both figures were chosen on LFW's
# development pairs: against a level square crop they raise TMR at FMR 1e-4 by 0.012 +- 0.007.
HEIGHT = 1.02
WIDTH = 0.9 * HEIGHT

Framing = Template | Literal["box"]  # the last is no embedding model's: age and gender are guessed by it


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Where a face stands in a crop.

    points: complex (5,), landmarks in the order of MEAN_FACE, about the centre of a square of side 1.
    width, height: of the part that is cut out, in sides of that square; the crop is stretched to be square.
    first: where in the picture's first pixel landmarks count from.
    version: part of a gallery's fingerprint; raise it when a change here moves the vectors.
    """

    points: NDArray[np.complex128]
    width: float
    height: float
    first: complex
    version: str


def _of_112_px(*points: tuple[float, float]) -> NDArray[np.complex128]:
    """Bring places in a crop of 112 px, (0, 0) the centre of its first pixel, into the form of MEAN_FACE."""
    return np.array([complex(x + 0.5, y + 0.5) / 112 - (0.5 + 0.5j) for x, y in points])


ALIGNMENTS: dict[Framing, Alignment] = {
    # MEAN_FACE was fitted as if landmarks counted from the corner of the first pixel.
    "facenet": Alignment(MEAN_FACE, WIDTH, HEIGHT, 0, "1"),
    # Detectors count from its centre: MobileFaceNet's TMR at FMR 1e-5 is 0.946 so, and 0.943 else. The points
    # that InsightFace aligns to (`arcface_dst` of its python-package), as MobileFaceNet, SFace and
    # GhostFaceNet do.
    "arcface": Alignment(
        _of_112_px(
            (38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)
        ),
        1.0,
        1.0,
        0.5 + 0.5j,
        "arcface-1",
    ),
    # What deepface's `analyze` hands on: its detector's box, upright by the eyes and not distorted. That is a
    # square by default. Beside narrower boxes it puts black bars; here the picture goes on.
    "box": Alignment(MEAN_FACE, 1.0, 1.0, 0, "box-1"),
}


def crop_faces(
    picture: NDArray[np.uint8], faces: Sequence[Face], side: int, template: Framing = "facenet"
) -> NDArray[np.uint8]:
    """Cut out every face, upright and at one scale, by its landmarks.

    Args:
        picture: uint8 (H, W, 3), RGB, in full resolution.
        faces: n faces of that picture.
        side: of the crops, in pixels.
        template: where a face stands in them.

    Returns:
        uint8 (n, side, side, 3), RGB. What lies outside the picture repeats its border.
    """
    crops = np.empty((len(faces), side, side, 3), dtype=np.uint8)
    for number, face in enumerate(faces):
        crops[number] = _crop(picture, *pose(face, template), ALIGNMENTS[template], side)
    return crops


def pose(face: Face, template: Framing = "facenet") -> tuple[complex, complex]:
    """Return scale and turn, as one complex number, and centre of a template's square on a face.

    Landmarks that the detector did not find, not finite, are left out.
    """
    points = ALIGNMENTS[template].points
    known = np.isfinite(face.landmarks).all(axis=1)
    if known.sum() >= 2:
        x, y = face.landmarks[known].astype(np.float64).T
        turn, centre = fitted(points[known], x + 1j * y)
        if abs(turn) >= 1:  # else all landmarks are in one place, and only the box says where the face is
            return turn, centre
    turn, centre = _pose_of_box(face)
    return (turn, centre) if points is MEAN_FACE else fitted(points, turn * MEAN_FACE + centre)


def _pose_of_box(face: Face) -> tuple[complex, complex]:
    box = face.box
    return max(box.w, box.h, 1) * 1j**face.quarters, complex(box.x + box.w / 2, box.y + box.h / 2)


def _crop(
    picture: NDArray[np.uint8], turn: complex, centre: complex, part: Alignment, side: int
) -> NDArray[np.uint8]:
    centre += part.first
    shrink = int(abs(turn) * part.height / side)
    if shrink > 1:
        picture, turn, centre = _shrunk_around(picture, turn, centre, part.height, shrink)
    # Pixel (u, v) of the crop shows the place origin + u * right + v * down of the picture, both
    # from the centre of one pixel to that of another.
    right, down = turn * part.width / side, 1j * turn * part.height / side
    origin = centre - (side - 1) / 2 * (right + down) - (0.5 + 0.5j)
    warp = np.array([[right.real, down.real, origin.real], [right.imag, down.imag, origin.imag]])
    return cv2.warpAffine(
        picture,
        warp,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).astype(np.uint8, copy=False)


def _shrunk_around(
    picture: NDArray[np.uint8], turn: complex, centre: complex, high: float, shrink: int
) -> tuple[NDArray[np.uint8], complex, complex]:
    """Average blocks of shrink x shrink pixels around a face, so that the warp after it skips no pixel."""
    height, width = picture.shape[:2]
    reach = abs(turn) * high * 0.72 + 2 * shrink  # half a diagonal, and a little
    left, top = (int(max(at - reach, 0)) // shrink * shrink for at in (centre.real, centre.imag))
    left, top = min(left, width - shrink), min(top, height - shrink)
    columns = min(int(centre.real + reach) - left, width - left) // shrink
    rows = min(int(centre.imag + reach) - top, height - top) // shrink
    columns, rows = max(columns, 1), max(rows, 1)
    part = picture[top : top + rows * shrink, left : left + columns * shrink]
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return small, turn / shrink, (centre - complex(left, top)) / shrink
