"""Unknown people and their faces, where those are kept; nobody is known so far. No row is changed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables, and the revision of what is in them."""
    revision_of_all = sa.Column("unknowns_revision", sa.BigInteger, nullable=False, server_default="0")
    op.add_column("galleries", revision_of_all)
    op.create_table(
        "unknowns",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("gallery", KEY, sa.ForeignKey("galleries.key"), nullable=False),
        sa.Column("unknown_id", ID, nullable=False),
        sa.Column("ignored", sa.Boolean, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sums", sa.LargeBinary, nullable=False),
        sa.Column("typicality", sa.Double, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("until", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("unknowns_by_id", "unknowns", ["gallery", "unknown_id"], unique=True)
    op.create_index("unknowns_by_size", "unknowns", ["gallery", "size"])
    op.create_index("unknowns_by_revision", "unknowns", ["gallery", "revision"])
    op.create_table(
        "unknown_faces",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("gallery", KEY, nullable=False),
        sa.Column("unknown", KEY, sa.ForeignKey("unknowns.key", ondelete="CASCADE"), nullable=False),
        sa.Column("face_id", ID, nullable=False),
        sa.Column("mark", sa.LargeBinary, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("quality", sa.Double, nullable=False),
        sa.Column("face", sa.LargeBinary),
        sa.Column("camera", sa.Text),
        sa.Column("seen", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_unknown_faces_unknown", "unknown_faces", ["unknown"])
    op.create_index("unknown_faces_by_mark", "unknown_faces", ["gallery", "mark"])
    op.create_index("unknown_faces_by_expiry", "unknown_faces", ["gallery", "expires_at"])
