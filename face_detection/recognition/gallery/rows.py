"""Rows of the tables, found, counted and removed on a connection; the caller gives the transaction."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa

from recognition.faces import Sample
from recognition.gallery.database import portions
from recognition.gallery.tables import SAMPLE_COLUMNS, sample_of, samples, state, tombstones

# Revisions whose tombstones are kept. A worker looks at least once a minute, in which fewer changes can be
# synced to disk; one that missed some reads all vectors anew.
DELETIONS_KEPT = 100_000


def next_revision(connection: sa.Connection) -> int:
    """Raise the revision, and return it."""
    raised = state.update().values(revision=state.c.revision + 1).returning(state.c.revision)
    revision: int = connection.execute(raised).scalar_one()
    return revision


def count(connection: sa.Connection, which: sa.ColumnElement[bool] | None = None) -> int:
    """Return the number of samples, or of those that meet a condition."""
    wanted = sa.select(sa.func.count()).select_from(samples)
    return connection.execute(wanted if which is None else wanted.where(which)).scalar_one()


def any_sample(connection: sa.Connection) -> bool:
    """Tell whether there is one."""
    return connection.execute(sa.select(samples.c.key).limit(1)).first() is not None


def known(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Any]:
    """Return `key` and `modified` of those of these samples that are there."""
    wanted = sa.select(samples.c.sample_id, samples.c.key, samples.c.modified)
    return {
        row.sample_id: row
        for some in portions(ids)
        for row in connection.execute(wanted.where(samples.c.sample_id.in_(some)))
    }


def samples_of(connection: sa.Connection, keys: Collection[int]) -> dict[int, Sample]:
    """Return the samples with these keys."""
    return {
        row.key: sample_of(row)
        for some in portions(sorted(keys))
        for row in connection.execute(sa.select(*SAMPLE_COLUMNS).where(samples.c.key.in_(some)))
    }


def remove(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Remove the samples that meet a condition, leave a tombstone for each, and forget those of long ago.

    Returns their ids.
    """
    # Sorted here: asked to sort, SQLite goes through all samples by key instead of using an index.
    found = connection.execute(sa.select(samples.c.key, samples.c.sample_id).where(which))
    ids = [row.sample_id for row in sorted(found, key=lambda row: row.key)]
    if ids:
        revision = next_revision(connection)
        keys = sa.select(samples.c.key, sa.literal(revision, sa.BigInteger)).where(which)
        connection.execute(tombstones.insert().from_select(["key", "revision"], keys))
        connection.execute(samples.delete().where(which))
        oldest = revision - DELETIONS_KEPT
        connection.execute(tombstones.delete().where(tombstones.c.revision <= oldest))
        forgotten = state.c.complete_since < oldest
        connection.execute(state.update().where(forgotten).values(complete_since=oldest))
    return ids
