"""People whose samples these are, and galleries that they are in."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import VECTOR

from recognition.names import search_key_of

revision = "0007"
down_revision = "0006"

ROWS_AT_ONCE = 1000
DEFAULT = 1

KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ID = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
EXPIRES = sa.text("expires_at IS NOT NULL")


def upgrade() -> None:
    """Make the samples of one name those of one person, whose name is spelt as the first of them has it.

    The samples are copied: SQLite cannot change the constraints of a table that is there, and in PostgreSQL
    it takes no longer than a change of every row, and leaves nothing to vacuum.
    """
    connection = op.get_bind()
    galleries = op.create_table(
        "galleries",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("name", ID, nullable=False, unique=True),
        sa.Column("created", sa.DateTime, nullable=False),
        sqlite_autoincrement=True,
    )
    created = datetime.now(UTC).replace(tzinfo=None)
    connection.execute(galleries.insert().values(name="default", created=created))
    _make_people(connection)
    _copy_samples(connection)


def _make_people(connection: sa.Connection) -> None:
    op.create_table(
        "persons",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("gallery", KEY, sa.ForeignKey("galleries.key"), nullable=False),
        sa.Column("person_id", ID, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("search_key", ID, nullable=False),
        sa.Column("by_hand", sa.Boolean, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("modified", sa.DateTime, nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sa.Column("metadata", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    people = sa.text("""
        INSERT INTO persons
            (gallery, person_id, name, name_key, search_key, by_hand, created, modified, metadata)
        SELECT :gallery, CAST(first.key AS TEXT), first.name, first.name_key, '', :by_hand,
            same.created, same.modified, 'null'
        FROM (
            SELECT min(key) AS key, min(created) AS created, max(modified) AS modified
            FROM samples GROUP BY name_key
        ) AS same JOIN samples AS first ON first.key = same.key ORDER BY first.key
    """).bindparams(sa.bindparam("by_hand", type_=sa.Boolean))
    connection.execute(people, {"gallery": DEFAULT, "by_hand": False})
    rows = sa.text("SELECT key, name FROM persons WHERE key > :after ORDER BY key LIMIT :rows")
    update = sa.text("UPDATE persons SET person_id = :id, search_key = :search_key WHERE key = :key")
    after = 0
    while batch := connection.execute(rows, {"after": after, "rows": ROWS_AT_ONCE}).all():
        made = [
            {"key": row.key, "id": str(uuid.uuid4()), "search_key": search_key_of(row.name)} for row in batch
        ]
        connection.execute(update, made)
        after = batch[-1].key
    op.create_index("persons_by_id", "persons", ["gallery", "person_id"], unique=True)
    op.create_index("persons_by_name", "persons", ["name_key"], postgresql_using="hash")
    op.create_index("persons_by_search", "persons", ["gallery", "search_key", "key"])
    op.create_index(
        "persons_by_expiry", "persons", ["expires_at"], sqlite_where=EXPIRES, postgresql_where=EXPIRES
    )


def _copy_samples(connection: sa.Connection) -> None:
    op.create_table(
        "new_samples",
        sa.Column("key", KEY, primary_key=True, autoincrement=True),
        sa.Column("gallery", KEY, sa.ForeignKey("galleries.key"), nullable=False),
        sa.Column("sample_id", ID, nullable=False),
        sa.Column("person", KEY, sa.ForeignKey("persons.key"), nullable=False),
        sa.Column("spelling", sa.Text),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("action", sa.Text),
        sa.Column("vector", sa.LargeBinary().with_variant(VECTOR(), "postgresql"), nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("created", sa.DateTime, nullable=False),
        sa.Column("modified", sa.DateTime, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime),
        sqlite_autoincrement=True,
    )
    copied = "sample_id, metadata, action, vector, fingerprint, created, modified, revision, expires_at"
    of_sample = ", ".join(f"old.{column}" for column in copied.split(", "))
    connection.execute(
        sa.text(f"""
            INSERT INTO new_samples (key, gallery, person, spelling, {copied})
            SELECT old.key, :gallery, person.key, CASE WHEN old.name <> person.name THEN old.name END,
                {of_sample}
            FROM samples AS old JOIN persons AS person ON person.name_key = old.name_key ORDER BY old.key
        """),
        {"gallery": DEFAULT},
    )
    # A key is never given twice, also not one whose sample is gone.
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = 'new_samples'")
        connection.exec_driver_sql(
            "INSERT INTO sqlite_sequence (name, seq)"
            " SELECT 'new_samples', seq FROM sqlite_sequence WHERE name = 'samples'"
        )
        op.drop_table("samples")
    else:
        connection.exec_driver_sql(
            "SELECT setval(pg_get_serial_sequence('new_samples', 'key'),"
            " nextval(pg_get_serial_sequence('samples', 'key')))"
        )
        op.drop_table("samples")
        connection.exec_driver_sql("ALTER INDEX new_samples_pkey RENAME TO samples_pkey")
        connection.exec_driver_sql("ALTER SEQUENCE new_samples_key_seq RENAME TO samples_key_seq")
    op.rename_table("new_samples", "samples")
    op.create_index("samples_by_id", "samples", ["gallery", "sample_id"], unique=True)
    op.create_index("ix_samples_revision", "samples", ["revision"])
    op.create_index("ix_samples_person", "samples", ["person"])
    op.create_index(
        "samples_by_expiry", "samples", ["expires_at"], sqlite_where=EXPIRES, postgresql_where=EXPIRES
    )
