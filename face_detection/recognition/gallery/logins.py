"""Who has registered for CompreFace's admin calls, and logged in. Only digests of secrets are kept."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from recognition.errors import AdministratorExists
from recognition.gallery.database import empty_log
from recognition.gallery.store import Gallery
from recognition.gallery.tables import DEFAULT_NAME, administrators, naive_utc, sessions
from recognition.results import Administrator

ADMINISTRATORS = sa.select(
    administrators.c.user_id,
    administrators.c.email,
    administrators.c.first_name,
    administrators.c.last_name,
    administrators.c.password,
)


@dataclass(frozen=True, slots=True)
class Session:
    """What is known of somebody who has logged in: who has registered, or with which key of API_KEYS.

    api_key: its SHA-256; expires_at: in UTC. One of the first two is None.
    """

    administrator: Administrator | None
    api_key: bytes | None
    expires_at: datetime


def registered(gallery: Gallery) -> tuple[Administrator, str] | None:
    """Return who has registered, and the digest of their password; None: nobody has.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with gallery.of(DEFAULT_NAME).reading() as (connection, _):
        row = connection.execute(ADMINISTRATORS).first()
    return None if row is None else (_administrator_of(row), row.password)


def register(gallery: Gallery, email: str, first_name: str, last_name: str, password: str) -> Administrator:
    """Let somebody log in; the first who registers is the only one.

    Args:
        gallery: one of the database.
        email: by which they log in.
        first_name, last_name: of them.
        password: its digest, slow to make, with all that is needed to check another one against it.

    Raises:
        AdministratorExists: somebody has registered.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    somebody = Administrator(str(uuid.uuid4()), email, first_name, last_name)
    created = naive_utc(gallery.now())
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        if connection.execute(sa.select(administrators.c.key)).first() is not None:
            raise AdministratorExists("Somebody has registered already.")
        connection.execute(
            administrators.insert().values(
                user_id=somebody.id,
                email=email,
                first_name=first_name,
                last_name=last_name,
                password=password,
                created=created,
            )
        )
        begin("register", [], administrator=somebody.id)
    return somebody


def begin_session(
    gallery: Gallery, digest: bytes, expires_at: datetime, *, administrator: str | None, api_key: bytes | None
) -> None:
    """Keep a session, and forget those that are over.

    Args:
        gallery: one of the database.
        digest: of what tells it, which only the client has.
        expires_at: when it ends, in UTC.
        administrator, api_key: who has logged in, as in `Session`, the administrator's id.

    Raises:
        GalleryUnavailable, AuditUnavailable: as `register` does.
    """
    now = naive_utc(gallery.now())
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        connection.execute(sessions.delete().where(sessions.c.expires_at <= now))
        key = sa.select(administrators.c.key).where(administrators.c.user_id == administrator)
        connection.execute(
            sessions.insert().values(
                digest=digest,
                administrator=key.scalar_subquery(),
                api_key=api_key,
                expires_at=naive_utc(expires_at),
            )
        )
        begin("login", [], **({} if administrator is None else {"administrator": administrator}))


def find_session(gallery: Gallery, digest: bytes) -> Session | None:
    """Return the session, unless it is over.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    query = (
        ADMINISTRATORS.add_columns(sessions.c.api_key, sessions.c.expires_at)
        .select_from(sessions.outerjoin(administrators))
        .where(sessions.c.digest == digest, sessions.c.expires_at > naive_utc(gallery.now()))
    )
    with gallery.of(DEFAULT_NAME).reading() as (connection, _):
        row = connection.execute(query).first()
    if row is None:
        return None
    whose = None if row.user_id is None else _administrator_of(row)
    return Session(whose, row.api_key, row.expires_at.replace(tzinfo=UTC))


def end_session(gallery: Gallery, digest: bytes) -> None:
    """Let a session be over; it need not be there.

    Raises:
        GalleryUnavailable, AuditUnavailable: as `register` does.
    """
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        connection.execute(sessions.delete().where(sessions.c.digest == digest))
        begin("logout", [])


def forget(gallery: Gallery) -> int:
    """Remove who has registered, and end all sessions. Returns how many had registered.

    Raises:
        GalleryUnavailable, AuditUnavailable: as `register` does.
    """
    with gallery.of(DEFAULT_NAME).writing() as (connection, begin):
        connection.execute(sessions.delete())
        number: int = connection.execute(administrators.delete()).rowcount
        begin("forget_logins", [])
    empty_log(gallery.engine)
    return number


def _administrator_of(row: Any) -> Administrator:
    return Administrator(row.user_id, row.email, row.first_name, row.last_name)
