"""What tells whether a clock is to be believed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; the last change of a sample is the last moment that is known to have been."""
    op.add_column("gallery_state", sa.Column("clock_seen", sa.DateTime))
    op.add_column("gallery_state", sa.Column("clock_claimed", sa.DateTime))
    op.add_column("gallery_state", sa.Column("clock_held_s", sa.Double, nullable=False, server_default="0"))
    op.execute("UPDATE gallery_state SET clock_seen = (SELECT max(modified) FROM samples)")
