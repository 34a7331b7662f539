"""What a process has in memory of a gallery's unknown people, so that a request need not read thousands.

Only whoever holds the database's lock for writing uses it: nothing changes meanwhile, and no other thread of
this process is at it. It has what was committed alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.gallery import unknown_rows as rows
from recognition.gallery.tables import gallery_of, unknowns
from recognition.matching.grouping import Groups
from recognition.matching.people import directions

# Put together once, as in unknown_rows.py.
_CHANGED = (
    sa.select(
        unknowns.c.key,
        unknowns.c.unknown_id,
        unknowns.c.fingerprint,
        unknowns.c.sums,
        unknowns.c.typicality,
        unknowns.c.size,
        unknowns.c.ignored,
    )
    .where(unknowns.c.gallery == sa.bindparam("gallery_key"), unknowns.c.revision > sa.bindparam("since"))
    .order_by(unknowns.c.key)
)

NEAREST = 32  # groups that a face may join are among so many: those nearest to it by the cosine


@dataclass(slots=True, eq=False)
class Known:
    """The unknown people of a gallery as they were in a revision.

    gallery: its key; another gallery may have its name by now.
    fingerprint, dimension: of the vectors that they have.
    least: the likeness from which on groups are one person's.
    settled: the revision in which it was last looked which of them are.
    places: theirs in what follows, by their keys.
    keys, ids, ignored: one of each for each of them.
    sums: float32 (n, d), typicality, sizes: of them as `Groups` has these.
    towards: float32 (n, d), the directions of the sums.
    foreign: keys of those whose vectors are of another model, or damaged.
    """

    gallery: int
    fingerprint: str
    dimension: int
    least: float = 0.0
    revision: int = -1
    settled: int = -1
    places: dict[int, int] = field(default_factory=dict)
    keys: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    ignored: list[bool] = field(default_factory=list)
    typicality: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    sums: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    towards: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    foreign: set[int] = field(default_factory=set)

    def groups(self, places: Sequence[int]) -> Groups:
        """Return those at these places as they are joined."""
        return Groups(
            self.sums[np.array(places, np.intp)],
            np.array([self.typicality[place] for place in places], np.float64),
            np.array([self.sizes[place] for place in places], np.int64),
        )

    def near(self, faces: Groups) -> list[int]:
        """Return the places of those that faces, each a group of its own, may join."""
        if len(self.keys) <= NEAREST:
            return list(range(len(self.keys)))
        cosines = self.towards @ faces.sums.T
        nearest = np.argpartition(-cosines, NEAREST, axis=0)[:NEAREST]
        return [int(place) for place in np.unique(nearest)]

    def take(self, changed: Sequence[tuple[Any, NDArray[np.float32]]]) -> None:
        """Bring rows that have changed, or are new, with their sums, into what is known."""
        new: list[NDArray[np.float32]] = []
        for row, sums in changed:
            if row.fingerprint != self.fingerprint or sums.size != self.dimension:
                self.foreign.add(row.key)
            elif (place := self.places.get(row.key)) is not None:
                self.ignored[place] = row.ignored
                self.typicality[place], self.sizes[place] = row.typicality, row.size
                self.sums[place], self.towards[place] = sums, directions(sums)
            else:
                self.places[row.key] = len(self.keys)
                self.keys.append(row.key)
                self.ids.append(row.unknown_id)
                self.ignored.append(row.ignored)
                self.typicality.append(row.typicality)
                self.sizes.append(row.size)
                new.append(sums)
        if new:
            more = np.stack(new)
            self.sums = np.concatenate([self.sums.reshape(-1, more.shape[1]), more])
            towards = directions(more).astype(np.float32)
            self.towards = np.concatenate([self.towards.reshape(-1, more.shape[1]), towards])


def beside(groups: Groups, more: Groups) -> Groups:
    """Put more groups behind those that there are."""
    if not len(groups.sizes):
        return more
    return Groups(
        np.concatenate([groups.sums, more.sums]),
        np.concatenate([groups.typicality, more.typicality]),
        np.concatenate([groups.sizes, more.sizes]),
    )


def current(known: Known | None, connection: sa.Connection, fingerprint: str, dimension: int) -> Known:
    """Return what there is now, of which only that is read which has changed since it was looked at last.

    known: what was returned last, which is brought up to date; None: nothing.
    fingerprint, dimension: of the vectors that count.
    """
    about = gallery_of(connection), fingerprint, dimension
    revision, number = rows.state_of(connection)
    if known is not None and (known.gallery, known.fingerprint, known.dimension) == about:
        if known.revision != revision:
            known.take(_changed(connection, known.revision))
            known.revision = revision
        if number == len(known.keys) + len(known.foreign):
            return known
    anew = Known(*about, revision=revision)
    anew.take(_changed(connection, -1))
    return anew


def _changed(connection: sa.Connection, since: int) -> list[tuple[Any, NDArray[np.float32]]]:
    """Read those that have changed since a revision, each with the sums of its directions."""
    found = connection.execute(_CHANGED, {"gallery_key": gallery_of(connection), "since": since}).all()
    return [(row, rows.opened(connection, row.sums, row.unknown_id, row.fingerprint)) for row in found]
