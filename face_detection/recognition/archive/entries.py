"""The values of archives: files, what was seen in them, or why nothing was. Nothing here does IO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box

NO_PICTURE = "no_picture"  # the code of what is a file of another kind, with which nothing is wrong


@dataclass(frozen=True, slots=True)
class File:
    """A file as it lies on the disk. Names are bytes, which need not be UTF-8.

    size: in bytes; modified_ns: when it was changed, in nanoseconds since 1970.
    """

    path: bytes
    size: int
    modified_ns: int


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """One face of a picture.

    box: in pixels of the upright picture.
    confidence: the detector's probability; quality: how well it can be told from others; both in [0, 1].
    vector: float32 (d,), of the index's model.
    """

    box: Box
    confidence: float
    quality: float
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture and its faces, largest first.

    width, height: of the upright picture, in pixels; orientation: how it is stored, by EXIF's tag.
    """

    file: File
    width: int
    height: int
    orientation: int
    faces: tuple[SeenFace, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """A file in which nothing could be seen, and why.

    passing: the reason may be gone next time, though the file stays as it is.
    """

    file: File
    code: str
    detail: str
    passing: bool = False


Outcome = Seen | Refused


class IndexUnavailable(Exception):
    """An index cannot be used, or is another one's: its text says why, for people."""
