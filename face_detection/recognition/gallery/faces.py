"""The pictures that are kept of faces: those of samples shown, and all given up."""

from __future__ import annotations

import logging

import sqlalchemy as sa

from recognition.errors import DamagedGallery
from recognition.faces import KeptFace
from recognition.gallery import rows
from recognition.gallery.database import empty_log
from recognition.gallery.face_rows import face_of
from recognition.gallery.store import Gallery
from recognition.gallery.tables import events, faces, gallery_of, samples, unknown_faces
from serving.errors import NotFound

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1000
OTHERS = events.c.picture, unknown_faces.c.face  # beside those of samples


def get(gallery: Gallery, sample_id: str) -> KeptFace:
    """Return what is kept of the face of a sample.

    Raises:
        NotFound: there is no such sample, or nothing is kept of it, or that is damaged; the log says so.
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.reading() as (connection, current):
        query = sa.select(samples.c.sample_id, faces.c.face).join_from(samples, faces, isouter=True)
        query = query.where(rows.of_id(connection, sample_id))
        query = rows.unexpired(connection, query, current.expired_by)
        row = connection.execute(query).first()
        if row is None:
            raise NotFound("There is no sample with this id.")
        try:
            kept = face_of(connection, row)
        except DamagedGallery as e:
            log.error("sample %r: %s; enrol it again or delete it", sample_id, e.detail)
            raise NotFound("The face that was kept of this sample is damaged.") from e
    if kept is None:
        raise NotFound("No face is kept of this sample.")
    return kept


def forget(gallery: Gallery) -> int:
    """Remove the faces that are kept now, also of visits to cameras and of unknown people.

    Samples, vectors and events stay. Returns how many there were.

    A thousand go in one transaction: SQLite overwrites what it deletes, and 100,000 have gigabytes, for which
    other writers would wait too long.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked. The steps before are done.
        AuditUnavailable: the audit log cannot be written.
    """
    with gallery.audit.outcomes() as begin:
        with gallery.reading() as (connection, _):
            every = sa.select(sa.func.count(), sa.func.max(faces.c.sample)).join_from(faces, samples)
            count, last = connection.execute(every.where(rows.inside(connection))).one()
            others = [(picture, *_pictured(connection, picture)) for picture in OTHERS]
        total = count + sum(number for _, number, _ in others)
        begin("forget", total)
        left = sa.select(faces.c.sample).join(samples).where(faces.c.sample <= (last or 0))
        left = left.order_by(faces.c.sample).limit(ROWS_AT_ONCE)
        removed = count
        while removed:
            with gallery.writing() as (connection, _):
                some = left.where(rows.inside(connection))
                removed = connection.execute(faces.delete().where(faces.c.sample.in_(some))).rowcount
            empty_log(gallery.engine)
        for picture, removed, newest in others:
            table = picture.table
            while removed:
                with gallery.writing() as (connection, _):
                    here = table.c.gallery == gallery_of(connection), table.c.key <= newest
                    some = sa.select(table.c.key).where(*here, picture.is_not(None)).limit(ROWS_AT_ONCE)
                    change = sa.update(table).where(table.c.key.in_(some)).values({picture.name: None})
                    removed = connection.execute(change).rowcount
                empty_log(gallery.engine)
    return int(total)


def _pictured(connection: sa.Connection, picture: sa.Column[bytes]) -> tuple[int, int]:
    """Return how many rows of a table have a picture, and the key of the last one."""
    table = picture.table
    query = sa.select(sa.func.count(), sa.func.max(table.c.key)).select_from(table)
    here = query.where(table.c.gallery == gallery_of(connection), picture.is_not(None))
    number, last = connection.execute(here).one()
    return number, last or 0
