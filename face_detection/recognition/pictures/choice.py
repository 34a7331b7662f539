"""Which of a picture's faces is meant."""

from __future__ import annotations

from collections.abc import Sequence

from recognition.errors import NoFace, SeveralFaces
from recognition.faces import Box, Choice, Face


def by_size(faces: Sequence[Face]) -> list[Face]:
    """Sort faces by the area of their boxes, largest first; equal ones by confidence."""
    return sorted(faces, key=lambda face: (face.box.area, face.confidence), reverse=True)


def chosen(faces: Sequence[Face], choice: Choice) -> Face:
    """Return one of n faces, the largest first.

    choice: the largest; the only one; or the one at a point, x and y in pixels of the upright picture. Where
        the point lies in several boxes, the one whose centre is nearest to it.

    Raises:
        NoFace: there is none, or none at the point.
        SeveralFaces: there are several, and it should have been the only one.
    """
    if not faces:
        raise NoFace("No face was found in the picture.")
    if choice == "largest":
        return faces[0]
    if choice == "only":
        if len(faces) > 1:
            raise SeveralFaces(f"The picture has {len(faces)} faces.")
        return faces[0]
    x, y = choice
    there = [face for face in faces if _holds(face.box, x, y)]
    if not there:
        raise NoFace(f"No face was found at {x:g}, {y:g}; the picture has {len(faces)} elsewhere.")
    return min(there, key=lambda face: abs(complex(x, y) - _centre(face.box)))


def _holds(box: Box, x: float, y: float) -> bool:
    return box.x <= x <= box.x + box.w and box.y <= y <= box.y + box.h


def _centre(box: Box) -> complex:
    return complex(box.x + box.w / 2, box.y + box.h / 2)
