"""Applications, in which CompreFace's administrators put services."""

from __future__ import annotations

import uuid
from datetime import UTC
from typing import Any

import sqlalchemy as sa

from recognition.errors import ServiceExists
from recognition.gallery.services import application_key
from recognition.gallery.store import Gallery
from recognition.gallery.tables import DEFAULT_NAME, applications, naive_utc, services
from recognition.results import Application

APPLICATIONS = sa.select(applications.c.app_id, applications.c.name, applications.c.created)


def listed(gallery: Gallery) -> list[Application]:
    """Return the applications in the order in which they were made.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.of(DEFAULT_NAME).reading() as (connection, _):
        return [_application_of(row) for row in connection.execute(APPLICATIONS.order_by(applications.c.key))]


def get(gallery: Gallery, app_id: str) -> Application:
    """Return one application.

    Raises:
        NotFound: there is none with this id.
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.of(DEFAULT_NAME).reading() as (connection, _):
        key = application_key(connection, app_id)
        return _application_of(connection.execute(APPLICATIONS.where(applications.c.key == key)).one())


def make(gallery: Gallery, name: str) -> Application:
    """Make an application without services.

    Raises:
        ServiceExists: there is one with this name.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    made = Application(str(uuid.uuid4()), name, gallery.now())
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        _check_name(connection, name)
        values = {"app_id": made.id, "name": name, "created": naive_utc(made.created)}
        connection.execute(applications.insert().values(values))
        begin("make_application", [], application=made.id)
    return made


def rename(gallery: Gallery, app_id: str, name: str) -> Application:
    """Give an application another name.

    Raises:
        NotFound: there is none with this id.
        ServiceExists: another one has the name.
        GalleryUnavailable, AuditUnavailable: as `make` does.
    """
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        this = applications.c.key == application_key(connection, app_id)
        if connection.execute(sa.select(applications.c.name).where(this)).scalar_one() != name:
            _check_name(connection, name)
        connection.execute(applications.update().where(this).values(name=name))
        begin("change_application", [], application=app_id)
        return _application_of(connection.execute(APPLICATIONS.where(this)).one())


def remove(gallery: Gallery, app_id: str) -> None:
    """Remove an application with its services; their galleries stay.

    Raises:
        NotFound: there is none with this id.
        GalleryUnavailable, AuditUnavailable: as `make` does.
    """
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        key = application_key(connection, app_id)
        inside = services.delete().where(services.c.application == key)
        closed = connection.execute(inside.returning(services.c.service_id)).scalars().all()
        connection.execute(applications.delete().where(applications.c.key == key))
        begin("remove_application", [], application=app_id, services=closed)


def _check_name(connection: sa.Connection, name: str) -> None:
    if connection.execute(sa.select(applications.c.key).where(applications.c.name == name)).first():
        raise ServiceExists("There is an application with this name already.")


def _application_of(row: Any) -> Application:
    return Application(row.app_id, row.name, row.created.replace(tzinfo=UTC))
