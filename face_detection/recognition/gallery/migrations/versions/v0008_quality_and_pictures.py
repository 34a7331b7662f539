"""How good the face of a sample was, and of which picture it is; not known of those that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("samples", sa.Column("quality", sa.Double))
    op.add_column("samples", sa.Column("picture", sa.LargeBinary))
