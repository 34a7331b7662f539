"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR

from recognition.errors import GalleryUnavailable

revision = "0001"
down_revision = None

PGVECTOR = (0, 8)  # the first with iterative index scans


def upgrade() -> None:
    """Make them."""
    if op.get_context().dialect.name == "postgresql":
        _prepare_postgresql(op.get_bind())
    op.create_table(
        "samples",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column(
            "sample_id",
            sa.Text().with_variant(sa.Text(collation="C"), "postgresql"),
            nullable=False,
            unique=True,
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("action", sa.Text),
        sa.Column("vector", sa.LargeBinary().with_variant(VECTOR(), "postgresql"), nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("modified", sa.DateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False, index=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tombstones",
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.BigInteger, nullable=False, index=True),
    )
    state = op.create_table(
        "gallery_state",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("complete_since", sa.BigInteger, nullable=False),
        sa.Column("fingerprint", sa.Text),
    )
    op.bulk_insert(state, [{"id": 1, "revision": 0, "complete_since": 0}])


def _prepare_postgresql(connection: sa.Connection) -> None:
    if connection.scalar(sa.text("SHOW server_encoding")) != "UTF8":
        raise GalleryUnavailable("The database's encoding is not UTF8; make one with ENCODING 'UTF8'.")
    try:
        connection.execute(sa.text("CREATE EXTENSION IF NOT EXISTS vector"))
    except sa.exc.DBAPIError as e:
        raise GalleryUnavailable(
            "The PostgreSQL server lacks the extension pgvector, or this user may not create it."
        ) from e
    found = connection.scalar(sa.text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    if tuple(int(number) for number in str(found).split(".")[:2]) < PGVECTOR:
        raise GalleryUnavailable(f"The PostgreSQL extension pgvector is {found}; 0.8 or newer is needed.")
