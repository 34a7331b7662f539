"""What tells whether vectors are encrypted, and with which key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column, empty: vectors are plain."""
    op.add_column("gallery_state", sa.Column("key_check", sa.LargeBinary))
