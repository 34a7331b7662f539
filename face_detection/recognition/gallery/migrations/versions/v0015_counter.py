"""How many samples and people each gallery has, so that nobody need count them. No sample is touched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Count them this once."""
    for column, table in (("samples", "samples"), ("people", "persons")):
        op.add_column("galleries", sa.Column(column, sa.BigInteger, nullable=False, server_default="0"))
        theirs = f"SELECT count(*) FROM {table} WHERE {table}.gallery = galleries.key"
        op.execute(f"UPDATE galleries SET {column} = ({theirs})")
