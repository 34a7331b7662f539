"""The search of a gallery in PostgreSQL: pgvector's index gives candidates, which are measured exactly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy.dialects.postgresql import ARRAY

from recognition.gallery.database import check_alone, portions
from recognition.gallery.rows import this_gallery, unexpired
from recognition.gallery.search import Kind, Near, Neighbours
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
from recognition.gallery.vector_indexes import INDEXED, INDEXED_FROM, NONE, being_made, drop, indexable, make
from recognition.gallery.vector_rows import FIRST, SECOND, Vectors, searched, with_them

TIMES = 2  # as many candidates as `ef_search` are looked at where the first ones are not near enough
GALLERY: sa.BindParameter[int] = sa.bindparam("gallery", type_=Key)
COUNT: sa.BindParameter[int] = sa.bindparam("count", type_=sa.Integer)
# Of the row of `probes` for which candidates are looked for, and the distance at which they matter.
PROBE: sa.ColumnClause[Any] = sa.literal_column("probes.vector", VECTOR())
NEAR: sa.ColumnClause[float] = sa.literal_column("probes.near", sa.Double)
FINGERPRINT: sa.BindParameter[str] = sa.bindparam("fingerprint", type_=sa.Text)
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
    10 ms leaves room for (benchmarks/GALLERY.md). Who is looked for and not found among the first candidates
    is looked for among as many more: `benchmarks/vector_indexes.py --second-look`.
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
        if gallery == DEFAULT_KEY or not indexable(connection, dimension):
            return
        own = sa.select(galleries.c.indexed, galleries.c.samples).where(galleries.c.key == gallery)
        indexed, number = connection.execute(own).one()
        # While another one is made every row is compared; one of the next enrolments makes this one.
        if indexed is None and number >= INDEXED_FROM and not being_made(connection):
            check_alone(connection)
            make(connection, searched(connection), dimension)

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone; index vectors of `dimension`, in `default`.

        Where no other gallery has samples, TRUNCATE leaves nothing of the faces behind.
        """
        check_alone(connection)
        own = sa.select(galleries.c.indexed).where(galleries.c.key == gallery_of(connection))
        # Somebody has dropped it before a bulk load, of which this is the beginning.
        dropped = dimension is not None and connection.execute(own).scalar_one() == NONE
        for vectors in (FIRST, SECOND):
            drop(connection, vectors)
        indexed = NONE if dropped else None
        connection.execute(this_gallery(connection).values(indexed=indexed, other_indexed=None))
        _remove_all(connection, samples, "samples, faces, second_vectors, events")
        connection.execute(tombstones.delete().where(tombstones.c.gallery == gallery_of(connection)))
        if gallery_of(connection) != DEFAULT_KEY or not dimension or dropped:
            return
        if indexable(connection, dimension):
            make(connection, FIRST, dimension)

    def clear_people(self, connection: sa.Connection) -> None:
        """Remove every person; TRUNCATE takes along the empty tables that refer to this one."""
        _remove_all(connection, persons, "persons, samples, faces, second_vectors, events")

    def nearest(
        self,
        connection: sa.Connection,
        state: State,
        probes: NDArray[np.float32],
        k: int,
        near: Near | None = None,
    ) -> list[Neighbours]:
        """Find the k nearest samples of each probe: of all in small galleries, of HNSW's in large ones.

        Where the index's first `ef_search` candidates are not nearer than `near`, it goes on to as many more.
        """
        count, expiring = k + SPARE, state.expired_by is not None
        candidates: list[list[Any]] = [[] for _ in probes]
        vectors = SECOND if state.second else FIRST
        if state.indexed == probes.shape[1]:
            which = vectors, state.gallery, state.indexed, state.half, expiring
            by_index = _nearest_in_index(*which, going_on=near is not None)
            candidates = _nearest_rows(connection, by_index, probes, count, state, near)
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
def _nearest_in_index(
    vectors: Vectors, gallery: int, dimension: int, half: bool, expiring: bool, *, going_on: bool
) -> sa.Select[Any]:
    """Select the `count` rows of a gallery nearest to each of `probes`, with the index of its vectors.

    It serves the very expressions that it was made of, and no others.

    going_on: where none of them is nearer than the probe's `near`, look at TIMES as many candidates, and
        select such rows, too.
    """
    indexed = sa.literal_column(INDEXED.format(gallery=gallery, dimension=dimension), sa.Boolean)
    kind: Any = (HALFVEC if half else VECTOR)(dimension)
    distance = sa.cast(vectors.vector, kind).l2_distance(sa.cast(PROBE, kind) if half else PROBE)
    if not going_on:
        whole = vectors.sample.label("key"), vectors.vector, vectors.fingerprint
        return _of_model(_ranked(vectors, whole, distance, expiring, indexed).limit(COUNT))
    # PostgreSQL reads no more of a WITH than is asked for: the index is asked for the rest if that is needed,
    # and goes on where it stopped, which takes less than a larger search takes from the start.
    # One less than it has then, for the sort looks one row ahead.
    most = TIMES * sa.cast(sa.func.current_setting("hnsw.ef_search"), sa.Integer) - 1
    columns = vectors.sample.label("key"), distance.label("distance")
    ranked = _ranked(vectors, columns, distance, expiring, indexed)
    scan = ranked.limit(sa.func.greatest(most, COUNT)).cte("scan")
    first = sa.select(scan.c.key, scan.c.distance).limit(COUNT)
    found = sa.exists().where(first.subquery("looked").c.distance < NEAR)
    further = sa.select(scan.c.key, scan.c.distance).where(~found, scan.c.distance < NEAR).limit(COUNT)
    both = sa.union_all(sa.select(first.subquery()), sa.select(further.subquery()))
    keys = both.add_cte(scan, nest_here=True).subquery("keys")
    read = sa.select(vectors.sample.label("key"), vectors.vector, vectors.fingerprint)
    return _of_model(read.join(keys, keys.c.key == vectors.sample), near=True)


@cache
def _nearest_of_all(vectors: Vectors, expiring: bool) -> sa.Select[Any]:
    """Select the `count` rows of the gallery `gallery` nearest to each of `probes`, of every row."""
    distance = sa.type_coerce(vectors.vector, VECTOR()).l2_distance(PROBE)
    columns = vectors.sample.label("key"), vectors.vector, vectors.fingerprint
    which = vectors.gallery == GALLERY, vectors.fingerprint == FINGERPRINT
    return _of_model(_ranked(vectors, columns, distance, expiring, *which).limit(COUNT))


def _ranked(
    vectors: Vectors,
    columns: Sequence[sa.ColumnElement[Any]],
    distance: sa.ColumnElement[Any],
    expiring: bool,
    *which: sa.ColumnElement[bool],
) -> sa.Select[Any]:
    """Select columns of rows in the order of their distances, then of their keys.

    expiring: leave out those that have expired by `expired_by`; which: of all rows.
    """
    ranked = sa.select(*columns).where(*which)
    if expiring:
        gone = expired(GALLERY, sa.bindparam("expired_by", type_=sa.DateTime))
        if vectors.second:  # a join would have two columns `gallery`
            gone = vectors.sample.in_(sa.select(samples.c.key).where(gone))
        ranked = ranked.where(~gone)
    return ranked.order_by(distance, vectors.sample)


def _of_model(nearest: sa.Select[Any], *, near: bool = False) -> sa.Select[Any]:
    """Select for each of `probes` the rows nearest to it that are of the model `fingerprint`.

    nearest: the rows nearest to PROBE. near: it asks for NEAR, too.
    """
    given: list[sa.BindParameter[Any]] = [sa.bindparam("probes", type_=ARRAY(VECTOR()))]
    columns: list[Any] = [sa.column("vector", VECTOR())]
    if near:
        given.append(sa.bindparam("near", type_=ARRAY(sa.Double)))
        columns.append(sa.column("near", sa.Double))
    each = sa.func.unnest(*given).table_valued(*columns, with_ordinality="place")
    probes, rows = each.render_derived(name="probes"), nearest.lateral()
    # Filtered behind the limit: before it PostgreSQL would take a fingerprint that it has not counted yet for
    # a rare one, and go through every row instead of the index.
    return sa.select(probes.c.place, rows).join(rows, rows.c.fingerprint == FINGERPRINT)


def _nearest_rows(
    connection: sa.Connection,
    query: sa.Select[Any],
    probes: NDArray[np.float32],
    count: int,
    state: State,
    near: Near | None = None,
) -> list[list[Any]]:
    nearest: list[list[Any]] = [[] for _ in probes]
    values = {
        "probes": list(probes),
        "count": count,
        "fingerprint": state.fingerprint,
        "gallery": state.gallery,
        **({"expired_by": state.expired_by} if state.expired_by else {}),
        **({} if near is None else {"near": near.tolist()}),
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
