"""Pictures that are kept of faces; samples of before have none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "faces",
        sa.Column(
            "sample",
            KEY,
            sa.ForeignKey("samples.key", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("face", sa.LargeBinary, nullable=False),
    )
