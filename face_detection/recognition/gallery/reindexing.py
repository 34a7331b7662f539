"""PostgreSQL's index of a gallery's vectors, made anew beside the old one while services go on.

Searches and enrolments go on: the new one is built CONCURRENTLY, takes the name in one short transaction,
and the old one is dropped when no search uses it any more. A search asks for the kind that its transaction
finds in the gallery's row. What an interrupted run has left, the next one goes on with, or removes.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from recognition.errors import ChangeStopped
from recognition.gallery import rows
from recognition.gallery.atrest import dimension_of
from recognition.gallery.models import row_of
from recognition.gallery.store import Gallery
from recognition.gallery.tables import DEFAULT_KEY, galleries
from recognition.gallery.vector_indexes import (
    EF_CONSTRUCTION,
    INDEXED_FROM,
    MOST_DIMENSIONS,
    NONE,
    TYPES,
    M,
    indexable,
    make_beside,
    names_of,
    run_alone,
    wished_half,
)
from recognition.gallery.vector_rows import Vectors, searched
from serving.errors import InvalidRequest, NotFound

_DEFINITION = sa.text(
    "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid = to_regclass(:name) AND indisvalid"
)
_SIZE = sa.text("SELECT pg_relation_size(to_regclass(:name))")


class Reindexed(NamedTuple):
    """An index: of vectors of how many values, whether as 16-bit floats, and its size."""

    dimension: int
    half: bool
    bytes: int


def reindex(gallery: Gallery) -> Reindexed | None:
    """Make the index of a gallery in PostgreSQL anew, of the kind that the database was opened for.

    Returns:
        What was made; None: the gallery needs none, since it has so few samples that each is compared.

    Raises:
        InvalidRequest: it is empty, or its vectors have too many values.
        ChangeStopped: it was emptied or has changed its model meanwhile.
        NotFound, GalleryUnavailable, AuditUnavailable. There is an index at any time.
    """
    engine, half = gallery.engine, wished_half(gallery.engine)
    with gallery.reading() as (connection, current):
        key, fingerprint = current.gallery, current.fingerprint
        vectors, dimension = searched(connection), dimension_of(connection)
        few = key != DEFAULT_KEY and not current.indexed and rows.count(connection) < INDEXED_FROM
    if dimension is None:
        raise InvalidRequest("The gallery is empty: there is nothing to index.")
    if few:
        with gallery.writing() as (connection, _):  # where it was dropped, it comes by itself again
            dropped = rows.this_gallery(connection).where(galleries.c.indexed == NONE)
            connection.execute(dropped.values(indexed=None))
        return None
    if not indexable(engine, dimension):
        most = MOST_DIMENSIONS[half]
        raise InvalidRequest(f"PostgreSQL indexes up to {most} values of this kind; these have {dimension}.")
    name, beside, replaced = names_of(key, vectors)
    with gallery.reading() as (connection, _):
        left = connection.execute(_DEFINITION, {"name": beside}).scalar()
    if left is None or not _is_as_wished(left, dimension, half):
        make_beside(engine, key, vectors, dimension, half=half, name=beside)
    run_alone(engine, f"DROP INDEX CONCURRENTLY IF EXISTS {replaced}")
    try:
        same = _changed_over(gallery, vectors, fingerprint, dimension, half=half)
    except NotFound:
        run_alone(engine, f"DROP INDEX CONCURRENTLY IF EXISTS {beside}")
        raise
    if not same:
        run_alone(engine, f"DROP INDEX CONCURRENTLY IF EXISTS {beside}")
        raise ChangeStopped("The gallery was emptied, reindexed, or has changed its model, meanwhile.")
    run_alone(engine, f"DROP INDEX CONCURRENTLY IF EXISTS {replaced}")
    with gallery.reading() as (connection, _):
        return Reindexed(dimension, half, connection.execute(_SIZE, {"name": name}).scalar_one() or 0)


def _changed_over(
    gallery: Gallery, vectors: Vectors, fingerprint: str | None, dimension: int, *, half: bool
) -> bool:
    """Let the index beside take the other one's place, if it is of what the gallery has now."""
    with gallery.writing() as (connection, _):
        row = row_of(connection)
        name, beside, replaced = names_of(row.key, vectors)
        there = connection.execute(_DEFINITION, {"name": beside}).scalar()
        same = there is not None and _is_as_wished(there, dimension, half)
        same = same and (row.second, row.fingerprint) == (vectors.second, fingerprint)
        if same:
            connection.execute(rows.this_gallery(connection).values(indexed=dimension, half=half))
            connection.exec_driver_sql(f"ALTER INDEX IF EXISTS {name} RENAME TO {replaced}")
            connection.exec_driver_sql(f"ALTER INDEX {beside} RENAME TO {name}")
    return same


def drop_index(gallery: Gallery) -> None:
    """Drop the index of a gallery in PostgreSQL, and make none before `reindex`: each sample is compared.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, _):
        key, vectors = row_of(connection).key, searched(connection)
        connection.execute(rows.this_gallery(connection).values(indexed=NONE))
    drops = (f"DROP INDEX CONCURRENTLY IF EXISTS {name}" for name in names_of(key, vectors))
    run_alone(gallery.engine, *drops)


def _is_as_wished(definition: str, dimension: int, half: bool) -> bool:
    """Tell whether an index is what would be made now, by what PostgreSQL says of it."""
    parts = f"::{TYPES[half]}({dimension})", f"(m='{M}'", f" ef_construction='{EF_CONSTRUCTION}'"
    return all(part in definition for part in parts)
