"""The search of a gallery in PostgreSQL: pgvector's index gives candidates, which are measured exactly."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pgvector.sqlalchemy import VECTOR
from sqlalchemy.dialects.postgresql import ARRAY

from recognition.gallery.search import Neighbours
from recognition.gallery.tables import State, expired, samples

# The parameters of HNSW (Malkov and Yashunin, arXiv 1603.09320) that make an index; see `DatabaseSearch`.
M = 16
EF_CONSTRUCTION = 200
INDEXED_DIMENSIONS = 2000  # pgvector indexes vectors up to this
CREATE_INDEX = (
    "CREATE INDEX samples_by_vector ON samples USING hnsw ((vector::vector({dimension:d})) vector_l2_ops)"
    f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
)
SPARE = 8  # candidates beyond k: their float32 order may differ from the exact one


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

    def load(self, connection: sa.Connection, state: State) -> None:
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
        connection.exec_driver_sql("TRUNCATE samples, faces, tombstones")
        connection.exec_driver_sql("DROP INDEX IF EXISTS samples_by_vector")
        if dimension is not None and dimension <= INDEXED_DIMENSIONS:
            connection.exec_driver_sql(CREATE_INDEX.format(dimension=dimension))

    def clear_people(self, connection: sa.Connection) -> None:
        """Remove every person; TRUNCATE takes along the empty tables that refer to this one."""
        connection.exec_driver_sql("TRUNCATE persons, samples, faces")

    def nearest(
        self, connection: sa.Connection, state: State, probes: NDArray[np.float32], k: int
    ) -> list[Neighbours]:
        """Find the k nearest samples of each probe: of all in small galleries, of HNSW's in large ones."""
        count, expiring = k + SPARE, state.expired_by is not None
        candidates = _nearest_rows(
            connection, _nearest_to_each(probes.shape[1], expiring), probes, count, state
        )
        # There are no more, or the index did not find them.
        few = [place for place, rows in enumerate(candidates) if len(rows) < count]
        if few:
            more = _nearest_rows(connection, _nearest_to_each(None, expiring), probes[few], count, state)
            for place, rows in zip(few, more, strict=True):
                candidates[place] = rows
        return [_exact(rows, probe, k) for rows, probe in zip(candidates, probes, strict=True)]

    def damaged(self) -> int:
        """Return 0: PostgreSQL itself refuses what is no vector, or not of the index's dimension."""
        return 0


@cache  # 0.2 ms to put together, of the 2.5 that a search of a small gallery takes
def _nearest_to_each(dimension: int | None, expiring: bool) -> sa.Select[Any]:
    """Select the `count` rows nearest to each of `probes` that are of the model `fingerprint`.

    expiring: leave out those that have expired by `expired_by`.

    The index for vectors of `dimension` serves the very expression that it was made of, and no other; None
    compares every row.
    """
    probes = (
        sa.func.unnest(sa.bindparam("probes", type_=ARRAY(VECTOR())))
        .table_valued(sa.column("vector", VECTOR()), with_ordinality="place")
        .render_derived(name="probes")
    )
    of_model = sa.bindparam("fingerprint", type_=sa.Text)
    ranked = sa.select(samples.c.key, samples.c.vector, samples.c.fingerprint)
    vector: sa.ColumnElement[Any]
    if dimension is None:
        vector = sa.type_coerce(samples.c.vector, VECTOR())
        ranked = ranked.where(samples.c.fingerprint == of_model)
    else:
        vector = sa.cast(samples.c.vector, VECTOR(dimension))
    if expiring:
        ranked = ranked.where(~expired(sa.bindparam("expired_by", type_=sa.DateTime)))
    order = vector.l2_distance(probes.c.vector), samples.c.key
    nearest = ranked.order_by(*order).limit(sa.bindparam("count", type_=sa.Integer)).lateral()
    # Filtered behind the limit: before it PostgreSQL would take a fingerprint that it has not counted yet for
    # a rare one, and go through every row instead of the index.
    return sa.select(probes.c.place, nearest).join(nearest, nearest.c.fingerprint == of_model)


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
