"""Room for a second vector of each sample, of another model; samples of before have none.

No row is changed, so that a large gallery need not wait.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR

revision = "0011"
down_revision = "0010"

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make the tables, and what a gallery says of its two kinds of vectors."""
    for name, kind in (("model", sa.Text), ("other_model", sa.Text), ("other_fingerprint", sa.Text)):
        op.add_column("galleries", sa.Column(name, kind))
    op.add_column("galleries", sa.Column("other_indexed", sa.Integer))
    op.add_column("galleries", sa.Column("second", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "second_vectors",
        sa.Column(
            "sample",
            KEY,
            sa.ForeignKey("samples.key", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("gallery", KEY, nullable=False),
        sa.Column("vector", sa.LargeBinary().with_variant(VECTOR(), "postgresql"), nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
    )
    op.create_index("second_vectors_by_gallery", "second_vectors", ["gallery"])
    op.create_table(
        "changes",
        sa.Column(
            "gallery",
            KEY,
            sa.ForeignKey("galleries.key", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("without_face", sa.Text, nullable=False),
        sa.Column("worker", sa.Text),
        sa.Column("unattended", sa.Boolean, nullable=False),
        sa.Column("beat", sa.DateTime, nullable=False),
        sa.Column("trouble", sa.Text),
    )
