"""Rows of `unknowns` and `unknown_faces`, read, stored and removed on a connection; the caller gives the
transaction.

Vectors, marks and pictures are encrypted where the gallery has a key, in both databases: no statement
compares vectors here.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition import backgrounds
from recognition.errors import DamagedGallery, GalleryUnavailable
from recognition.faces import KeptFace
from recognition.gallery import event_rows
from recognition.gallery.atrest import LITTLE_ENDIAN_FLOAT32, cipher_of, sealed_as
from recognition.gallery.database import portions
from recognition.gallery.face_rows import KIND
from recognition.gallery.kept import packed, unpacked
from recognition.gallery.tables import galleries, gallery_of, unknown_faces, unknowns
from recognition.matching.grouping import Groups, alone, put_together
from recognition.matching.varied import varied

# What a stranger who walks by all day, or somebody who sends ever new faces, can take of the disk: a vector
# has half a kilobyte, and a picture 10 to 40. The best stay.
MAX_FACES = 100  # of one unknown person
MAX_PICTURES = 10  # of one unknown person: the best and most varied faces have them
MAX_GROUPS = 2000  # in a gallery, beside those that are ignored
GROUPS_AT_ONCE = 100  # that go when there are more: those with the fewest faces, longest unseen

# Put together once: that takes as long as to execute them, and each is executed for every face.
_REVISED = (
    galleries.update()
    .where(galleries.c.key == sa.bindparam("gallery_key"))
    .values(unknowns_revision=galleries.c.unknowns_revision + 1)
    .returning(galleries.c.unknowns_revision)
)
_STATE = sa.select(
    galleries.c.unknowns_revision,
    sa.select(sa.func.count()).where(unknowns.c.gallery == galleries.c.key).scalar_subquery(),
).where(galleries.c.key == sa.bindparam("gallery_key"))
_WHOSE = sa.select(unknowns).where(unknowns.c.key == sa.bindparam("unknown_key"))
_FACES = (
    sa.select(
        unknown_faces.c.key,
        unknown_faces.c.face_id,
        unknown_faces.c.vector,
        unknown_faces.c.quality,
        unknown_faces.c.face.is_not(None),
        unknown_faces.c.seen,
        unknown_faces.c.expires_at,
    )
    .where(unknown_faces.c.unknown == sa.bindparam("unknown_key"))
    .order_by(unknown_faces.c.key)
)
_STORED = unknown_faces.insert()
_MADE = unknowns.insert().returning(unknowns.c.key)
_SETTLED = (
    unknowns.update()
    .where(unknowns.c.key == sa.bindparam("unknown_key"))
    .values(
        {
            name: sa.bindparam(f"new_{name}")
            for name in ("size", "sums", "typicality", "since", "until", "expires_at", "revision")
        }
    )
)


def inside(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Tell the unknown people of the gallery."""
    return unknowns.c.gallery == gallery_of(connection)


def of_id(connection: sa.Connection, unknown_id: str) -> sa.ColumnElement[bool]:
    """Tell the one with this id."""
    return sa.and_(inside(connection), unknowns.c.unknown_id == unknown_id)


def there(hidden_by: datetime) -> sa.ColumnElement[bool]:
    """Tell those who have not expired by a moment."""
    return sa.or_(unknowns.c.expires_at.is_(None), unknowns.c.expires_at > hidden_by)


def next_revision(connection: sa.Connection) -> int:
    """Raise the revision of the gallery's unknown people, and return it."""
    revision: int = connection.execute(_REVISED, {"gallery_key": gallery_of(connection)}).scalar_one()
    return revision


def state_of(connection: sa.Connection) -> tuple[int, int]:
    """Return it as it is, and how many unknown people there are."""
    revision, number = connection.execute(_STATE, {"gallery_key": gallery_of(connection)}).one()
    return revision, number


def marked(connection: sa.Connection, mark: bytes) -> bytes:
    """Turn what tells that a face comes again into what its column has; only the key's owner can do that."""
    cipher = cipher_of(connection)
    return mark if cipher is None else cipher.marked(mark)


def sealed(connection: sa.Connection, vector: NDArray[np.floating], whose: str, kind: str) -> bytes:
    """Turn a vector, (d,), into what its column has.

    whose: the id of the unknown person, or of the face; kind: the fingerprint of its model.
    """
    plain = vector.astype(LITTLE_ENDIAN_FLOAT32).tobytes()
    cipher = cipher_of(connection)
    return plain if cipher is None else cipher.seal(plain, sealed_as(connection, whose), kind)


def opened(connection: sa.Connection, stored: Any, whose: str, kind: str) -> NDArray[np.float32]:
    """Turn it back, float32 (d,); what cannot be one is an empty one."""
    data = stored if isinstance(stored, bytes) else b""  # SQLite keeps values of any type in any column
    if (cipher := cipher_of(connection)) is not None:
        try:
            data = cipher.open(data, sealed_as(connection, whose), kind)
        except GalleryUnavailable:
            data = b""
    whole = len(data) % LITTLE_ENDIAN_FLOAT32.itemsize == 0
    vector = np.frombuffer(data if whole else b"", LITTLE_ENDIAN_FLOAT32).astype(np.float32)
    return vector if np.isfinite(vector).all() else vector[:0]


def picture_of(connection: sa.Connection, row: Any) -> KeptFace | None:
    """Read the picture that is kept, of a row that has its `face_id`, too; None: there is none.

    Raises:
        DamagedGallery: it cannot be decrypted, or is none.
    """
    if row.face is None:
        return None
    try:
        data, cipher = row.face, cipher_of(connection)
        if cipher is not None:
            data = cipher.open(data, sealed_as(connection, row.face_id), KIND)
        return unpacked(data)
    except (GalleryUnavailable, TypeError, ValueError) as e:
        raise DamagedGallery("its picture is damaged") from e


def packed_picture(connection: sa.Connection, face: KeptFace, face_id: str) -> bytes:
    """Turn a picture into what its column has."""
    cipher = cipher_of(connection)
    plain = packed(face)
    return plain if cipher is None else cipher.seal(plain, sealed_as(connection, face_id), KIND)


class NewFace(NamedTuple):
    """A face that is about to be stored, with its vector, float32 (d,), and what `marked` returned."""

    mark: bytes
    vector: NDArray[np.float32]
    quality: float
    face: KeptFace | None
    camera: str | None
    seen: datetime
    expires_at: datetime


class Row(NamedTuple):
    """A face that is stored, but for its picture. key: 0 of one that is about to be stored."""

    key: int
    face_id: str
    vector: NDArray[np.float32]
    quality: float
    pictured: bool
    seen: datetime
    expires_at: datetime


def faces_of(connection: sa.Connection, whose: Any) -> list[Row]:
    """Read the faces of an unknown person, but for those with damaged vectors, which go with the rest.

    whose: their row of `unknowns`.
    """
    dimension = opened(connection, whose.sums, whose.unknown_id, whose.fingerprint).size
    read = [
        Row(key, face_id, opened(connection, vector, face_id, whose.fingerprint), *rest)
        for key, face_id, vector, *rest in connection.execute(_FACES, {"unknown_key": whose.key})
    ]
    return [each for each in read if each.vector.size == dimension]


def make(connection: sa.Connection, fingerprint: str, new: NewFace) -> tuple[int, str]:
    """Make an unknown person, of whom this is the first face. Returns their key and their id."""
    unknown_id = str(uuid.uuid4())
    row = {
        "gallery": gallery_of(connection),
        "unknown_id": unknown_id,
        "ignored": False,
        "size": 0,
        "sums": b"",
        "typicality": 0.0,
        "fingerprint": fingerprint,
        "since": new.seen,
        "until": new.seen,
        "revision": 0,
    }
    key: int = connection.execute(_MADE, row).scalar_one()
    return key, unknown_id


def settle(connection: sa.Connection, key: int, revision: int, new: Sequence[NewFace] = ()) -> None:
    """Give an unknown person faces, and bring their row up to date: as many as may be stay, the best of them.

    Whoever has no face left is gone.

    Args:
        connection: of the transaction.
        key: theirs; they are not ignored.
        revision: what `next_revision` has returned in this transaction.
        new: the faces.
    """
    whose = connection.execute(_WHOSE, {"unknown_key": key}).first()
    if whose is None:
        return
    faces = faces_of(connection, whose)
    faces += [
        Row(-place, str(uuid.uuid4()), *each[1:3], each.face is not None, each.seen, each.expires_at)
        for place, each in enumerate(new, 1)
    ]
    if not faces:
        connection.execute(unknowns.delete().where(unknowns.c.key == key))
        return
    # Of equally good ones the later.
    faces = sorted(faces, key=lambda face: (face.quality, face.seen), reverse=True)
    stay, surplus = faces[:MAX_FACES], faces[MAX_FACES:]
    shown = {face.key for face in _best([face for face in stay if face.pictured])}
    _remove_faces(connection, [face.key for face in surplus if face.key > 0])
    _hide(connection, [face.key for face in stay if face.pictured and face.key > 0 and face.key not in shown])
    values = [
        _values(connection, whose, new[-face.key - 1], face.face_id, pictured=face.key in shown)
        for face in stay
        if face.key < 0
    ]
    if values:
        connection.execute(_STORED, values)
    group = group_of(np.stack([face.vector for face in stay]), whose.fingerprint)
    told = {
        "size": len(stay),
        "sums": sealed(connection, group.sums[0], whose.unknown_id, whose.fingerprint),
        "typicality": float(group.typicality[0]),
        "since": min(whose.since, *(face.seen for face in faces)),
        "until": max(whose.until, *(face.seen for face in faces)),
        "expires_at": max(face.expires_at for face in stay),
        "revision": revision,
    }
    connection.execute(
        _SETTLED, {"unknown_key": key, **{f"new_{name}": value for name, value in told.items()}}
    )


def group_of(vectors: NDArray[np.float32], fingerprint: str) -> Groups:
    """Make one group of faces with these vectors, float32 (n, d), n > 0."""
    each = alone(vectors, backgrounds.shipped(fingerprint))
    return put_together(each, np.zeros(len(vectors), np.intp), 1)


def _remove_faces(connection: sa.Connection, keys: Sequence[int]) -> None:
    for some in portions(keys):
        connection.execute(unknown_faces.delete().where(unknown_faces.c.key.in_(some)))


def _hide(connection: sa.Connection, keys: Sequence[int]) -> None:
    """Remove the pictures of faces."""
    for some in portions(keys):
        connection.execute(unknown_faces.update().where(unknown_faces.c.key.in_(some)).values(face=None))


def _best(faces: Sequence[Row]) -> Sequence[Row]:
    """Choose those that have pictures."""
    if len(faces) <= MAX_PICTURES:
        return faces
    vectors, qualities = np.stack([face.vector for face in faces]), np.array([face.quality for face in faces])
    return [faces[place] for place in varied(vectors, qualities, MAX_PICTURES)]


def _values(
    connection: sa.Connection, whose: Any, new: NewFace, face_id: str, *, pictured: bool
) -> dict[str, Any]:
    picture = packed_picture(connection, new.face, face_id) if pictured and new.face else None
    return {
        "gallery": whose.gallery,
        "unknown": whose.key,
        "face_id": face_id,
        "mark": new.mark,
        "vector": sealed(connection, new.vector, face_id, whose.fingerprint),
        "quality": new.quality,
        "face": picture,
        "camera": new.camera,
        "seen": new.seen,
        "expires_at": new.expires_at,
    }


def move(connection: sa.Connection, emptied: int, into: int, revision: int) -> None:
    """Give all faces of one unknown person to another, who stays; the emptied one goes."""
    whose = connection.execute(sa.select(unknowns).where(unknowns.c.key == emptied)).one()
    moved = unknown_faces.update().where(unknown_faces.c.unknown == emptied)
    connection.execute(moved.values(unknown=into))
    kept = unknowns.c.key == into
    other = connection.execute(sa.select(unknowns.c.unknown_id).where(kept)).scalar_one()
    event_rows.regroup(connection, whose.unknown_id, other)
    connection.execute(unknowns.delete().where(unknowns.c.key == emptied))
    since = sa.case((unknowns.c.since < whose.since, unknowns.c.since), else_=whose.since)
    until = sa.case((unknowns.c.until > whose.until, unknowns.c.until), else_=whose.until)
    connection.execute(unknowns.update().where(kept).values(since=since, until=until))
    settle(connection, into, revision)


def remove(connection: sa.Connection, keys: Collection[int]) -> None:
    """Remove unknown people with all their faces, and let other processes see that."""
    for some in portions(sorted(keys)):
        connection.execute(unknowns.delete().where(unknowns.c.key.in_(some)))


def clear(connection: sa.Connection, *, keep_ignored: bool = False) -> list[str]:
    """Remove all unknown people of the gallery. Returns their ids."""
    which = inside(connection)
    if keep_ignored:
        which = sa.and_(which, unknowns.c.ignored.is_(False))
    removed = unknowns.delete().where(which).returning(unknowns.c.unknown_id)
    return list(connection.execute(removed).scalars())


def ids_of(connection: sa.Connection, keys: Iterable[int]) -> list[str]:
    """Return the ids of unknown people, in ascending order."""
    query = sa.select(unknowns.c.unknown_id)
    return sorted(
        unknown_id
        for some in portions(sorted(set(keys)))
        for unknown_id in connection.execute(query.where(unknowns.c.key.in_(some))).scalars()
    )
