"""The rows of an index: what was seen in pictures, written and read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.archive.entries import File, IndexUnavailable, Outcome, Refused, Seen, SeenFace
from recognition.archive.tables import faces, pictures
from recognition.errors import GalleryUnavailable
from recognition.faces import Box
from recognition.gallery.database import portions

if TYPE_CHECKING:
    from recognition.gallery.cipher import Cipher

NEVER = -1  # as the time of a change: the file is looked at again whatever its own is
FLOAT32 = np.dtype("<f4")
SAME_FACE = 0.5  # overlap, as intersection over union
_GROUPED = (
    sa.select(
        *(pictures.c[name] for name in ("path", "size")), *(faces.c[name] for name in ("x", "y", "w", "h"))
    )
    .add_columns(faces.c.unknown)
    .join_from(faces, pictures)
    .where(pictures.c.path.in_(sa.bindparam("paths", expanding=True)), faces.c.unknown.is_not(None))
)


def is_current(row: Any, file: File, fingerprint: str) -> bool:
    """Tell whether a file is as it was when it was refused, or seen with the model of a fingerprint."""
    same = (row.size, row.modified_ns) == (file.size, file.modified_ns)
    return same and (row.code is not None or row.fingerprint == fingerprint)


def below(root: bytes) -> sa.ColumnElement[bool]:
    """Tell the files of a folder, or the one file: what begins with its path and a slash lies in between."""
    parent = root.rstrip(b"/")
    return sa.or_(
        pictures.c.path == root,
        sa.and_(pictures.c.path >= parent + b"/", pictures.c.path < parent + b"0"),  # `0` is next to `/`
    )


def picture_row(outcome: Outcome, fingerprint: str) -> dict[str, Any]:
    """Render what was seen of a file, with the model of a fingerprint."""
    file = outcome.file
    row: dict[str, Any] = {"path": file.path, "size": file.size, "modified_ns": file.modified_ns}
    if isinstance(outcome, Refused):
        row |= {"code": outcome.code, "detail": outcome.detail}
        return row | ({"modified_ns": NEVER} if outcome.passing else {})
    sides = {"width": outcome.width, "height": outcome.height, "orientation": outcome.orientation}
    return row | sides | {"fingerprint": fingerprint}


def face_row(
    cipher: Cipher | None, picture: int, number: int, face: SeenFace, fingerprint: str, unknown: int | None
) -> dict[str, Any]:
    """Render a face, which is in the group of a key, or in none."""
    plain = face.vector.astype(FLOAT32).tobytes()
    box = face.box
    return {
        "picture": picture,
        "number": number,
        **{"x": box.x, "y": box.y, "w": box.w, "h": box.h},
        "confidence": face.confidence,
        "quality": face.quality,
        "vector": plain if cipher is None else cipher.seal(plain, _bound_to(picture, number), fingerprint),
        "unknown": unknown,
    }


@dataclass(frozen=True, slots=True)
class Groups:
    """Where faces of a picture were, and the keys of their groups."""

    boxes: Sequence[tuple[Box, int]] = ()

    def of(self, box: Box) -> int | None:
        """Return the group of the face that was where one is now; None: of none, or it was in none."""
        best, unknown = max(((overlap(other, box), key) for other, key in self.boxes), default=(0.0, 0))
        return unknown if best > SAME_FACE else None


def overlap(one: Box, other: Box) -> float:
    """Return the intersection over the union of two boxes, in [0, 1]."""
    across = min(one.x + one.w, other.x + other.w) - max(one.x, other.x)
    down = min(one.y + one.h, other.y + other.h) - max(one.y, other.y)
    shared = max(0.0, across) * max(0.0, down)
    return shared / (one.area + other.area - shared) if shared else 0.0


def groups_of(connection: sa.Connection, some: Sequence[Seen]) -> dict[bytes, Groups]:
    """Return the groups in which faces of pictures are, of which the files have their sizes still."""
    sizes = {each.file.path: each.file.size for each in some if each.faces}
    found: dict[bytes, list[tuple[Box, int]]] = {}
    for paths in portions(list(sizes)):
        for row in connection.execute(_GROUPED, {"paths": paths}):
            if row.size == sizes[row.path]:
                found.setdefault(row.path, []).append((Box(row.x, row.y, row.w, row.h), row.unknown))
    return {path: Groups(boxes) for path, boxes in found.items()}


def _bound_to(picture: int, number: int) -> str:
    return f"{picture}/{number}"


def outcomes_of(
    connection: sa.Connection, rows: Sequence[Any], dimension: int | None = None
) -> Iterator[Outcome]:
    """Read what rows of `pictures` are about, with the faces.

    dimension: of the vectors; None: whatever they have.

    Raises:
        IndexUnavailable: a vector is damaged.
    """
    of: dict[int, list[SeenFace]] = {row.key: [] for row in rows}
    by_key = {row.key: row for row in rows}
    for some in portions(list(of)):
        query = sa.select(faces).where(faces.c.picture.in_(some)).order_by(faces.c.picture, faces.c.number)
        for row in connection.execute(query):
            picture = by_key[row.picture]
            vector = vector_of(connection, row, picture.fingerprint, picture.path, dimension)
            of[row.picture].append(
                SeenFace(Box(row.x, row.y, row.w, row.h), row.confidence, row.quality, vector)
            )
    for row in rows:
        if row.code is not None:
            yield Refused(file_of(row), row.code, row.detail)
        else:
            yield Seen(file_of(row), row.width, row.height, row.orientation, tuple(of[row.key]))


def vector_of(
    connection: sa.Connection, face: Any, fingerprint: str, path: bytes, dimension: int | None
) -> NDArray[np.float32]:
    """Read the vector of a row of `faces`: float32 (d,).

    Raises:
        IndexUnavailable: it is damaged.
    """
    cipher = connection.info["cipher"]
    try:
        stored = face.vector
        if cipher is not None:
            stored = cipher.open(stored, _bound_to(face.picture, face.number), fingerprint)
        vector = np.frombuffer(stored, FLOAT32)
    except (GalleryUnavailable, ValueError, TypeError):
        vector = np.empty(0, np.float32)
    if len(vector) != (dimension or len(vector)) or not len(vector) or not np.isfinite(vector).all():
        name = os.fsdecode(path)
        raise IndexUnavailable(
            f"What the index has of a face in {name} is damaged; look at the picture again with "
            f"`recognition index --again {shlex.quote(name)}`, or at its whole folder."
        )
    return vector


def file_of(row: Any) -> File:
    """Return the file of a row of `pictures`."""
    return File(row.path, row.size, row.modified_ns)
