"""Names in one form, and what tells which of them are the same."""

from __future__ import annotations

import logging

import sqlalchemy as sa
from alembic import op

from recognition.names import key_of, stored, unnamed

revision = "0005"
down_revision = "0004"

ROWS_AT_ONCE = 1000

log = logging.getLogger(__name__)


def upgrade() -> None:
    """Normalise the names, and add their keys and an index of these in the place of that of the names.

    What cannot be seen becomes `unnamed (ID)`; of names that are the same the first spelling stays.
    """
    connection = op.get_bind()
    # SQLite adds a column that is never null only with a default, and cannot take that away again.
    op.add_column("samples", sa.Column("name_key", sa.Text, nullable=False, server_default=""))
    op.drop_index("samples_by_name", "samples")
    on_postgresql = connection.dialect.name == "postgresql"
    by_vector = None
    if on_postgresql:
        op.alter_column("samples", "name_key", server_default=None)
        by_vector = connection.scalar(
            sa.text("SELECT pg_get_indexdef(to_regclass('samples_by_vector')::oid)")
        )
        if (
            by_vector is not None
        ):  # each row that changes would take its place in it anew: hours, for a million
            op.drop_index("samples_by_vector", "samples")
    changed, invisible = _normalise(connection)
    op.create_index("samples_by_name_key", "samples", ["name_key"], postgresql_using="hash")
    changed += _spell_alike(connection)
    if by_vector is not None:
        connection.exec_driver_sql(by_vector)
    if changed:
        log.info(
            "normalised the names of %d samples; %d could not be seen, and became `unnamed (ID)`",
            changed,
            invisible,
        )


def _normalise(connection: sa.Connection) -> tuple[int, int]:
    """Bring each name into the form it is stored in now. Returns how many changed, and could not be seen."""
    rows = sa.text("SELECT key, sample_id, name FROM samples WHERE key > :after ORDER BY key LIMIT :rows")
    update = sa.text("UPDATE samples SET name = :name, name_key = :name_key WHERE key = :key")
    after, changed, invisible = -1, 0, 0
    while batch := connection.execute(rows, {"after": after, "rows": ROWS_AT_ONCE}).all():
        names = {row.key: stored(row.name, row.sample_id) for row in batch}
        renamed = [row for row in batch if names[row.key] != row.name]
        changed += len(renamed)
        invisible += sum(names[row.key] == unnamed(row.sample_id) for row in renamed)
        connection.execute(
            update, [{"key": key, "name": name, "name_key": key_of(name)} for key, name in names.items()]
        )
        after = batch[-1].key
    return changed, invisible


def _spell_alike(connection: sa.Connection) -> int:
    """Give the same names the spelling of the first of them. Returns how many changed."""
    several = sa.text("SELECT min(key) FROM samples GROUP BY name_key HAVING min(name) != max(name)")
    alike = sa.text("UPDATE samples SET name = :name WHERE name != :name AND name_key = :name_key")
    changed = 0
    for key in connection.execute(several).scalars().all():
        first = sa.text("SELECT name, name_key FROM samples WHERE key = :key")
        row = connection.execute(first, {"key": key}).one()
        changed += connection.execute(alike, row._asdict()).rowcount
    return changed
