"""Where vectors are searched: in this process's memory for SQLite, in the database itself for PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import ARRAY

from recognition.gallery.atrest import LITTLE_ENDIAN_FLOAT32, cipher_of
from recognition.gallery.database import portions
from recognition.gallery.index import VectorIndex
from recognition.gallery.tables import samples, tombstones

ROWS_PER_READ = 1000

Found = tuple[NDArray[np.int64], NDArray[np.float64]]  # keys and distances, nearest first, then by key

# The parameters of HNSW (Malkov and Yashunin, arXiv 1603.09320) that make an index; see `DatabaseSearch`.
M = 16
EF_CONSTRUCTION = 200
INDEXED_DIMENSIONS = 2000  # pgvector indexes vectors up to this
CREATE_INDEX = (
    "CREATE INDEX samples_by_vector ON samples USING hnsw ((vector::vector({dimension:d})) vector_l2_ops)"
    f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
)
MORE_FOR_NAMES = 4  # vectors looked at for each name wanted, and their growth while names are missing
SPARE = 8  # candidates beyond k: their float32 order may differ from the exact one


class Search(Protocol):
    """The part of the gallery that differs between databases. The caller gives the transaction.

    lock: held from the first read of a search until the search is done, so that none sees an older state of
        the gallery than the one before it.
    """

    lock: AbstractContextManager[Any]

    def load(self, connection: sa.Connection, now: Any) -> None:
        """Prepare so that the next search does not wait, and keep nothing of what is gone."""
        ...

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> Any:
        """Turn a vector, float32 (d,), into what the column `vector` takes."""
        ...

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone; vectors of `dimension`, if it is known, come next."""
        ...

    def nearest(
        self, connection: sa.Connection, now: Any, probes: NDArray[np.float32], k: int
    ) -> list[Found]:
        """Find the k nearest samples of each probe, float32 (n, d), at the state `now` of the gallery."""
        ...


class MemorySearch:
    """Compares with every vector, in memory.

    A worker whose index shows an older revision than `gallery_state` reads just the rows and tombstones that
    are newer, in the same transaction in which it searches: its answer is that of one state of the table.
    """

    def __init__(self) -> None:
        self.lock: AbstractContextManager[Any] = threading.Lock()
        self._index: VectorIndex | None = None
        self._file: Any = None  # which the index was read from

    def load(self, connection: sa.Connection, now: Any) -> None:
        """Read all vectors, or those that are new, and forget those that are gone."""
        any_one = sa.select(sa.func.length(samples.c.vector)).limit(1)
        size = connection.execute(any_one).scalar()
        if size is None:
            self._index = None
        else:
            cipher = cipher_of(connection)
            size -= cipher.overhead if cipher else 0
            self._refreshed(connection, now, size // LITTLE_ENDIAN_FLOAT32.itemsize)

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> bytes:
        """Turn a vector into its bytes, encrypted where there is a key."""
        plain = vector.astype(LITTLE_ENDIAN_FLOAT32).tobytes()
        cipher = cipher_of(connection)
        return plain if cipher is None else cipher.seal(plain, sample_id, fingerprint)

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone; the caller raises `complete_since`."""
        connection.execute(samples.delete())
        connection.execute(tombstones.delete())

    def nearest(
        self, connection: sa.Connection, now: Any, probes: NDArray[np.float32], k: int
    ) -> list[Found]:
        """Find the k nearest samples of each probe, exactly."""
        return self._refreshed(connection, now, probes.shape[1]).nearest(probes, k)

    def _refreshed(self, connection: sa.Connection, now: Any, dimension: int) -> VectorIndex:
        index, file = self._index, connection.info["file"]
        oldest, newest = now.complete_since, now.revision  # beyond the newest: an older copy was restored
        if (
            index is None
            or file != self._file
            or index.dimension != dimension
            or not oldest <= index.revision <= newest
        ):
            every = sa.select(sa.func.count()).select_from(samples)
            index = VectorIndex(dimension, expected=connection.execute(every).scalar_one())
        if index.revision < newest:
            self._index = None  # stays so if a read below fails half-way
            gone = connection.execute(
                sa.select(tombstones.c.key).where(tombstones.c.revision > index.revision)
            ).scalars()
            index.remove(np.fromiter(gone, dtype=np.int64))
            # SQLite goes through the whole table where rows are wanted in the order they lie in; it does not
            # see that a sum has the same order, and finds the few that are new by their revision.
            order = samples.c.key if index.revision < 0 else samples.c.key + 0
            cipher = cipher_of(connection)
            columns = [samples.c.key, samples.c.vector, *([samples.c.sample_id] if cipher else [])]
            rows = connection.execute(
                sa.select(*columns).where(samples.c.revision > index.revision).order_by(order)
            )
            for some in rows.partitions(ROWS_PER_READ):
                keys, blobs, *ids = zip(*some, strict=True)  # columns at once: row by row takes twice as long
                if cipher:
                    sealed = zip(blobs, ids[0], strict=True)
                    blobs = tuple(cipher.open(blob, sample_id, now.fingerprint) for blob, sample_id in sealed)
                vectors = np.frombuffer(b"".join(blobs), dtype=LITTLE_ENDIAN_FLOAT32)
                index.put(np.array(keys, dtype=np.int64), vectors.reshape(len(keys), dimension))
            index.revision = newest
            self._index, self._file = index, file
        return index


class DatabaseSearch:
    """Asks pgvector's HNSW index for candidates, and computes their distances exactly.

    The gallery holds the vectors of one model at a time, so one index over the whole table does, made anew
    for each model's dimension.

    M, EF_CONSTRUCTION and GALLERY_EF_SEARCH's default were chosen on random vectors of 128 values and length
    10: 1,000,000, five around each of 200,000 centres, 6.8 from a probe to its nearest; and 200,000, one
    around each centre, as benchmarks/gallery.py makes them with `--samples-each 1`. The nearest of all is
    found for this part of 500 and of 1,000 probes, with m 16:

    ef_search                             100    120    150    200    400
    five around, ef_construction 64      0.846         0.904  0.928  0.972
    five around, ef_construction 128     0.980         0.996  1.000  1.000
    one around, ef_construction 128      0.920  0.942  0.963  0.981  1.000
    one around, ef_construction 200      0.951  0.971  0.990  0.996  0.999

    A search takes time in proportion to ef_search; a larger ef_construction costs when samples are enrolled,
    half as much again for 200 as for 128. On 100,000 vectors, five around each centre, each of these finds
    all 500, and m 8 at ef_search 100 0.978 of them. The default, 120, is what a search of 1,000,000 within
    10 ms leaves room for (benchmarks/GALLERY.md).
    """

    def __init__(self) -> None:
        self.lock: AbstractContextManager[Any] = nullcontext()

    def load(self, connection: sa.Connection, now: Any) -> None:
        """Leave the vectors where they are."""

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> NDArray[np.float32]:
        """Leave the vector to pgvector."""
        return vector

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone, and index vectors of `dimension`.

        TRUNCATE leaves nothing of the faces behind, and no rows of another dimension to stumble over.
        """
        connection.exec_driver_sql("TRUNCATE samples, tombstones")
        connection.exec_driver_sql("DROP INDEX IF EXISTS samples_by_vector")
        if dimension is not None and dimension <= INDEXED_DIMENSIONS:
            connection.exec_driver_sql(CREATE_INDEX.format(dimension=dimension))

    def nearest(
        self, connection: sa.Connection, now: Any, probes: NDArray[np.float32], k: int
    ) -> list[Found]:
        """Find the k nearest samples of each probe: of all in small galleries, of HNSW's in large ones."""
        count = k + SPARE
        found = _nearest_rows(connection, _nearest_to_each(probes.shape[1]), probes, count, now.fingerprint)
        # There are no more, or the index did not find them.
        few = [place for place, rows in enumerate(found) if len(rows) < count]
        if few:
            more = _nearest_rows(connection, _nearest_to_each(None), probes[few], count, now.fingerprint)
            for place, rows in zip(few, more, strict=True):
                found[place] = rows
        return [_exact(rows, probe, k) for rows, probe in zip(found, probes, strict=True)]


@cache  # 0.2 ms to put together, of the 2.5 that a search of a small gallery takes
def _nearest_to_each(dimension: int | None) -> sa.Select[Any]:
    """Select the `count` rows nearest to each of `probes` that are of the model `fingerprint`.

    The index for vectors of `dimension` serves the very expression that it was made of, and no other; None
    compares every row.
    """
    probes = (
        sa.func.unnest(sa.bindparam("probes", type_=ARRAY(VECTOR())))
        .table_valued(sa.column("vector", VECTOR()), with_ordinality="place")
        .render_derived(name="probes")
    )
    of_model = sa.bindparam("fingerprint", type_=sa.Text)
    wanted = sa.select(samples.c.key, samples.c.vector, samples.c.fingerprint)
    vector: sa.ColumnElement[Any]
    if dimension is None:
        vector = sa.type_coerce(samples.c.vector, VECTOR())
        wanted = wanted.where(samples.c.fingerprint == of_model)
    else:
        vector = sa.cast(samples.c.vector, VECTOR(dimension))
    order = vector.l2_distance(probes.c.vector), samples.c.key
    nearest = wanted.order_by(*order).limit(sa.bindparam("count", type_=sa.Integer)).lateral()
    # Filtered behind the limit: before it PostgreSQL would take a fingerprint that it has not counted yet for
    # a rare one, and go through every row instead of the index.
    return sa.select(probes.c.place, nearest).join(nearest, nearest.c.fingerprint == of_model)


def _nearest_rows(
    connection: sa.Connection,
    wanted: sa.Select[Any],
    probes: NDArray[np.float32],
    count: int,
    fingerprint: str | None,
) -> list[list[Any]]:
    found: list[list[Any]] = [[] for _ in probes]
    values = {"probes": list(probes), "count": count, "fingerprint": fingerprint}
    for row in connection.execute(wanted, values):
        found[row.place - 1].append(row)
    return found


def _exact(rows: Sequence[Any], probe: NDArray[np.float32], k: int) -> Found:
    """Order rows by their distances in float64, and keep the k nearest."""
    keys = np.array([row.key for row in rows], dtype=np.int64)
    vectors = np.array([row.vector for row in rows], dtype=np.float32).reshape(len(rows), len(probe))
    distances = np.linalg.norm(vectors - probe.astype(np.float64), axis=1)
    order = np.lexsort((keys, distances))[:k]
    return keys[order], distances[order]


def nearest_names(
    search: Search,
    connection: sa.Connection,
    now: Any,
    probes: NDArray[np.float32],
    k: int,
    max_distance: float,
) -> list[Found]:
    """Find the nearest sample of each of the k names that are nearest to each probe, float32 (n, d).

    Looks at more and more samples until they have k names, or reach max_distance, or are all there are.
    """
    names: dict[int, str] = {}  # by key

    def nearest_names_of(probe: NDArray[np.float32]) -> Found:
        take = MORE_FOR_NAMES * k
        while True:
            ((keys, distances),) = search.nearest(connection, now, probe[np.newaxis], take)
            for some in portions([int(key) for key in keys if int(key) not in names]):
                found = sa.select(samples.c.key, samples.c.name).where(samples.c.key.in_(some))
                names.update((row.key, row.name) for row in connection.execute(found))
            firsts: dict[str, int] = {}  # the place of each name's nearest sample, nearest first
            for place, key in enumerate(keys):
                firsts.setdefault(names[int(key)], place)
            if len(firsts) >= k or len(keys) < take or distances[-1] >= max_distance:
                places = list(firsts.values())[:k]
                return keys[places], distances[places]
            take *= MORE_FOR_NAMES

    return [nearest_names_of(probe) for probe in probes]
