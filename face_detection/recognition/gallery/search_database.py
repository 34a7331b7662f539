"""The search of a gallery in PostgreSQL: pgvector's index gives candidates, which are measured exactly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import ARRAY

from recognition.errors import GalleryUnavailable
from recognition.gallery.database import check_alone, portions
from recognition.gallery.rows import this_gallery, unexpired
from recognition.gallery.search import Kind, Neighbours
from recognition.gallery.tables import (
    DEFAULT_KEY,
    Key,
    State,
    events,
    expired,
    galleries,
    gallery_of,
    persons,
    samples,
    tombstones,
)
from recognition.gallery.vector_rows import FIRST, SECOND, Vectors, searched, with_them

# The parameters of HNSW (Malkov and Yashunin, arXiv 1603.09320) that make an index; see `DatabaseSearch`.
M = 16
EF_CONSTRUCTION = 200
INDEXED_DIMENSIONS = 2000  # pgvector indexes vectors up to this
# The rows of an index, which search and index must state in the same words. What stands in a COALESCE
# PostgreSQL takes for half of all rows, counted or not; a gallery that it has not counted it would take for
# so few that it sorts them instead of using the index. Without the dimension, an index would stumble over
# deleted vectors of another model that somebody may still see.
INDEXED = "coalesce(gallery = {gallery:d} AND vector_dims(vector) = {dimension:d}, false)"
CREATE_INDEX = (
    "CREATE INDEX {name} ON {table} USING hnsw ((vector::vector({dimension:d})) vector_l2_ops)"
    f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION}) WHERE {INDEXED}"
)
# A gallery other than `default` has an index from so many samples on: to compare each of them takes longer
# then (5.7 ms a face, 4.8 with the index, 128 values). An index costs something whenever a sample is stored
# or a search is planned, in any gallery.
INDEXED_FROM = 2000
GALLERY: sa.BindParameter[int] = sa.bindparam("gallery", type_=Key)
# Put together once: that takes as long as to execute it.
_VECTORS = {
    each.second: with_them(sa.select(samples.c.key, each.vector), each).where(
        samples.c.key.in_(sa.bindparam("keys", expanding=True)),
        each.fingerprint == sa.bindparam("fingerprint", type_=sa.Text),
    )
    for each in (FIRST, SECOND)
}
SPARE = 8  # candidates beyond k: their float32 order may differ from the exact one


class DatabaseSearch:
    """Asks pgvector's HNSW index for candidates, and computes their distances exactly.

    A gallery holds the vectors of one model at a time, and has an index of its own, made anew for each
    model's dimension: `default` from its first sample on, another one once it is large. Of the small ones
    every row is compared.

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

    kind: Kind = "database"

    def __init__(self) -> None:
        self.lock: AbstractContextManager[Any] = nullcontext()

    def load(self, connection: sa.Connection, state: State) -> None:
        """Leave the vectors where they are."""

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> NDArray[np.float32]:
        """Leave the vector to pgvector."""
        return vector

    def stored(self, connection: sa.Connection, dimension: int) -> None:
        """Index a gallery that has become large."""
        gallery = gallery_of(connection)
        if gallery == DEFAULT_KEY or dimension > INDEXED_DIMENSIONS:
            return
        own = sa.select(galleries.c.indexed, galleries.c.samples).where(galleries.c.key == gallery)
        indexed, number = connection.execute(own).one()
        if indexed is None and number >= INDEXED_FROM:
            check_alone(connection)
            _index(connection, searched(connection), dimension)

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone; index vectors of `dimension`, in `default`.

        Where no other gallery has samples, TRUNCATE leaves nothing of the faces behind.
        """
        check_alone(connection)
        for vectors in (FIRST, SECOND):
            connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name_of(gallery_of(connection), vectors)}")
        connection.execute(this_gallery(connection).values(indexed=None, other_indexed=None))
        _remove_all(connection, samples, "samples, faces, second_vectors, events")
        connection.execute(tombstones.delete().where(tombstones.c.gallery == gallery_of(connection)))
        if gallery_of(connection) == DEFAULT_KEY and 0 < (dimension or 0) <= INDEXED_DIMENSIONS:
            _index(connection, FIRST, dimension or 0)

    def clear_people(self, connection: sa.Connection) -> None:
        """Remove every person; TRUNCATE takes along the empty tables that refer to this one."""
        _remove_all(connection, persons, "persons, samples, faces, second_vectors, events")

    def nearest(
        self, connection: sa.Connection, state: State, probes: NDArray[np.float32], k: int
    ) -> list[Neighbours]:
        """Find the k nearest samples of each probe: of all in small galleries, of HNSW's in large ones."""
        count, expiring = k + SPARE, state.expired_by is not None
        candidates: list[list[Any]] = [[] for _ in probes]
        vectors = SECOND if state.second else FIRST
        if state.indexed == probes.shape[1]:
            by_index = _nearest_in_index(vectors, state.gallery, state.indexed, expiring)
            candidates = _nearest_rows(connection, by_index, probes, count, state)
        # There are no more, or the index did not find them, or there is none.
        few = [place for place, rows in enumerate(candidates) if len(rows) < count]
        if few:
            of_all = _nearest_of_all(vectors, expiring)
            more = _nearest_rows(connection, of_all, probes[few], count, state)
            for place, rows in zip(few, more, strict=True):
                candidates[place] = rows
        return [_exact(rows, probe, k) for rows, probe in zip(candidates, probes, strict=True)]

    def vectors(
        self, connection: sa.Connection, state: State, keys: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read them."""
        query = unexpired(connection, _VECTORS[state.second], state.expired_by)
        read: list[Any] = []
        for some in portions(keys.tolist()):
            read += connection.execute(query, {"keys": some, "fingerprint": state.fingerprint})
        found = np.array([row.key for row in read], np.int64)
        return found, np.stack([row.vector for row in read] or [np.empty(0, np.float32)])

    def damaged(self) -> int:
        """Return 0: PostgreSQL itself refuses what is no vector, or not of the index's dimension."""
        return 0


def name_of(gallery: int, vectors: Vectors) -> str:
    """Return the name of the index of a gallery's vectors."""
    name = "second_vectors_by_vector" if vectors.second else "samples_by_vector"
    return name if gallery == DEFAULT_KEY else f"{name}_{gallery}"


def index_of(gallery: int, vectors: Vectors, dimension: int) -> str:
    """Return the statement that makes it."""
    names = {"name": name_of(gallery, vectors), "table": vectors.vector.table.name}
    return CREATE_INDEX.format(gallery=gallery, dimension=dimension, **names)


def _index(connection: sa.Connection, vectors: Vectors, dimension: int) -> None:
    """Make the index of the gallery's vectors."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # other galleries may be large
    # One may be left of a change that was stopped while it made one.
    connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name_of(gallery_of(connection), vectors)}")
    connection.exec_driver_sql(index_of(gallery_of(connection), vectors, dimension))
    connection.execute(this_gallery(connection).values(indexed=dimension))


def index_beside(engine: sa.Engine, gallery: int, vectors: Vectors, dimension: int) -> None:
    """Make the index of a gallery's vectors while others write, who would wait too long for `_index`.

    Raises:
        GalleryUnavailable: the database cannot be reached, or cannot make it.
    """
    statement = index_of(gallery, vectors, dimension)
    try:
        with closing(engine.raw_connection()) as borrowed:
            driver: Any = borrowed.driver_connection  # where each statement is a transaction
            driver.execute("SET statement_timeout = 0")
            # What an interrupted one has left is of no use, and would be in the way.
            driver.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name_of(gallery, vectors)}")
            driver.execute(statement.replace("CREATE INDEX", "CREATE INDEX CONCURRENTLY", 1))
            driver.execute(f"ANALYZE {vectors.vector.table.name}")
            driver.execute("RESET statement_timeout")
    except (engine.dialect.loaded_dbapi.Error, sa.exc.SQLAlchemyError) as e:
        raise GalleryUnavailable("The index of the new vectors cannot be made.") from e


def _remove_all(connection: sa.Connection, table: sa.Table, truncated: str) -> None:
    """Remove the gallery's rows of a table: by truncating these tables, if that takes nothing else along.

    Nothing else is there if no other gallery has such rows, and no gallery has events, which refer to them.
    """
    others = sa.select(galleries.c.key).where(
        galleries.c.key != gallery_of(connection), sa.exists().where(table.c.gallery == galleries.c.key)
    )
    left = others.limit(1), sa.select(events.c.key).limit(1)
    if not any(connection.execute(each).first() for each in left):
        connection.exec_driver_sql(f"TRUNCATE {truncated}")
    else:
        connection.execute(table.delete().where(table.c.gallery == gallery_of(connection)))


# Each takes 0.2 ms to put together, of the 2.5 that a search of a small gallery takes.
@cache
def _nearest_in_index(vectors: Vectors, gallery: int, dimension: int, expiring: bool) -> sa.Select[Any]:
    """Select the `count` rows of a gallery nearest to each of `probes`, with the index of its vectors.

    It serves the very expressions that it was made of, and no others.
    """
    indexed = sa.literal_column(INDEXED.format(gallery=gallery, dimension=dimension), sa.Boolean)
    return _nearest_to_each(vectors, sa.cast(vectors.vector, VECTOR(dimension)), expiring, indexed)


@cache
def _nearest_of_all(vectors: Vectors, expiring: bool) -> sa.Select[Any]:
    """Select the `count` rows of the gallery `gallery` nearest to each of `probes`, of every row."""
    of_model = vectors.fingerprint == sa.bindparam("fingerprint", type_=sa.Text)
    vector = sa.type_coerce(vectors.vector, VECTOR())
    return _nearest_to_each(vectors, vector, expiring, vectors.gallery == GALLERY, of_model)


def _nearest_to_each(
    vectors: Vectors, vector: sa.ColumnElement[Any], expiring: bool, *which: sa.ColumnElement[bool]
) -> sa.Select[Any]:
    """Select the `count` rows nearest to each of `probes` that are of the model `fingerprint`.

    Args:
        vectors: that are searched.
        vector: what is compared, in the type VECTOR.
        expiring: leave out those that have expired by `expired_by`.
        which: of all rows.
    """
    probes = (
        sa.func.unnest(sa.bindparam("probes", type_=ARRAY(VECTOR())))
        .table_valued(sa.column("vector", VECTOR()), with_ordinality="place")
        .render_derived(name="probes")
    )
    key = vectors.sample.label("key")
    ranked = sa.select(key, vectors.vector, vectors.fingerprint).where(*which)
    if expiring:
        gone = expired(GALLERY, sa.bindparam("expired_by", type_=sa.DateTime))
        if vectors.second:  # of whose samples more is asked then
            ranked = ranked.join(samples, samples.c.key == vectors.sample)
        ranked = ranked.where(~gone)
    order = vector.l2_distance(probes.c.vector), vectors.sample
    nearest = ranked.order_by(*order).limit(sa.bindparam("count", type_=sa.Integer)).lateral()
    # Filtered behind the limit: before it PostgreSQL would take a fingerprint that it has not counted yet for
    # a rare one, and go through every row instead of the index.
    of_model = nearest.c.fingerprint == sa.bindparam("fingerprint", type_=sa.Text)
    return sa.select(probes.c.place, nearest).join(nearest, of_model)


def _nearest_rows(
    connection: sa.Connection,
    query: sa.Select[Any],
    probes: NDArray[np.float32],
    count: int,
    state: State,
) -> list[list[Any]]:
    nearest: list[list[Any]] = [[] for _ in probes]
    values = {
        "probes": list(probes),
        "count": count,
        "fingerprint": state.fingerprint,
        "gallery": state.gallery,
        **({"expired_by": state.expired_by} if state.expired_by else {}),
    }
    for row in connection.execute(query, values):
        nearest[row.place - 1].append(row)
    return nearest


def _exact(rows: Sequence[Any], probe: NDArray[np.float32], k: int) -> Neighbours:
    """Order rows by their distances in float64, and keep the k nearest."""
    keys = np.array([row.key for row in rows], dtype=np.int64)
    vectors = np.array([row.vector for row in rows], dtype=np.float32).reshape(len(rows), len(probe))
    distances = np.linalg.norm(vectors - probe.astype(np.float64), axis=1)
    order = np.lexsort((keys, distances))[:k]
    return keys[order], distances[order]
