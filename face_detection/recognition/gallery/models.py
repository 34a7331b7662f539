"""The models of a gallery, which may have vectors of two: told, listed, and given up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from recognition.audit import Begin
from recognition.errors import ChangeStopped, ChangeUnderWay
from recognition.gallery import rows, vector_rows
from recognition.gallery.database import empty_log, portions
from recognition.gallery.persons import of_person
from recognition.gallery.store import Gallery
from recognition.gallery.tables import changes, galleries, gallery_of, naive_utc, samples, second_vectors
from recognition.gallery.vector_indexes import drop
from recognition.gallery.vector_rows import Vectors, lacks, other, searched, with_them
from recognition.results import ModelChange

ROWS_AT_ONCE = 1000
# Of a worker that has not said for so long that it is alive another one takes the place.
SILENT = timedelta(seconds=30)
UNDER_WAY = "A change of the gallery's model is under way; stop it first."
STOPPED = "Somebody has stopped the change of the model, or goes on with it elsewhere."


def forget(gallery: Gallery) -> int:
    """Remove the vectors of the model that is not searched, a thousand in one transaction.

    A change that nobody is at is given up with them.

    Returns:
        How many there were.

    Raises:
        ChangeUnderWay: somebody is at a change, or has begun one meanwhile.
        NotFound, GalleryUnavailable, AuditUnavailable. The steps before are done.
    """

    def check(connection: sa.Connection) -> None:
        if change_of(connection) is not None:
            raise ChangeUnderWay(UNDER_WAY)

    with gallery.audit.outcomes() as begin:
        with gallery.writing(alone=True) as (connection, _):  # an index may go
            if _alive(gallery, change_of(connection)):
                raise ChangeUnderWay(UNDER_WAY)
            if there := row_of(connection).other_fingerprint is not None:
                begin_to_remove(connection, begin)
            connection.execute(changes.delete().where(changes.c.gallery == gallery_of(connection)))
        return remove_others(gallery, check) if there else 0


def begin_to_remove(connection: sa.Connection, begin: Begin) -> None:
    """Tell the audit log that the vectors that are not searched are removed, and drop their index.

    Raises:
        AuditUnavailable: it cannot be written, and nothing is done.
    """
    row = row_of(connection)
    begin("forget_vectors", 0, model=row.other_model or "")
    if connection.dialect.name == "postgresql":
        drop(connection, other(connection))
    connection.execute(rows.this_gallery(connection).values(other_indexed=None))


def remove_others(
    gallery: Gallery,
    check: Callable[[sa.Connection], object],
    model: str | None = None,
    fingerprint: str | None = None,
) -> int:
    """Remove the vectors that are not searched, a thousand in one transaction.

    Args:
        gallery: whose vectors they are.
        check: begins each transaction; it raises what ends the work.
        model, fingerprint: of which the others are from then on; None: there are none.

    Returns:
        How many there were.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable; what `check` raises. The steps before are done.
    """
    count = 0
    after: int | None = 0
    while after is not None:
        with gallery.writing() as (connection, _):
            check(connection)
            keys = _forget_some(connection, other(connection), after)
            after = keys[-1] if keys else None
            if not keys:
                then = {"other_model": model, "other_fingerprint": fingerprint, "other_indexed": None}
                connection.execute(rows.this_gallery(connection).values(**then))
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
        to = going.fingerprint if going and going.fingerprint != current.fingerprint else None
        if to is None and current.model is None:
            return [], 0
        vectors = searched(connection) if to is None else other(connection)
        query = with_them(sa.select(samples.c.sample_id), vectors, outer=True)
        query = query.where(rows.inside(connection), lacks(vectors, to))
        query = rows.unexpired(connection, query, current.expired_by)
        number = connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar_one()
        if after is not None:
            query = query.where(samples.c.sample_id > after)
        ids = connection.execute(query.order_by(samples.c.sample_id).limit(limit)).scalars().all()
        return list(ids), number


def lacking_searched(gallery: Gallery, person: str | None = None) -> int:
    """Count the samples that have no vector of the model searched: of all people, or of one.

    Raises:
        NotFound, GalleryUnavailable.
    """
    with gallery.reading() as (connection, current):
        vectors = searched(connection)
        query = with_them(sa.select(sa.func.count()).select_from(samples), vectors, outer=True)
        query = query.where(rows.inside(connection), lacks(vectors))
        if person is not None:
            query = query.where(of_person(connection, person))
        number: int = connection.execute(rows.unexpired(connection, query, current.expired_by)).scalar_one()
        return number


def drop_some(gallery: Gallery, worker: str, fingerprint: str) -> int:
    """Remove the next thousand samples that have no vector of the model searched. Returns how many.

    Args:
        gallery: that has changed.
        worker: who is at it.
        fingerprint: of the model to which it has changed.

    Raises:
        ChangeStopped: somebody else is at a change, or nobody is to be, or the gallery has another model.
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, begin):
        if held(connection, worker).fingerprint not in (None, fingerprint):
            raise ChangeStopped(STOPPED)
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
        to = going.fingerprint if going and going.fingerprint != row.fingerprint else row.other_fingerprint
        done = 0
        if to is not None:
            some = sa.select(sa.func.count()).select_from(vectors.sample.table)
            some = some.where(vectors.gallery == row.key, vectors.fingerprint == to)
            done = connection.execute(some).scalar_one()
    _, lack = waiting(gallery, 0)
    return ModelChange(
        model=row.model,
        other=row.other_model,
        has_other=row.other_fingerprint is not None,
        samples=total,
        done=done,
        waiting=lack,
        to=going.model if going else None,
        without_face=going.without_face if going else None,
        running=_alive(gallery, going),
        resumes=going is not None and going.unattended and going.worker is not None,
        trouble=going.trouble if going else None,
    )


def row_of(connection: sa.Connection) -> Any:
    """Return the gallery's row of `galleries`."""
    return connection.execute(sa.select(galleries).where(galleries.c.key == gallery_of(connection))).one()


def change_of(connection: sa.Connection) -> Any:
    """Return its row of `changes`; None: there is none."""
    return connection.execute(sa.select(changes).where(changes.c.gallery == gallery_of(connection))).first()


def held(connection: sa.Connection, worker: str) -> Any:
    """Return the gallery's row of `galleries`, if this worker is at its change.

    Raises:
        ChangeStopped: somebody else is, or nobody is to be.
    """
    going = change_of(connection)
    if going is None or going.worker != worker:
        raise ChangeStopped(STOPPED)
    return row_of(connection)


def _alive(gallery: Gallery, going: Any) -> bool:
    """Tell whether somebody is at a change."""
    return going is not None and going.worker is not None and going.beat >= naive_utc(gallery.now()) - SILENT


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
