"""Runs the migrations. Apart from the rest of the package because importing Alembic takes time."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from recognition.errors import GalleryUnavailable
from recognition.gallery.migrations import version

UNVERSIONED = "0001"  # what the tables were before they had versions


def upgrade(connection: sa.Connection) -> str | None:
    """Bring the database to the newest version, within the caller's transaction.

    Returns:
        The version that it had; None: it had no tables.

    Raises:
        GalleryUnavailable: a newer version of this program made the database, or it lacks what is needed.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # many rows take their time
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    before = version(connection)
    if before is None and sa.inspect(connection).has_table("samples"):
        before = UNVERSIONED
        command.stamp(config, before)
    elif before is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(before)
        except CommandError as e:
            raise GalleryUnavailable(
                f"A newer version of this program made the database (its tables are version {before}); "
                "install that version, or name another database."
            ) from e
    by_vector = _index_of_vectors(connection)
    if by_vector is not None:
        # Each row that a migration changes would take its place in it anew: hours, for a million.
        connection.exec_driver_sql("DROP INDEX samples_by_vector")
    command.upgrade(config, "head")
    if by_vector is not None:
        connection.exec_driver_sql(by_vector)
    return before


def _index_of_vectors(connection: sa.Connection) -> str | None:
    """Return the statement that makes PostgreSQL's index of vectors; None: there is none."""
    if connection.dialect.name != "postgresql":
        return None
    definition = sa.text("SELECT pg_get_indexdef(to_regclass('samples_by_vector')::oid)")
    statement: str | None = connection.execute(definition).scalar()
    return statement
