"""An index by name, for counting and listing the samples of one person."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make it: a hash in PostgreSQL, whose b-trees have no room for long names."""
    op.create_index("samples_by_name", "samples", ["name"], postgresql_using="hash")
