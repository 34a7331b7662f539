"""The models of a gallery, which may have vectors of two: told, listed, and given up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from recognition.gallery import rows, vector_rows
from recognition.gallery.database import empty_log, portions
from recognition.gallery.search_database import name_of
from recognition.gallery.store import Gallery
from recognition.gallery.tables import changes, galleries, gallery_of, naive_utc, samples, second_vectors
from recognition.gallery.vector_rows import Vectors, lacks, other, searched, with_them
from recognition.results import ModelChange

ROWS_AT_ONCE = 1000
# Of a worker that has not said for so long that it is alive another one takes the place.
SILENT = timedelta(seconds=30)


def forget(gallery: Gallery) -> int:
    """Remove the vectors of the model that is not searched, a thousand in one transaction.

    Returns:
        How many there were.

    Raises:
        NotFound, GalleryUnavailable. The steps before are done.
        AuditUnavailable: the audit log cannot be written.
    """
    count = 0
    after: int | None = 0
    with gallery.audit.outcomes() as begin:
        with gallery.writing() as (connection, _):
            connection.execute(changes.delete().where(changes.c.gallery == gallery_of(connection)))
            row, vectors = row_of(connection), other(connection)
            if row.other_fingerprint is None:
                return 0
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(f"DROP INDEX IF EXISTS {name_of(row.key, vectors)}")
            connection.execute(rows.this_gallery(connection).values(other_indexed=None))
        begin("forget_vectors", 0, model=row.other_model or "")
        while after is not None:
            with gallery.writing() as (connection, _):
                keys = _forget_some(connection, other(connection), after)
                after = keys[-1] if keys else None
                if not keys:
                    none = dict.fromkeys(("other_model", "other_fingerprint", "other_indexed"))
                    connection.execute(rows.this_gallery(connection).values(**none))
            count += len(keys)
            empty_log(gallery.engine)
    return count


def waiting(gallery: Gallery, limit: int, after: str | None = None) -> tuple[list[str], int]:
    """List samples that lack a vector of the new model, or, where none is coming, of the one searched.

    Args:
        gallery: whose samples they are.
        limit: how many ids at most, in ascending order.
        after: an id; None: the first ones.

    Returns:
        The ids, and how many there are in all.

    Raises:
        NotFound, GalleryUnavailable.
    """
    with gallery.reading() as (connection, current):
        going = change_of(connection)
        vectors = other(connection) if going and going.model != current.model else searched(connection)
        if vectors is searched(connection) and current.model is None:
            return [], 0
        query = with_them(sa.select(samples.c.sample_id), vectors, outer=True)
        query = query.where(rows.inside(connection), lacks(vectors))
        query = rows.unexpired(connection, query, current.expired_by)
        number = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
        if after is not None:
            query = query.where(samples.c.sample_id > after)
        ids = connection.execute(query.order_by(samples.c.sample_id).limit(limit)).scalars().all()
        return list(ids), number


def lacking_searched(gallery: Gallery) -> int:
    """Count the samples that have no vector of the model searched.

    Raises:
        NotFound, GalleryUnavailable.
    """
    with gallery.reading() as (connection, current):
        vectors = searched(connection)
        query = with_them(sa.select(sa.func.count()).select_from(samples), vectors, outer=True)
        query = query.where(rows.inside(connection), lacks(vectors))
        number: int = connection.execute(rows.unexpired(connection, query, current.expired_by)).scalar_one()
        return number


def drop_some(gallery: Gallery) -> int:
    """Remove the next thousand samples that have no vector of the model searched. Returns how many.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, begin):
        vectors = searched(connection)
        query = with_them(sa.select(samples.c.key), vectors, outer=True)
        query = query.where(rows.inside(connection), lacks(vectors)).limit(ROWS_AT_ONCE)
        removed: list[str] = []
        for some in portions(connection.execute(query).scalars().all()):
            removed += rows.remove(connection, samples.c.key.in_(some))
        if removed:
            begin("delete", removed)
    empty_log(gallery.engine)
    return len(removed)


def status(gallery: Gallery) -> ModelChange:
    """Tell which models a gallery has, and how far a change is.

    Raises:
        NotFound, GalleryUnavailable.
    """
    with gallery.reading() as (connection, current):
        row, going = row_of(connection), change_of(connection)
        total = rows.count(connection, expired_by=current.expired_by)
        vectors = other(connection)
        done = 0
        if row.other_fingerprint is not None:
            some = sa.select(sa.func.count()).select_from(vectors.sample.table)
            some = some.where(vectors.gallery == row.key, vectors.fingerprint == row.other_fingerprint)
            done = connection.execute(some).scalar_one()
    _, lack = waiting(gallery, 0)
    alive = going is not None and going.worker is not None
    silent = alive and going.beat < naive_utc(gallery.now()) - SILENT
    return ModelChange(
        model=row.model,
        other=row.other_model,
        has_other=row.other_fingerprint is not None,
        samples=total,
        done=done,
        waiting=lack,
        to=going.model if going else None,
        without_face=going.without_face if going else None,
        running=alive and not silent,
        trouble=going.trouble if going else None,
    )


def row_of(connection: sa.Connection) -> Any:
    """Return the gallery's row of `galleries`."""
    return connection.execute(sa.select(galleries).where(galleries.c.key == gallery_of(connection))).one()


def change_of(connection: sa.Connection) -> Any:
    """Return its row of `changes`; None: there is none."""
    return connection.execute(sa.select(changes).where(changes.c.gallery == gallery_of(connection))).first()


def _forget_some(connection: sa.Connection, vectors: Vectors, after: int) -> Sequence[int]:
    """Remove the vectors of the next thousand samples that have one. Returns the samples' keys."""
    some = sa.select(vectors.sample).where(vectors.gallery + 0 == gallery_of(connection), ~lacks(vectors))
    some = some.where(vectors.sample > after).order_by(vectors.sample).limit(ROWS_AT_ONCE)
    keys = connection.execute(some).scalars().all()
    empty = {"vector": vector_rows.nothing(connection), "fingerprint": vector_rows.NO_MODEL}
    for each in portions(keys):
        if vectors.second:
            connection.execute(second_vectors.delete().where(second_vectors.c.sample.in_(each)))
        else:
            connection.execute(samples.update().where(samples.c.key.in_(each)).values(**empty))
    return keys
