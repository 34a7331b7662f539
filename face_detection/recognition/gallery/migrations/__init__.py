"""The history of the tables: one file for each version, run by Alembic, forwards only.

A new version is a new file in versions/ and a new VERSION in tables.py; a test holds the two together.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa

from recognition.errors import GalleryUnavailable
from recognition.gallery.database import transaction
from recognition.gallery.tables import VERSION

log = logging.getLogger(__name__)

FIRST = "0001"  # what the tables were before they had versions


def bring_up_to_date(engine: sa.Engine) -> None:
    """Make the tables, or change those of an older version, all or nothing, in one process at a time.

    Raises:
        GalleryUnavailable: the database cannot be reached, is locked, lacks what is needed, or was made by a
            newer version of this program.
    """
    with transaction(engine) as connection:
        if version(connection) == VERSION:
            return
    # Alembic logs a line for each of its parts, even while it is imported.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # Here, since Alembic takes a tenth of a second to import: only a start that needs it pays.
    from recognition.gallery.migrations.upgrade import upgrade

    with transaction(engine, write=True) as connection:
        before = upgrade(connection)
    if before is None:
        log.info("made the gallery's tables")
    elif before != VERSION:  # else another process was quicker
        log.info("brought the gallery's tables from version %s to %s", before, VERSION)


def check(engine: sa.Engine) -> None:
    """Make sure that the tables are of this program's version, and change nothing.

    Raises:
        GalleryUnavailable: they are of an older or newer one; or the database cannot be reached or is locked.
    """
    with transaction(engine) as connection:
        found = version(connection)
    if found != VERSION:
        raise GalleryUnavailable(
            f"The gallery's tables are of version {found or FIRST}, this program's of {VERSION}."
        )


def version(connection: sa.Connection) -> str | None:
    """Return the version that the database says it has, or None."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    number: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return number
