"""Runs the migrations. Apart from the rest of the package because importing Alembic takes time."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from recognition.errors import GalleryUnavailable
from recognition.gallery.migrations import FIRST, version
from recognition.gallery.tables import DEFAULT_KEY
from recognition.gallery.vector_indexes import INDEXED

LAST_TO_CHANGE_ROWS = "0010"  # of the versions; those after it leave all samples as they are
# An index of before there were galleries: it has no WHERE.
OF_ALL_ROWS = re.compile(r"vector\((\d+)\)(?!.*\bWHERE\b)")


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
        before = FIRST
        command.stamp(config, before)
    elif before is not None:
        try:
            ScriptDirectory.from_config(config).get_revision(before)
        except CommandError as e:
            raise GalleryUnavailable(
                f"A newer version of this program made the database (its tables are version {before}); "
                "install that version, or name another database."
            ) from e
    by_vector = _indexes_of_vectors(connection) if (before or "") < LAST_TO_CHANGE_ROWS else {}
    for name in by_vector:
        # Each row that a migration changes would take its place in it anew: hours, for a million.
        connection.exec_driver_sql(f"DROP INDEX {name}")
    command.upgrade(config, "head")
    for definition in by_vector.values():
        if (dimension := OF_ALL_ROWS.search(definition)) is not None:
            of_default = {"gallery": DEFAULT_KEY, "dimension": int(dimension[1])}
            definition = f"{definition} WHERE {INDEXED.format(**of_default)}"
            noted = sa.text("UPDATE galleries SET indexed = :dimension WHERE key = :gallery")
            connection.execute(noted, of_default)
        connection.exec_driver_sql(definition)
    return before


def _indexes_of_vectors(connection: sa.Connection) -> dict[str, str]:
    """Return the statements that make PostgreSQL's indexes of vectors, by their names."""
    if connection.dialect.name != "postgresql":
        return {}
    indexes = connection.execute(
        sa.text(
            "SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition"
            " FROM pg_index WHERE indrelid = to_regclass('samples')"
            " AND indexrelid::regclass::text LIKE 'samples_by_vector%'"
        )
    )
    return {index.name: index.definition for index in indexes}
