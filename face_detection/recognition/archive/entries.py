"""The values of archives: files, what was seen in them, or why nothing was. Nothing here does IO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box, KeptFace

HIDDEN = b"."
THUMBNAILS = b"@eaDir"  # in which Synology's systems keep smaller copies of every picture
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
class Portrait:
    """What a sample needs beside of the largest face of a picture. No index keeps it.

    kept: what a gallery keeps of the face; None: it keeps none.
    digest: of the picture's pixels; sha256: of the file, in hexadecimal.
    """

    kept: KeptFace | None
    digest: bytes
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A picture and its faces, largest first.

    width, height: of the upright picture, in pixels; orientation: how it is stored, by EXIF's tag.
    portrait: of the first face, where it was asked for.
    """

    file: File
    width: int
    height: int
    orientation: int
    faces: tuple[SeenFace, ...]
    portrait: Portrait | None = None


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


def unreadable(file: File, error: OSError) -> Refused:
    """Say why a file cannot be read, for now."""
    reason = error.strerror or str(error).partition("\n")[0] or "The file cannot be read."
    return Refused(file, "file", reason, passing=True)


def is_passed_over(name: bytes, *, folder: bool) -> bool:
    """Tell whether a file or folder of this name is not looked at."""
    return name.startswith(HIDDEN) or (folder and name == THUMBNAILS)


class IndexUnavailable(Exception):
    """An index cannot be used, or is another one's: its text says why, for people."""
