"""Services of CompreFace's kind: what the keys of its clients open. Of the keys only digests are known."""

from __future__ import annotations

import re
import uuid
from datetime import UTC
from typing import Any

import sqlalchemy as sa

from recognition.client_keys import ClientService, Kind
from recognition.errors import ServiceExists
from recognition.gallery import galleries as all_galleries
from recognition.gallery.store import Gallery
from recognition.gallery.tables import DEFAULT_NAME, applications, galleries, naive_utc, services
from serving.errors import NotFound

FITS_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")  # of what a gallery's name may hold; see serving/keys.py
LONGEST = 56  # characters of such a name, of 64, so that a number has room behind it

SERVICES = sa.select(
    services.c.service_id,
    services.c.name,
    services.c.kind,
    galleries.c.name.label("gallery"),
    services.c.take_all,
    applications.c.app_id,
    services.c.created,
    services.c.guessable,
).select_from(services.outerjoin(galleries).outerjoin(applications))
_FOUND = SERVICES.where(services.c.digest == sa.bindparam("presented"))


def listed(gallery: Gallery, *, app: str | None = None) -> list[ClientService]:
    """Return the services in the order in which they were made.

    Args:
        gallery: one of the database.
        app: only those of the application with this id; None: all.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    query = SERVICES.order_by(services.c.key)
    if app is not None:
        query = query.where(applications.c.app_id == app)
    with gallery.of(DEFAULT_NAME).reading() as (connection, _):
        return [_service_of(row) for row in connection.execute(query)]


def find(gallery: Gallery, digest: bytes) -> ClientService | None:
    """Return the service that a key opens, or None.

    Args:
        gallery: one of the database.
        digest: of the key, as `client_keys.digest` makes it.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.of(DEFAULT_NAME).reading() as (connection, _):
        row = connection.execute(_FOUND, {"presented": digest}).first()
    return None if row is None else _service_of(row)


def add(
    gallery: Gallery,
    name: str,
    kind: Kind,
    digest: bytes,
    *,
    guessable: bool = False,
    take_all: bool = False,
    app: str | None = None,
    gallery_name: str | None = None,
) -> ClientService:
    """Let a key open a new service.

    Args:
        gallery: one of the database.
        name: that no other service of the application has.
        kind: what it does.
        digest: of its key, as `client_keys.digest` makes it.
        guessable: whether others can guess the key.
        take_all: whether it enrols faces however poor they are.
        app: the id of the application that it is in; None: it is in none.
        gallery_name: of a recognition service's gallery, as bounds.py allows it, which is made if need be.
            None: a new one, called as the service is, as far as a gallery can be, with a number behind it if
            that name is taken. The other kinds get none.

    Raises:
        ServiceExists: there is one with this key, or with this name in this application.
        NotFound: there is no such application.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    service_id, created = str(uuid.uuid4()), gallery.now()
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        if connection.execute(_FOUND, {"presented": digest}).first() is not None:
            raise ServiceExists("There is a service with this key already.")
        app_key = None if app is None else application_key(connection, app)
        _check_name(connection, name, app_key)
        place, made = None, False
        if kind == "recognition":
            gallery_name = gallery_name or _free_name(connection, name)
            named = sa.select(galleries.c.key).where(galleries.c.name == gallery_name)
            place = connection.execute(named).scalar()
            if made := place is None:
                place = all_galleries.insert(connection, gallery_name, created)
        else:
            gallery_name = None
        connection.execute(
            services.insert().values(
                service_id=service_id,
                name=name,
                kind=kind,
                digest=digest,
                guessable=guessable,
                gallery=place,
                take_all=take_all,
                application=app_key,
                created=naive_utc(created),
            )
        )
        where = {} if gallery_name in (None, DEFAULT_NAME) else {"gallery": gallery_name}
        if made:
            begin("make_gallery", [], **where)
        begin("add_service", [], service=service_id, **where)
    return ClientService(service_id, name, kind, gallery_name, take_all, app, created, guessable)


def rename(gallery: Gallery, service_id: str, name: str) -> ClientService:
    """Give a service another name; it keeps its gallery, and that its name.

    Raises:
        NotFound: there is no such service.
        ServiceExists: its application has another one with this name.
        GalleryUnavailable, AuditUnavailable: as `add` does.
    """
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        row = _row(connection, service_id)
        if row.name != name:
            _check_name(connection, name, row.application)
        changed = services.update().where(services.c.key == row.key).values(name=name)
        connection.execute(changed)
        begin("change_service", [], service=service_id)
        return _of_key(connection, row.key)


def change_key(gallery: Gallery, service_id: str, digest: bytes, *, guessable: bool = False) -> ClientService:
    """Let another key open a service, instead of the one before.

    Raises:
        NotFound: there is no such service.
        ServiceExists: another one has this key.
        GalleryUnavailable, AuditUnavailable: as `add` does.
    """
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        row = _row(connection, service_id)
        other = connection.execute(_FOUND, {"presented": digest}).first()
        if other is not None and other.service_id != service_id:
            raise ServiceExists("There is a service with this key already.")
        changed = services.update().where(services.c.key == row.key)
        connection.execute(changed.values(digest=digest, guessable=guessable))
        begin("change_service", [], service=service_id)
        return _of_key(connection, row.key)


def remove(gallery: Gallery, service_id: str) -> None:
    """Remove a service: its key opens nothing any more. Its gallery stays, with all that is in it.

    Raises:
        NotFound: there is no such service.
        GalleryUnavailable, AuditUnavailable: as `add` does.
    """
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        connection.execute(services.delete().where(services.c.key == _row(connection, service_id).key))
        begin("remove_service", [], service=service_id)


def application_key(connection: sa.Connection, app_id: str) -> int:
    """Return the key of the application with this id.

    Raises:
        NotFound: there is none.
    """
    query = sa.select(applications.c.key).where(applications.c.app_id == app_id)
    key: int | None = connection.execute(query).scalar()
    if key is None:
        raise NotFound("There is no application with this id.")
    return key


def _row(connection: sa.Connection, service_id: str) -> Any:
    columns = services.c.key, services.c.name, services.c.application
    row = connection.execute(sa.select(*columns).where(services.c.service_id == service_id)).first()
    if row is None:
        raise NotFound("There is no service with this id.")
    return row


def _of_key(connection: sa.Connection, key: int) -> ClientService:
    return _service_of(connection.execute(SERVICES.where(services.c.key == key)).one())


def _service_of(row: Any) -> ClientService:
    return ClientService(
        row.service_id,
        row.name,
        row.kind,
        row.gallery,
        row.take_all,
        row.app_id,
        row.created.replace(tzinfo=UTC),
        row.guessable,
    )


def _check_name(connection: sa.Connection, name: str, app_key: int | None) -> None:
    # `IS` and not `=`: those of no application are held against each other, too.
    beside = services.c.application.is_not_distinct_from(app_key)
    if connection.execute(sa.select(services.c.key).where(beside, services.c.name == name)).first():
        raise ServiceExists("There is a service with this name already.")


def _free_name(connection: sa.Connection, name: str) -> str:
    """Return a name that no gallery has yet, like that of a service."""
    base = FITS_NO_NAME.sub("-", name)[:LONGEST].strip(".-") or "service"
    alike = sa.select(galleries.c.name).where(galleries.c.name.startswith(base, autoescape=True))
    taken = set(connection.execute(alike).scalars())
    number = 1
    while (candidate := base if number == 1 else f"{base}-{number}") in taken:
        number += 1
    return candidate
