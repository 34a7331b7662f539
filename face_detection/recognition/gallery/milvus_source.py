"""What goes into Milvus, and what its answers are held against: samples as the database has them.

The caller gives the transaction.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.gallery.atrest import vector_of
from recognition.gallery.database import portions, transaction
from recognition.gallery.milvus import Mark, Rows, Witness
from recognition.gallery.portable import LARGEST
from recognition.gallery.rows import inside, unexpired
from recognition.gallery.search import Neighbours
from recognition.gallery.tables import DEFAULT_KEY, State, galleries, gallery_of, samples, tombstones
from recognition.gallery.vector_rows import searched, with_them

log = logging.getLogger(__name__)

ROWS_PER_READ = 2_000
NAMED = 20  # damaged samples in one line of the log
KEPT_DAMAGED = 1000  # keys of damaged samples that a mark has


class Stored:
    """Candidates as they are stored: those that have not expired, and can be compared."""

    def __init__(
        self, connection: sa.Connection, state: State, keys: Collection[int], dimension: int
    ) -> None:
        self._rows, _ = rows_of(connection, state, sorted(keys), dimension, state.expired_by)
        self._places = {key: place for place, key in enumerate(self._rows.keys.tolist())}

    def revision_of(self, key: int) -> int | None:
        """Return the revision in which a sample was stored last; None: it is not among them."""
        place = self._places.get(key)
        return None if place is None else int(self._rows.revisions[place])

    def get(self, keys: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return those of these n samples, which must be among them: int64 (n,), and float32 (n, d)."""
        places = [self._places[key] for key in keys]
        return self._rows.keys[places], self._rows.vectors[places]


def identity(connection: sa.Connection) -> str:
    """Return what tells this database from others: when its first gallery was made."""
    own = sa.select(galleries.c.created).where(galleries.c.key == DEFAULT_KEY)
    return str(connection.execute(own).scalar_one().isoformat())


def newest_revision(connection: sa.Connection, state: State) -> int:
    """Return the revision that the gallery has by now, whichever this transaction sees."""
    own = sa.select(galleries.c.revision).where(galleries.c.key == state.gallery)
    with transaction(connection.engine) as another:
        return int(another.execute(own).scalar() or 0)


def witness(connection: sa.Connection, state: State) -> Witness | None:
    """Return the newest change that rows and tombstones tell of."""
    columns = samples.c.key, samples.c.revision, samples.c.sample_id, samples.c.created
    query = sa.select(*columns).where(inside(connection))
    row = connection.execute(query.order_by(samples.c.revision.desc()).limit(1)).first()
    query = sa.select(tombstones.c.key, tombstones.c.revision).where(tombstones.c.gallery == state.gallery)
    stone = connection.execute(query.order_by(tombstones.c.revision.desc()).limit(1)).first()
    if stone is not None and (row is None or stone.revision > row.revision):
        return Witness(stone.key, stone.revision, "")
    return None if row is None else Witness(row.key, row.revision, _trace(row))


def is_past(connection: sa.Connection, state: State, mark: Mark) -> bool:
    """Tell whether what a mark speaks of is the past of this gallery."""
    if mark.revision > state.revision:  # another process is ahead, or an older copy was restored
        return newest_revision(connection, state) >= mark.revision
    seen = mark.witness
    if seen is None:
        return True
    columns = samples.c.revision, samples.c.sample_id, samples.c.created
    own = sa.select(*columns).where(inside(connection))
    row = connection.execute(own.where(samples.c.key == seen.key)).first()
    if row is not None and seen.trace:
        return bool(_trace(row) == seen.trace and row.revision >= seen.revision)
    if row is not None:
        return False  # it was deleted once, and keys are not given twice
    if not seen.trace or state.complete_since > seen.revision:
        return True
    stone = sa.select(tombstones.c.revision).where(
        tombstones.c.gallery == state.gallery, tombstones.c.key == seen.key
    )
    buried: int | None = connection.execute(stone).scalar()
    return buried is not None and buried > seen.revision


def _trace(row: Any) -> str:
    """Tell a sample from one that has its key in another history, without telling its id."""
    return hashlib.sha256(f"{row.created.isoformat()} {row.sample_id}".encode()).hexdigest()[:16]


def all_keys(connection: sa.Connection) -> Iterator[Sequence[int]]:
    """Yield the keys of the gallery's samples in ascending order, some at a time."""
    # A sum, as in rows.py: by key, past those of other galleries.
    query = sa.select(samples.c.key).where(samples.c.gallery + 0 == gallery_of(connection))
    last = 0
    while True:
        some = query.where(samples.c.key > last).order_by(samples.c.key).limit(ROWS_PER_READ)
        keys = connection.execute(some).scalars().all()
        if not keys:
            return
        yield keys
        last = keys[-1]


def rows_of(
    connection: sa.Connection,
    state: State,
    keys: Sequence[int],
    dimension: int,
    expired_by: datetime | None = None,
) -> tuple[Rows, list[int]]:
    """Read samples that have a vector of the gallery's model, and have not expired by a moment.

    Returns:
        Those whose vectors can be compared, and the keys of the others.
    """
    vectors = searched(connection)
    query = with_them(sa.select(samples.c.key, samples.c.revision, vectors.vector), vectors)
    query = unexpired(connection, query.where(vectors.fingerprint == state.fingerprint), expired_by)
    read, unfit = [], []
    for some in portions(keys):
        for row in connection.execute(query.where(samples.c.key.in_(some))):
            vector = vector_of(connection, row)
            if len(vector) == dimension and (np.abs(vector) < LARGEST).all():
                read.append((row.key, row.revision, vector))
            else:
                unfit.append(row.key)
    values = np.array([vector for *_, vector in read], np.float32).reshape(len(read), dimension)
    keys_read, revisions = (np.array([row[place] for row in read], np.int64) for place in (0, 1))
    return Rows(keys_read, revisions, values), unfit


def has_more(connection: sa.Connection, state: State, number: int) -> bool:
    """Tell whether there are more samples that can be searched than this."""
    vectors = searched(connection)
    query = with_them(sa.select(samples.c.key), vectors)
    query = query.where(inside(connection), vectors.fingerprint == state.fingerprint)
    query = unexpired(connection, query, state.expired_by).limit(number + 1)
    return len(connection.execute(query).all()) > number


def ranked(keys: NDArray[np.int64], vectors: NDArray[np.float32], probe: NDArray[np.float32]) -> Neighbours:
    """Order vectors, float32 (n, d), by their distances in float64."""
    distances = np.linalg.norm(vectors - probe.astype(np.float64), axis=1)
    order = np.lexsort((keys, distances))
    return keys[order], distances[order]


def compare(
    connection: sa.Connection,
    state: State,
    probes: NDArray[np.float32],
    k: int,
    nearest: dict[int, Neighbours],
    places: Sequence[int],
) -> None:
    """Find the k nearest of some probes among all samples of the database, without Milvus."""
    for place in places:
        nearest[place] = np.empty(0, np.int64), np.empty(0)
    for keys in all_keys(connection):
        rows, _ = rows_of(connection, state, keys, probes.shape[1], state.expired_by)
        for place in places:
            some, distances = ranked(rows.keys, rows.vectors, probes[place])
            some, distances = (
                np.concatenate(both) for both in zip(nearest[place], (some, distances), strict=True)
            )
            order = np.lexsort((some, distances))[:k]
            nearest[place] = some[order], distances[order]


def told(connection: sa.Connection, damaged: Sequence[int]) -> tuple[int, ...]:
    """Name damaged samples in the log, and return the keys of the first ones."""
    if damaged:
        query = (
            sa.select(samples.c.sample_id).where(samples.c.key.in_(damaged[:NAMED])).order_by(samples.c.key)
        )
        ids = ", ".join(map(repr, connection.execute(query).scalars()))
        log.error(
            "%d samples are set aside, their vectors are damaged: %s%s; enrol them again or delete them",
            len(damaged),
            ids,
            ", ..." if len(damaged) > NAMED else "",
        )
    return tuple(damaged[:KEPT_DAMAGED])
