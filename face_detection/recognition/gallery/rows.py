"""Rows of the tables, read, counted, stored and removed on a connection; the caller gives the transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from recognition.errors import GalleryUnavailable
from recognition.faces import Sample
from recognition.gallery import persons, tables
from recognition.gallery.clock import Trust
from recognition.gallery.database import portions
from recognition.gallery.tables import (
    DEFAULT,
    SAMPLES,
    STATE,
    VERSION,
    State,
    expired,
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
    "person",
    "spelling",
    "metadata",
    "action",
    "vector",
    "fingerprint",
    "modified",
    "revision",
    "expires_at",
    "quality",
    "picture",
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
    return query if expired_by is None else query.where(~expired(expired_by))


def of_id(sample_id: str) -> sa.ColumnElement[bool]:
    """Tell the sample with this id."""
    return sa.and_(samples.c.gallery == DEFAULT, samples.c.sample_id == sample_id)


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
        number -= connection.execute(query.where(expired(expired_by))).scalar_one()
    return number


def any_sample(connection: sa.Connection, expired_by: datetime | None = None) -> bool:
    """Tell whether there is one that has not expired."""
    return connection.execute(unexpired(sa.select(samples.c.key), expired_by).limit(1)).first() is not None


def known(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Any]:
    """Return `key`, `person` and `modified` of those of these samples that are there."""
    columns = samples.c.sample_id, samples.c.key, samples.c.person, samples.c.modified
    query = sa.select(*columns).where(samples.c.gallery == DEFAULT)
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
        for row in connection.execute(SAMPLES.where(samples.c.key.in_(some)))
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


def remove(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Remove the samples that meet a condition, leave a tombstone for each, and forget those of long ago.

    People go with their last sample, unless they were made by hand. Returns the ids of the samples.
    """
    # Sorted here: asked to sort, SQLite goes through all samples by key instead of using an index.
    removed = connection.execute(sa.select(samples.c.key, samples.c.sample_id, samples.c.person).where(which))
    rows = sorted(removed, key=lambda row: row.key)
    if rows:
        revision = next_revision(connection)
        keys = sa.select(samples.c.key, sa.literal(revision, sa.BigInteger)).where(which)
        connection.execute(tombstones.insert().from_select(["key", "revision"], keys))
        connection.execute(samples.delete().where(which))
        if (oldest := revision - DELETIONS_KEPT) > 0:
            connection.execute(tombstones.delete().where(tombstones.c.revision <= oldest))
            forgotten = state.c.complete_since < oldest
            connection.execute(state.update().where(forgotten).values(complete_since=oldest))
        persons.remove_emptied(connection, {row.person for row in rows})
    return [row.sample_id for row in rows]
