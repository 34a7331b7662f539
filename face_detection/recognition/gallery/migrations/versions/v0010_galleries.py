"""What each gallery has for itself: its revision, its model, its index of vectors."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
EXPIRES = sa.text("expires_at IS NOT NULL")


def upgrade() -> None:
    """Give `default` what the database had as a whole, and let the indexes begin with the gallery.

    Tombstones are forgotten: no process of an older version goes on with these tables, so nobody needs them.
    """
    for name in ("revision", "complete_since"):
        op.add_column("galleries", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("galleries", sa.Column("fingerprint", sa.Text))
    op.add_column("galleries", sa.Column("indexed", sa.Integer))
    op.execute(
        "UPDATE galleries SET revision = (SELECT revision FROM gallery_state),"
        " complete_since = (SELECT revision FROM gallery_state),"
        " fingerprint = (SELECT fingerprint FROM gallery_state)"
    )
    for name in ("revision", "complete_since", "fingerprint"):
        op.drop_column("gallery_state", name)
    op.drop_table("tombstones")
    op.create_table(
        "tombstones",
        sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("gallery", KEY, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
    )
    op.create_index("tombstones_by_revision", "tombstones", ["gallery", "revision"])
    op.drop_index("ix_samples_revision", "samples")
    op.create_index("samples_by_revision", "samples", ["gallery", "revision"])
    for table in ("samples", "persons"):
        op.drop_index(f"{table}_by_expiry", table)
        op.create_index(
            f"{table}_by_expiry",
            table,
            ["gallery", "expires_at"],
            sqlite_where=EXPIRES,
            postgresql_where=EXPIRES,
        )
