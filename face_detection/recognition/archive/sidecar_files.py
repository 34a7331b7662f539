"""Sidecars on the disk: where they lie, and how they are changed. Pictures are never written to."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from recognition.archive.sidecars import MAX_BYTES, Dimensions, NotXmp, Region, rendered

ENDING = b".xmp"
# digiKam, darktable and Immich: behind the whole name of the picture; Adobe: in place of its ending.
Naming = Literal["digikam", "lightroom"]


def sidecar_of(picture: bytes, naming: Naming) -> bytes:
    """Return the path of a picture's sidecar."""
    return (picture if naming == "digikam" else os.path.splitext(picture)[0]) + ENDING


def write_sidecar(path: bytes, picture: bytes, regions: Sequence[Region], dimensions: Dimensions) -> bool:
    """Put regions into a sidecar, all at once; see `rendered`. Returns whether it was changed.

    Whoever may read the picture may read a new sidecar.

    Raises:
        NotXmp: something else is there, which stays as it is.
        OSError: it cannot be read or written.
    """
    path = os.path.realpath(path)  # what a link leads to is changed, and the link stays
    existing = _read(path)
    new = rendered(existing, regions, dimensions)
    if new == existing:
        return False
    if new is None:
        os.unlink(path)
        return True
    mode = stat.S_IMODE(os.stat(picture if existing is None else path).st_mode) & 0o666
    folder, name = os.path.split(path)
    descriptor, part = tempfile.mkstemp(prefix=b"." + name, dir=folder)
    try:
        with open(descriptor, "wb") as file:
            file.write(new)
            os.fchmod(file.fileno(), mode)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(part)
        raise
    return True


def _read(path: bytes) -> bytes | None:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise NotXmp("It is no file.")
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
