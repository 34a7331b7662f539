"""What keys of CompreFace's clients open, and who may make such keys by its admin calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables; no row of others is changed."""
    op.create_table(
        "applications",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("app_id", ID, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "services",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("service_id", ID, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("guessable", sa.Boolean, nullable=False),
        sa.Column("gallery", KEY, sa.ForeignKey("galleries.key")),
        sa.Column("take_all", sa.Boolean, nullable=False),
        sa.Column("application", KEY, sa.ForeignKey("applications.key")),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.CheckConstraint("(kind = 'recognition') = (gallery IS NOT NULL)", name="services_gallery"),
        sqlite_autoincrement=True,
    )
    for column in ("gallery", "application"):
        op.create_index(f"ix_services_{column}", "services", [column])
    op.create_table(
        "administrators",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("user_id", ID, nullable=False, unique=True),
        sa.Column("email", ID, nullable=False, unique=True),
        sa.Column("first_name", sa.Text, nullable=False),
        sa.Column("last_name", sa.Text, nullable=False),
        sa.Column("password", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("administrator", KEY, sa.ForeignKey("administrators.key")),
        sa.Column("api_key", sa.LargeBinary),
        sa.Column("expires_at", sa.DateTime, nullable=False),
        sa.CheckConstraint("(administrator IS NULL) <> (api_key IS NULL)", name="sessions_whose"),
    )
    op.create_index("ix_sessions_administrator", "sessions", ["administrator"])
