"""The tables, the same in SQLite and in PostgreSQL; migrations/ makes them and changes older ones."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR

from recognition.faces import Sample

VERSION = "0002"  # of the tables below: the newest revision in migrations/versions

# SQLite compares texts by their UTF-8 bytes, which is the order of code points; so does PostgreSQL's "C".
Id = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows itself in INTEGER columns only
# Little-endian float32 in SQLite. VECTOR has no dimension here: models differ in it.
Vector = sa.LargeBinary().with_variant(VECTOR(), "postgresql")

metadata = sa.MetaData()

samples = sa.Table(
    "samples",
    metadata,
    # AUTOINCREMENT: a key is never given twice, and a newer sample has a larger key.
    sa.Column("key", Key, primary_key=True, autoincrement=True),
    sa.Column("sample_id", Id, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),  # JSON
    sa.Column("action", sa.Text),
    sa.Column("vector", Vector, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sa.Column("modified", sa.DateTime, nullable=False),  # UTC
    sa.Column("revision", sa.BigInteger, nullable=False, index=True),
    # In PostgreSQL a hash: an entry of a b-tree has at most 2,704 bytes there, and a name has no limit.
    sa.Index("samples_by_name", "name", postgresql_using="hash"),
    sqlite_autoincrement=True,
)

tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False, index=True),
)

state = sa.Table(
    "gallery_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # Rows and tombstones tell every change since this revision; an index that is older starts anew.
    sa.Column("complete_since", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.Text),  # of the vectors in `samples`
)

SAMPLE_COLUMNS = (
    samples.c.key,
    samples.c.sample_id,
    samples.c.name,
    samples.c.metadata,
    samples.c.action,
    samples.c.created,
    samples.c.modified,
)


def sample_of(row: Any) -> Sample:
    """Turn a row of SAMPLE_COLUMNS into a sample."""
    created, modified = row.created.replace(tzinfo=UTC), row.modified.replace(tzinfo=UTC)
    return Sample(row.sample_id, row.name, json.loads(row.metadata), row.action, created, modified)
