"""The faces of an index that are nobody's, in groups that are one person each, and what becomes of these.

A group keeps its key for as long as it has a face. Whoever is enrolled later is no longer among them; whoever
is ignored, or was said to be somebody, takes the faces that come later, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.archive.entries import File
from recognition.archive.index import Index
from recognition.archive.rows import file_of, vector_of
from recognition.archive.tables import faces, pictures, unknowns
from recognition.faces import Box
from recognition.gallery.database import portions
from recognition.matching.background import Background
from recognition.matching.grouping import Groups, alone, joined, put_together

FACES_AT_ONCE = 2000  # that are read together

# Tells which of vectors, float32 (n, d), n > 0, are nobody's: bool (n,).
Nobodys = Callable[[NDArray[np.float32]], NDArray[np.bool_]]


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Faces of an index that are nobody's.

    keys: int64 (n, 2), of the picture, and the number of the face in it, from 0.
    qualities: float64 (n,); vectors: float32 (n, d).
    groups: int64 (n,), the keys of their groups; 0: of none yet.
    """

    keys: NDArray[np.int64]
    qualities: NDArray[np.float64]
    vectors: NDArray[np.float32]
    groups: NDArray[np.int64]

    def of(self, group: int) -> NDArray[np.intp]:
        """Return the places of a group's faces, the best first."""
        places = np.flatnonzero(self.groups == group)
        best: NDArray[np.intp] = places[np.argsort(-self.qualities[places], kind="stable")]
        return best


@dataclass(frozen=True, slots=True)
class Group:
    """A group, as it was settled. ignored: for good; person: the id of the one who it was said to be."""

    key: int
    ignored: bool
    person: str | None

    @property
    def settled(self) -> bool:
        """Whether somebody has said what it is."""
        return self.ignored or self.person is not None


@dataclass(frozen=True, slots=True)
class Shown:
    """Where a face is seen: its file, its number in it, from 1, and its box."""

    file: File
    number: int
    box: Box


def nobodys_faces(
    index: Index, fingerprint: str, dimension: int, min_quality: float, nobodys: Nobodys
) -> Faces:
    """Read the faces that are nobody's.

    Args:
        index: where they are.
        fingerprint, dimension: of the model.
        min_quality: a face below it tells nobody apart, and is left out.
        nobodys: tells which are.

    Raises:
        IndexUnavailable: a vector is damaged.
    """
    parts = [
        Faces(
            np.empty((0, 2), np.int64),
            np.empty(0),
            np.empty((0, dimension), np.float32),
            np.empty(0, np.int64),
        )
    ]
    columns = faces.c.picture, faces.c.number, faces.c.quality, faces.c.vector, faces.c.unknown
    query = (
        sa.select(*columns, pictures.c.path)
        .join_from(faces, pictures)
        .where(pictures.c.fingerprint == fingerprint, faces.c.quality >= min_quality)
        .order_by(faces.c.picture, faces.c.number)
        .limit(FACES_AT_ONCE)
    )
    place = sa.tuple_(faces.c.picture, faces.c.number)
    after = (0, 0)
    while True:
        with index.reading() as connection:
            rows = connection.execute(query.where(place > after)).all()
            vectors = [vector_of(connection, row, fingerprint, row.path, dimension) for row in rows]
        if not rows:
            break
        after = rows[-1].picture, rows[-1].number
        stacked = np.stack(vectors)
        some = np.flatnonzero(nobodys(stacked))
        keys = np.array([(row.picture, row.number) for row in rows], np.int64)
        qualities = np.array([row.quality for row in rows], np.float64)
        groups = np.array([row.unknown or 0 for row in rows], np.int64)
        parts.append(Faces(keys[some], qualities[some], stacked[some], groups[some]))
    return Faces(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.qualities for part in parts]),
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.groups for part in parts]),
    )


def groups_of(index: Index) -> dict[int, Group]:
    """Return all groups by their keys."""
    with index.reading() as connection:
        rows = connection.execute(sa.select(unknowns)).all()
    return {row.key: Group(row.key, row.ignored, row.person) for row in rows}


def regrouped(some: Faces, settled: Collection[int], background: Background | None, least: float) -> Faces:
    """Put faces that are in no group into one, and groups together that turn out to be one person's. Pure.

    Args:
        some: faces.
        settled: the keys of groups of which somebody has said what they are.
        background: for the model of the vectors; least: the likeness from which on they are one person's.

    Returns:
        The same faces; new groups have keys below 0.
    """
    keys, places = np.unique(some.groups[some.groups > 0], return_inverse=True)
    known, new = some.groups > 0, some.groups == 0
    each = alone(some.vectors, background)
    before = put_together(_taken(each, known), places, len(keys))
    after = _taken(each, new)
    everything = Groups(
        np.concatenate([before.sums, after.sums]),
        np.concatenate([before.typicality, after.typicality]),
        np.concatenate([before.sizes, after.sizes]),
    )
    fixed = np.concatenate([np.isin(keys, list(settled)), np.zeros(len(after.sizes), bool)])
    owners = joined(everything, least, known=len(keys), settled=fixed)
    called = np.concatenate([keys, -1 - np.arange(len(after.sizes))])[owners]
    groups = np.empty_like(some.groups)
    groups[known] = called[: len(keys)][places]
    groups[new] = called[len(keys) :]
    return replace(some, groups=groups)


def _taken(groups: Groups, some: NDArray[np.bool_]) -> Groups:
    return Groups(groups.sums[some], groups.typicality[some], groups.sizes[some])


def store(index: Index, before: Faces, after: Faces) -> Faces:
    """Keep the groups that faces are in now, and remove those without any face.

    Faces that somebody else has put into a group meanwhile stay where they are until the next time.

    Returns:
        The faces with the keys of their groups.

    Raises:
        GalleryUnavailable: the file is locked, or its disk is full.
    """
    merged = {
        int(one): int(other)
        for one, other in zip(before.groups, after.groups, strict=True)
        if one > 0 and one != other
    }
    new = np.unique(after.groups[after.groups < 0])[::-1]
    if not merged and not len(new) and (before.groups == after.groups).all():
        return after
    with index.writing() as connection:
        keys = dict(zip(new.tolist(), _made(connection, len(new)), strict=True))
        groups = np.array([keys.get(int(each), int(each)) for each in after.groups], np.int64)
        for one, other in merged.items():
            _move(connection, one, keys.get(other, other))
        changed = np.flatnonzero(before.groups == 0)
        values = [
            {"of": int(key[0]), "place": int(key[1]), "group": int(group)}
            for key, group in zip(after.keys[changed], groups[changed], strict=True)
        ]
        if values:
            connection.execute(_ASSIGN, values)
        _remove_empty(connection)
    return replace(after, groups=groups)


_ASSIGN = (
    faces.update()
    .where(
        faces.c.picture == sa.bindparam("of"),
        faces.c.number == sa.bindparam("place"),
        faces.c.unknown.is_(None),
    )
    .values(unknown=sa.bindparam("group"))
)


def _made(connection: sa.Connection, number: int) -> Sequence[int]:
    """Make so many groups, and return their keys: none is given twice."""
    if not number:
        return ()
    insert = unknowns.insert().returning(unknowns.c.key, sort_by_parameter_order=True)
    return connection.execute(insert, [{"ignored": False}] * number).scalars().all()


def _move(connection: sa.Connection, group: int, into: int) -> None:
    connection.execute(faces.update().where(faces.c.unknown == group).values(unknown=into))


def _remove_empty(connection: sa.Connection) -> None:
    connection.execute(unknowns.delete().where(~sa.exists().where(faces.c.unknown == unknowns.c.key)))


def shown(index: Index, some: Faces, places: Sequence[int]) -> dict[int, Shown]:
    """Return where faces are seen, by their places among `some`; of those that are gone meanwhile nothing."""
    of = {(int(some.keys[place, 0]), int(some.keys[place, 1])): place for place in places}
    found: dict[int, Shown] = {}
    with index.reading() as connection:
        for keys in portions(sorted({picture for picture, _ in of})):
            query = sa.select(
                *(pictures.c[name] for name in ("path", "size", "modified_ns")),
                *(faces.c[name] for name in ("picture", "number", "x", "y", "w", "h")),
            )
            for row in connection.execute(query.join_from(faces, pictures).where(pictures.c.key.in_(keys))):
                if (place := of.get((row.picture, row.number))) is not None:
                    box = Box(row.x, row.y, row.w, row.h)
                    found[place] = Shown(file_of(row), row.number + 1, box)
    return found


def merge(index: Index, group: int, into: int) -> None:
    """Give the faces of a group to another one."""
    with index.writing() as connection:
        _move(connection, group, into)
        _remove_empty(connection)


def settle(index: Index, settled: Mapping[int, Group]) -> None:
    """Keep what was said of groups, by their keys."""
    with index.writing() as connection:
        for key, group in settled.items():
            values = {"ignored": group.ignored, "person": group.person}
            connection.execute(unknowns.update().where(unknowns.c.key == key).values(values))


def forget(index: Index, some: Faces, groups: Collection[int]) -> int:
    """Erase those of some faces that are in groups, and overwrite them in the file. Returns how many.

    Their pictures are not looked at again for that: only `index --again` finds these faces anew.
    """
    keys = some.keys[np.isin(some.groups, list(groups))]
    with index.writing() as connection:
        if len(keys):
            erase = faces.delete().where(
                faces.c.picture == sa.bindparam("of"), faces.c.number == sa.bindparam("place")
            )
            connection.execute(erase, [{"of": int(key[0]), "place": int(key[1])} for key in keys])
        for portion in portions(sorted(groups)):  # faces that are somebody's by now stay
            connection.execute(faces.update().where(faces.c.unknown.in_(portion)).values(unknown=None))
        _remove_empty(connection)
    index.empty_log()
    return len(keys)
