"""Rows of the tables, read, counted, stored and removed on a connection; the caller gives the transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recognition.errors import GalleryUnavailable
from recognition.faces import Sample
from recognition.gallery import tables
from recognition.gallery.clock import Trust
from recognition.gallery.database import portions
from recognition.gallery.tables import (
    SAMPLE_COLUMNS,
    STATE,
    VERSION,
    State,
    sample_of,
    samples,
    state,
    tombstones,
)

# Revisions whose tombstones are kept. A worker looks at least once a minute, in which fewer changes can be
# synced to disk; one that missed some reads all vectors anew.
DELETIONS_KEPT = 100_000

# What a sample that comes again replaces; it keeps its key, its id and `created`.
REPLACED = (
    "name",
    "name_key",
    "metadata",
    "action",
    "vector",
    "fingerprint",
    "modified",
    "revision",
    "expires_at",
)


def state_of(connection: sa.Connection) -> State:
    """Return the state of the gallery.

    Raises:
        GalleryUnavailable: the tables are not those that this version of the program knows.
    """
    current = tables.state_of(connection.execute(STATE).one())
    if current.version != VERSION:
        raise GalleryUnavailable(
            "Another version of this program has changed the gallery's tables; update this one, too."
        )
    return current


def next_revision(connection: sa.Connection) -> int:
    """Raise the revision, and return it."""
    raised = state.update().values(revision=state.c.revision + 1).returning(state.c.revision)
    revision: int = connection.execute(raised).scalar_one()
    return revision


def note(connection: sa.Connection, trust: Trust) -> None:
    """Store what is known of the time."""
    known = {"clock_seen": trust.seen, "clock_claimed": trust.claimed}
    connection.execute(state.update().values(**known, clock_held_s=trust.held.total_seconds()))


def unexpired(query: sa.Select[Any], expired_by: datetime | None) -> sa.Select[Any]:
    """Leave out the samples that have expired by a moment; None: there are none."""
    if expired_by is None:
        return query
    return query.where(sa.or_(samples.c.expires_at.is_(None), samples.c.expires_at > expired_by))


def count(
    connection: sa.Connection,
    which: sa.ColumnElement[bool] | None = None,
    expired_by: datetime | None = None,
) -> int:
    """Return the number of samples, or of those that meet a condition, without the expired ones."""
    query = sa.select(sa.func.count()).select_from(samples)
    if which is not None:
        query = query.where(which)
    number = connection.execute(query).scalar_one()
    if expired_by is not None:  # they are few, and have an index
        number -= connection.execute(query.where(samples.c.expires_at <= expired_by)).scalar_one()
    return number


def any_sample(connection: sa.Connection, expired_by: datetime | None = None) -> bool:
    """Tell whether there is one that has not expired."""
    return connection.execute(unexpired(sa.select(samples.c.key), expired_by).limit(1)).first() is not None


def known(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Any]:
    """Return `key` and `modified` of those of these samples that are there."""
    query = sa.select(samples.c.sample_id, samples.c.key, samples.c.modified)
    return {
        row.sample_id: row
        for some in portions(ids)
        for row in connection.execute(query.where(samples.c.sample_id.in_(some)))
    }


def samples_of(connection: sa.Connection, keys: Collection[int]) -> dict[int, Sample]:
    """Return the samples with these keys."""
    return {
        row.key: sample_of(row)
        for some in portions(sorted(keys))
        for row in connection.execute(sa.select(*SAMPLE_COLUMNS).where(samples.c.key.in_(some)))
    }


def store(
    connection: sa.Connection, values: Sequence[Mapping[str, Any]], stored: Mapping[str, Any]
) -> tuple[int, int]:
    """Store rows of `samples`.

    Args:
        values: of the columns, but for the key, a row each.
        stored: those of their ids that are there already, and what `known` returns of them.

    Returns:
        How many were new, and how many were replaced.
    """
    new = [row for row in values if row["sample_id"] not in stored]
    replaced = [
        {"known_key": stored[row["sample_id"]].key, **{name: row[name] for name in REPLACED}}
        for row in values
        if row["sample_id"] in stored
    ]
    if new:
        connection.execute(samples.insert(), new)
    if replaced:
        columns: Any = {name: sa.bindparam(name) for name in REPLACED}
        by_key = samples.update().where(samples.c.key == sa.bindparam("known_key"))
        connection.execute(by_key.values(columns), replaced)
    return len(new), len(replaced)


def keep_spellings(connection: sa.Connection, revision: int) -> None:
    """Spell the names that were stored in this revision as the oldest sample of the same name does."""
    older = samples.alias()
    first = (
        sa.select(older.c.name)
        .where(older.c.name_key == samples.c.name_key, older.c.revision < revision)
        .order_by(older.c.key + 0)  # which no index has: PostgreSQL would go through all samples by key
        .limit(1)
        .scalar_subquery()
    )
    which = samples.c.revision == revision, samples.c.name != first
    connection.execute(samples.update().where(*which).values(name=first))


def remove(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Remove the samples that meet a condition, leave a tombstone for each, and forget those of long ago.

    Returns their ids.
    """
    # Sorted here: asked to sort, SQLite goes through all samples by key instead of using an index.
    removed = connection.execute(sa.select(samples.c.key, samples.c.sample_id).where(which))
    ids = [row.sample_id for row in sorted(removed, key=lambda row: row.key)]
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
