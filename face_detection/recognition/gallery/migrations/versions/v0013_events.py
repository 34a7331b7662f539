"""Visits that cameras saw, and who it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table; no row of others is changed."""
    op.create_table(
        "events",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("gallery", KEY, sa.ForeignKey("galleries.key"), nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("camera", ID, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("until", sa.DateTime),
        sa.Column("frames", sa.Integer, nullable=False),
        sa.Column("person", KEY, sa.ForeignKey("persons.key", ondelete="CASCADE")),
        sa.Column("sample", KEY, sa.ForeignKey("samples.key", ondelete="SET NULL")),
        sa.Column("unknown", ID),
        sa.Column("distance", sa.Double),
        sa.Column("false_match", sa.Double),
        sa.Column("box", sa.Text, nullable=False),
        sa.Column("quality", sa.Double, nullable=False),
        sa.Column("picture", sa.LargeBinary),
        sa.Column("recorded", sa.DateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("events_by_id", "events", ["gallery", "event_id"], unique=True)
    op.create_index("events_by_time", "events", ["gallery", "since", "event_id"])
    op.create_index("events_by_camera", "events", ["gallery", "camera", "since", "event_id"])
    op.create_index("events_by_person", "events", ["person", "since", "event_id"])
    op.create_index("events_by_sample", "events", ["sample"])
    op.create_index("events_by_age", "events", ["gallery", "recorded"])
