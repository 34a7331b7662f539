"""Whether PostgreSQL's indexes of vectors hold 16-bit floats; those that are there do not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add a column for the vectors that are searched, and one for the others."""
    for name in ("half", "other_half"):
        op.add_column("galleries", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
