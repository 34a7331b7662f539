"""The galleries of a database: listed, made and deleted. `Gallery.of` gives one of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import sqlalchemy as sa

from recognition.errors import GalleryExists
from recognition.gallery import persons as rows_of_people
from recognition.gallery import rows
from recognition.gallery.database import empty_log
from recognition.gallery.store import Gallery
from recognition.gallery.tables import DEFAULT_NAME, galleries, gallery_of, naive_utc, persons, services
from recognition.results import GallerySummary
from serving.errors import InvalidRequest, NotFound


def names(gallery: Gallery) -> Sequence[str]:
    """Return the names of all galleries in the database of one, in ascending order.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.of(DEFAULT_NAME).reading() as (connection, _):
        return connection.execute(sa.select(galleries.c.name).order_by(galleries.c.name)).scalars().all()


def listed(gallery: Gallery, *, alone: bool = False) -> list[GallerySummary]:
    """Return how much is in each gallery, by name in ascending order.

    Args:
        gallery: one of the database.
        alone: look at this one only; nothing is returned if it is not there.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    found = []
    for name in [gallery.name] if alone else names(gallery):
        with suppress(NotFound):  # deleted meanwhile
            found.append(_summary(gallery.of(name)))
    return found


def _summary(gallery: Gallery) -> GallerySummary:
    with gallery.reading() as (connection, current):
        own = sa.select(galleries.c.created).where(galleries.c.key == current.gallery)
        created = connection.execute(own).scalar_one().replace(tzinfo=UTC)
        people = rows_of_people.number(connection)
        if current.expired_by is not None:
            every = sa.select(sa.func.count()).select_from(persons).where(rows_of_people.inside(connection))
            every = rows_of_people.unexpired(connection, every, current.expired_by)
            people = connection.execute(every).scalar_one()
        number = rows.count(connection, expired_by=current.expired_by)
        return GallerySummary(gallery.name, number, people, created)


def make(gallery: Gallery, name: str) -> GallerySummary:
    """Make an empty gallery.

    Args:
        gallery: one of the database.
        name: of the new one, as bounds.py allows them.

    Raises:
        GalleryExists: there is one with this name.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    created = gallery.now()
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        if connection.execute(sa.select(galleries.c.key).where(galleries.c.name == name)).first():
            raise GalleryExists("There is a gallery with this name already.")
        insert(connection, name, created)
        begin("make_gallery", [], gallery=name)
    return GallerySummary(name, 0, 0, created)


def insert(connection: sa.Connection, name: str, created: datetime) -> int:
    """Make the row of an empty gallery, in a transaction that writes. Returns its key."""
    row = galleries.insert().values(name=name, created=naive_utc(created)).returning(galleries.c.key)
    key: int = connection.execute(row).scalar_one()
    return key


def delete(gallery: Gallery) -> None:
    """Remove a gallery with all that is in it, and the services whose gallery it is.

    Raises:
        InvalidRequest: it is `default`, which is always there.
        NotFound: it is not there.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    if gallery.name == DEFAULT_NAME:
        raise InvalidRequest("default: this gallery can be emptied, by DELETE /samples, but not removed.")
    with gallery.writing(alone=True) as (connection, begin):
        count = gallery.emptied(connection)
        theirs = services.delete().where(services.c.gallery == gallery_of(connection))
        closed = connection.execute(theirs.returning(services.c.service_id)).scalars().all()
        connection.execute(galleries.delete().where(galleries.c.key == gallery_of(connection)))
        begin("delete_gallery", count, **({"services": closed} if closed else {}))
    gallery.forget()
    empty_log(gallery.engine)
