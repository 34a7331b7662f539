"""What a change to another model reads and writes; recognition/changing.py leads it.

Vectors of the new model come beside those that are searched, a few in each transaction, while services go on.
The change itself is one row's: from then on the new ones are searched, and the others stay, to be gone back
to. A row of `changes` says who is at it; whoever finds another's name there has been replaced, and stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import ChangeStopped, DamagedGallery
from recognition.faces import KeptFace
from recognition.gallery import rows
from recognition.gallery.face_rows import face_of
from recognition.gallery.models import (
    SILENT,
    STOPPED,
    begin_to_remove,
    change_of,
    held,
    remove_others,
    row_of,
)
from recognition.gallery.store import Gallery
from recognition.gallery.tables import (
    DEFAULT_KEY,
    State,
    Vector,
    changes,
    faces,
    gallery_of,
    naive_utc,
    samples,
    second_vectors,
)
from recognition.gallery.vector_indexes import INDEXED_FROM, indexable, make_beside, wished_half
from recognition.gallery.vector_rows import lacks, other, with_them
from recognition.results import WithoutFace

AT_LAST = 16  # samples of which vectors are made while nobody else can write

_SECOND = second_vectors.insert().from_select(
    ["sample", "gallery", "vector", "fingerprint"],
    sa.select(
        samples.c.key,
        samples.c.gallery,
        sa.bindparam("encoded", type_=Vector),
        sa.bindparam("model", type_=sa.Text),
    ).where(
        samples.c.key == sa.bindparam("at"),
        samples.c.revision == sa.bindparam("seen"),
        ~sa.exists().where(second_vectors.c.sample == samples.c.key),
    ),
)
_FIRST = (
    samples.update()
    .where(samples.c.key == sa.bindparam("at"), samples.c.revision == sa.bindparam("seen"))
    .values(vector=sa.bindparam("encoded", type_=Vector), fingerprint=sa.bindparam("model"))
)


@dataclass(frozen=True, slots=True)
class Lacking:
    """A sample without a vector of the new model, as it was in a revision, and what is kept of its face."""

    key: int
    revision: int
    id: str
    face: KeptFace


@dataclass(frozen=True, slots=True)
class Job:
    """A change to a model: its name, the fingerprint and the dimension of its vectors, and who is at it."""

    model: str
    fingerprint: str
    dimension: int
    worker: str


def claim(gallery: Gallery, job: Job, without_face: WithoutFace, *, unattended: bool) -> bool:
    """Begin a change, or go on with it in another one's place. Returns whether anything is to change.

    Where the gallery has vectors of a third model beside, `make_room` is to come first.

    unattended: whether any service may go on with it if the worker dies.

    Raises:
        NotFound: there is no such gallery.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    with gallery.writing() as (connection, begin):
        row = row_of(connection)
        connection.execute(changes.delete().where(changes.c.gallery == row.key))
        what = {"model": job.model, "fingerprint": job.fingerprint, "without_face": without_face}
        who = {"worker": job.worker, "unattended": unattended, "beat": naive_utc(gallery.now())}
        connection.execute(changes.insert().values(gallery=row.key, **what, **who))
        own = rows.this_gallery(connection)
        if not rows.any_sample(connection):
            # Whoever enrols first makes the rest anew.
            connection.execute(own.values(model=job.model, fingerprint=None))
            begin("change_model", 0, model=job.model)
            return False
        if row.fingerprint == job.fingerprint:
            connection.execute(own.values(model=job.model))
            return False
        if row.other_fingerprint in (None, job.fingerprint):
            connection.execute(own.values(other_model=job.model, other_fingerprint=job.fingerprint))
        return True


def make_room(gallery: Gallery, job: Job) -> None:
    """Remove the vectors of a third model, which the gallery may have in the place of the new ones.

    Raises:
        ChangeStopped: somebody else is at it, or nobody is to be.
        NotFound, GalleryUnavailable, AuditUnavailable. The steps before are done.
    """
    with gallery.audit.outcomes() as begin:
        with gallery.writing(alone=True) as (connection, _):  # an index may go
            row = held(connection, job.worker)
            if row.other_fingerprint in (None, job.fingerprint):
                return
            begin_to_remove(connection, begin)

        def check(connection: sa.Connection) -> None:
            now = held(connection, job.worker)
            if (now.other_fingerprint, now.second) != (row.other_fingerprint, row.second):  # emptied
                raise ChangeStopped(STOPPED)

        remove_others(gallery, check, job.model, job.fingerprint)


def lacking(
    gallery: Gallery, job: Job, after: int, since: int, limit: int
) -> tuple[list[Lacking], int | None]:
    """Return the next samples that lack a vector of the new model, and whose faces are kept.

    Args:
        gallery: whose samples they are.
        job: the change.
        after: the key of the sample before; 0: the first ones.
        since: only those that were stored or changed after this revision; -1: all.
        limit: how many at most.

    Returns:
        The samples, those whose faces are damaged left out; and the key to go on after, None at the end.

    Raises:
        ChangeStopped: somebody else is at it, or nobody is to be.
        NotFound, GalleryUnavailable.
    """
    with gallery.reading() as (connection, current):
        _check(connection, current, job)
        query = _lacking(connection, job, since, current.expired_by)
        query = query.where(samples.c.key > after).order_by(samples.c.key).limit(limit)
        keys = connection.execute(query).scalars().all()
        return _with_faces(connection, keys), keys[-1] if len(keys) == limit else None


def any_left(gallery: Gallery, job: Job, since: int, until: int) -> bool:
    """Tell whether a sample lacks a vector of the new model that has changed last between two revisions.

    Raises:
        ChangeStopped, NotFound, GalleryUnavailable.
    """
    with gallery.reading() as (connection, current):
        _check(connection, current, job)
        return _any_lacking(connection, job, since, current.expired_by, until)


def revision_of(gallery: Gallery) -> int:
    """Return the revision that a gallery has now."""
    with gallery.reading() as (_, current):
        return current.revision


def store(gallery: Gallery, job: Job, made: Sequence[tuple[Lacking, NDArray[np.float32]]]) -> None:
    """Store vectors, float32 (d,) each, of the new model; what has gone or changed meanwhile is passed over.

    Raises:
        ChangeStopped, NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, _):
        _check(connection, rows.enter(connection, gallery.name), job)
        _store(gallery, connection, job, made)


def beat(gallery: Gallery, job: Job) -> None:
    """Say that the worker is alive.

    Raises:
        ChangeStopped, NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, _):
        own = changes.update().where(changes.c.gallery == gallery_of(connection))
        mine = own.where(changes.c.worker == job.worker).values(beat=naive_utc(gallery.now()))
        if not connection.execute(mine).rowcount:
            raise ChangeStopped(STOPPED)


def pause(gallery: Gallery, worker: str, trouble: str, *, give_up: bool) -> None:
    """Say what holds the change up, if that is still this worker's.

    give_up: nobody goes on before somebody asks for it again.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, _):
        own = changes.update().where(changes.c.gallery == gallery_of(connection))
        mine = own.where(changes.c.worker == worker)
        connection.execute(mine.values(trouble=trouble, **({"worker": None} if give_up else {})))


def index(gallery: Gallery, job: Job) -> None:
    """Make PostgreSQL's index of the new vectors, where their gallery is to have one; enrolments go on.

    Raises:
        ChangeStopped, NotFound, GalleryUnavailable, AuditUnavailable.
    """
    if gallery.search_kind != "database" or not indexable(gallery.engine, job.dimension):
        return
    with gallery.reading() as (connection, _):
        row, vectors = row_of(connection), other(connection)
        small = row.key != DEFAULT_KEY and rows.count(connection) < INDEXED_FROM
    if small or row.other_indexed == job.dimension:
        return
    half = wished_half(gallery.engine)
    make_beside(gallery.engine, row.key, vectors, job.dimension, half=half)
    with gallery.writing() as (connection, _):
        _check(connection, rows.enter(connection, gallery.name), job)
        there = {"other_indexed": job.dimension, "other_half": half}
        connection.execute(rows.this_gallery(connection).values(**there))


Made = Callable[[Sequence[Lacking]], Sequence[tuple[Lacking, NDArray[np.float32]]]]


def change_over(
    gallery: Gallery, job: Job, since: int, before: str | None, make: Made | None, *, wait: bool
) -> bool | None:
    """Search the new vectors from now on, in one transaction, if all samples have them that can.

    Args:
        gallery: that changes.
        job: the change.
        since: the revision up to which all that could be made were made.
        before: the name of the old model, where the gallery has none.
        make: makes the vectors of at most AT_LAST samples, while nobody else can write; None: nothing is.
        wait: for samples that have no face, too.

    Returns:
        Whether it was done; None: samples without a face are waited for.

    Raises:
        ChangeStopped, NotFound, GalleryUnavailable, AuditUnavailable; what `make` raises.
    """
    with gallery.writing() as (connection, begin):
        current = rows.enter(connection, gallery.name)
        _check(connection, current, job)
        hidden = current.trust.hides_by(gallery.moment())
        some = _lacking(connection, job, since, hidden).limit(AT_LAST + 1)
        late = connection.execute(some).scalars().all()
        if late and (make is None or len(late) > AT_LAST):
            return False
        if late and make is not None:
            _store(gallery, connection, job, make(_with_faces(connection, late)))
        if wait and _any_lacking(connection, job, since, hidden):
            return None
        row, revision = row_of(connection), rows.next_revision(connection)
        begin("change_model", rows.count(connection), model=job.model)
        swapped = {
            "model": job.model,
            "other_model": row.model or before,
            "fingerprint": row.other_fingerprint,
            "other_fingerprint": row.fingerprint,
            "indexed": row.other_indexed,
            "other_indexed": row.indexed,
            "half": row.other_half,
            "other_half": row.half,
            "second": not row.second,
            "complete_since": revision,  # so that whoever has vectors in memory reads them anew
        }
        connection.execute(rows.this_gallery(connection).values(**swapped))
    return True


def release(gallery: Gallery, worker: str | None = None) -> bool:
    """Let nobody go on with a change, if that is still this worker's; None: whose ever. Tells whether it was.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, _):
        own = changes.delete().where(changes.c.gallery == gallery_of(connection))
        if worker is not None:
            own = own.where(changes.c.worker == worker)
        return bool(connection.execute(own).rowcount)


class Orphan(NamedTuple):
    """A change that any service may go on with: the model, the wish, and who was at it last."""

    model: str
    without_face: WithoutFace
    worker: str


def orphaned(gallery: Gallery) -> Orphan | None:
    """Return a change that any service may go on with, because nobody is at it; None: there is none.

    Raises:
        NotFound, GalleryUnavailable.
    """
    with gallery.reading() as (connection, _):
        going = change_of(connection)
    silent = naive_utc(gallery.now()) - SILENT
    if going is None or not going.unattended or going.worker is None or going.beat >= silent:
        return None
    return Orphan(going.model, going.without_face, going.worker)


def _check(connection: sa.Connection, current: State, job: Job) -> None:
    """See to it that this worker is at it, and that the gallery has not changed or been emptied since."""
    held(connection, job.worker)
    if current.other_fingerprint != job.fingerprint:
        raise ChangeStopped(STOPPED)


def _lacking(connection: sa.Connection, job: Job, since: int, expired_by: datetime | None) -> sa.Select[Any]:
    """Select the keys of those that lack a vector of the new model, and of which a face is kept."""
    vectors = other(connection)
    query: sa.Select[Any] = sa.select(samples.c.key).join(faces, faces.c.sample == samples.c.key)
    query = with_them(query, vectors, outer=True).where(lacks(vectors, job.fingerprint))
    query = rows.unexpired(connection, query, expired_by)
    if since < 0:  # a sum, as in rows.py: by key
        return query.where(samples.c.gallery + 0 == gallery_of(connection))
    return query.where(rows.inside(connection), samples.c.revision > since)


def _any_lacking(
    connection: sa.Connection, job: Job, since: int, expired_by: datetime | None, until: int | None = None
) -> bool:
    """Tell whether a sample lacks one that is newer than a revision, and not newer than another one."""
    vectors = other(connection)
    query = with_them(sa.select(samples.c.key), vectors, outer=True)
    query = query.where(rows.inside(connection), samples.c.revision > since, lacks(vectors, job.fingerprint))
    query = rows.unexpired(connection, query, expired_by)
    if until is not None:
        query = query.where(samples.c.revision <= until)
    return connection.execute(query.limit(1)).first() is not None


def _with_faces(connection: sa.Connection, keys: Sequence[int]) -> list[Lacking]:
    columns = samples.c.key, samples.c.revision, samples.c.sample_id, faces.c.face
    query = sa.select(*columns).join(faces, faces.c.sample == samples.c.key).order_by(samples.c.key)
    read = []
    for row in connection.execute(query.where(samples.c.key.in_(keys))):
        try:
            if (face := face_of(connection, row)) is not None:
                read.append(Lacking(row.key, row.revision, row.sample_id, face))
        except DamagedGallery:
            continue
    return read


def _store(
    gallery: Gallery,
    connection: sa.Connection,
    job: Job,
    made: Sequence[tuple[Lacking, NDArray[np.float32]]],
) -> None:
    values = [
        {
            "at": each.key,
            "seen": each.revision,
            "encoded": gallery.encoded(connection, vector, each.id, job.fingerprint),
            "model": job.fingerprint,
        }
        for each, vector in made
    ]
    if not values:
        return
    if not other(connection).second:
        connection.execute(_FIRST, values)
        return
    # None is there, but that of another model would be in the way.
    theirs = second_vectors.c.sample.in_([each.key for each, _ in made])
    foreign = second_vectors.c.fingerprint != job.fingerprint
    connection.execute(second_vectors.delete().where(theirs, foreign))
    connection.execute(_SECOND, values)
