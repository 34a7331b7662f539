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

    What cannot be seen becomes `unnamed (ID)`.
    """
    connection = op.get_bind()
    # SQLite adds a column that is never null only with a default, and cannot take that away again.
    op.add_column("samples", sa.Column("name_key", sa.Text, nullable=False, server_default=""))
    op.drop_index("samples_by_name", "samples")
    if connection.dialect.name == "postgresql":
        op.alter_column("samples", "name_key", server_default=None)
    changed, invisible = _normalise(connection)
    op.create_index("samples_by_name_key", "samples", ["name_key"], postgresql_using="hash")
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
