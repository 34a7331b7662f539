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
    command.upgrade(config, "head")
    return before
