"""When a sample expires."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column, empty, and an index of those that expire."""
    op.add_column("samples", sa.Column("expires_at", sa.DateTime))
    expires = sa.text("expires_at IS NOT NULL")
    op.create_index(
        "samples_by_expiry", "samples", ["expires_at"], sqlite_where=expires, postgresql_where=expires
    )
