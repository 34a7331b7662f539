"""Rows of the tables, read, counted, stored and removed on a connection; the caller gives the transaction.

A transaction is in one gallery, which `enter` notes with the connection; no other rows are seen or changed.
"""

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
    SAMPLES,
    STATE,
    VERSION,
    State,
    expired,
    galleries,
    gallery_of,
    number_expired,
    sample_of,
    samples,
    state,
    tombstones,
)
from serving.errors import NotFound

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


# Put together once: that takes as long as to execute them.
_RAISED = (
    galleries.update()
    .where(galleries.c.key == sa.bindparam("gallery_key"))
    .values(revision=galleries.c.revision + 1)
    .returning(galleries.c.revision)
)
_COUNTED = (
    galleries.update()
    .where(galleries.c.key == sa.bindparam("gallery_key"))
    .values(samples=galleries.c.samples + sa.bindparam("more", type_=sa.BigInteger))
)
_REMOVED = samples.delete().where(samples.c.key.in_(sa.bindparam("keys", expanding=True)))


def enter(connection: sa.Connection, name: str) -> State:
    """Let what follows in the transaction be in the gallery of this name, and return its state.

    Raises:
        NotFound: there is none.
        GalleryUnavailable: the tables are not those that this version of the program knows.
    """
    row = connection.execute(STATE, {"name": name}).first()
    if row is None:
        raise NotFound("There is no gallery with this name.")
    current = tables.state_of(row)
    if current.version != VERSION:
        raise GalleryUnavailable(
            "Another version of this program has changed the gallery's tables; update this one, too."
        )
    connection.execution_options(gallery=current.gallery, second=current.second)
    return current


def next_revision(connection: sa.Connection) -> int:
    """Raise the gallery's revision, and return it."""
    revision: int = connection.execute(_RAISED, {"gallery_key": gallery_of(connection)}).scalar_one()
    return revision


def this_gallery(connection: sa.Connection) -> sa.Update:
    """Begin a change of the row of the gallery."""
    return galleries.update().where(galleries.c.key == gallery_of(connection))


def note(connection: sa.Connection, known: Trust, trust: Trust) -> bool:
    """Store what is known of the time by now, unless somebody has stored something else, or is about to.

    Those who write to other galleries may be, and would be waited for until they have committed.

    known: what was known before.

    Returns whether it is stored.
    """
    seen, claimed = state.c.clock_seen, state.c.clock_claimed
    unchanged = seen.is_not_distinct_from(known.seen), claimed.is_not_distinct_from(known.claimed)
    there = sa.select(state.c.id).where(*unchanged).with_for_update(skip_locked=True)  # SQLite locks all
    anew = {seen: trust.seen, claimed: trust.claimed, state.c.clock_held_s: trust.held.total_seconds()}
    return bool(connection.execute(state.update().where(state.c.id.in_(there)).values(anew)).rowcount)


def unexpired(
    connection: sa.Connection, query: sa.Select[Any], expired_by: datetime | None
) -> sa.Select[Any]:
    """Leave out the samples that have expired by a moment; None: there are none."""
    return query if expired_by is None else query.where(~expired(gallery_of(connection), expired_by))


def inside(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Tell the samples of the gallery."""
    return samples.c.gallery == gallery_of(connection)


def of_id(connection: sa.Connection, sample_id: str) -> sa.ColumnElement[bool]:
    """Tell the sample with this id."""
    return sa.and_(inside(connection), samples.c.sample_id == sample_id)


def _those(connection: sa.Connection, which: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Tell the samples of the gallery that meet a condition.

    A sum, lest a database looks for them by their gallery, in which most may be, instead of by the condition.
    """
    return sa.and_(samples.c.gallery + 0 == gallery_of(connection), which)


def count(
    connection: sa.Connection,
    which: sa.ColumnElement[bool] | None = None,
    expired_by: datetime | None = None,
) -> int:
    """Return the number of samples, or of those that meet a condition, without the expired ones.

    Where all are meant, they are not counted: the gallery's row has their number.
    """
    gallery = gallery_of(connection)
    if which is None:
        query: sa.Select[Any] = sa.select(galleries.c.samples).where(galleries.c.key == gallery)
    else:
        query = sa.select(sa.func.count()).select_from(samples).where(_those(connection, which))
    number: int = connection.execute(query).scalar_one()
    if expired_by is not None:
        gone = number_expired(gallery, expired_by)  # they are few
        if which is not None:
            gone = query.where(expired(gallery, expired_by))
        number -= connection.execute(gone).scalar_one()
    return number


def total(connection: sa.Connection) -> int:
    """Return the number of samples in all galleries of the database, with the expired ones."""
    return sum(connection.execute(sa.select(galleries.c.samples)).scalars())


def any_sample(connection: sa.Connection, expired_by: datetime | None = None) -> bool:
    """Tell whether there is one that has not expired."""
    query = unexpired(connection, sa.select(samples.c.key).where(inside(connection)), expired_by)
    return connection.execute(query.limit(1)).first() is not None


def known(connection: sa.Connection, ids: Sequence[str]) -> dict[str, Any]:
    """Return `key`, `person` and `modified` of those of these samples that are there."""
    columns = samples.c.sample_id, samples.c.key, samples.c.person, samples.c.modified
    query = sa.select(*columns).where(inside(connection))
    return {
        row.sample_id: row
        for some in portions(ids)
        for row in connection.execute(query.where(samples.c.sample_id.in_(some)))
    }


def samples_of(connection: sa.Connection, keys: Collection[int]) -> dict[int, Sample]:
    """Return the samples with these keys, which a search of the gallery has found."""
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
        values: of the columns, but for the key and the gallery, a row each.
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
        gallery = gallery_of(connection)
        connection.execute(samples.insert(), [{**row, "gallery": gallery} for row in new])
        connection.execute(_COUNTED, {"gallery_key": gallery, "more": len(new)})
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
    which = _those(connection, which)
    removed = connection.execute(sa.select(samples.c.key, samples.c.sample_id, samples.c.person).where(which))
    rows = sorted(removed, key=lambda row: row.key)
    if rows:
        revision, gallery = next_revision(connection), gallery_of(connection)
        buried = [{"key": row.key, "gallery": gallery, "revision": revision} for row in rows]
        connection.execute(tombstones.insert(), buried)
        for some in portions([row.key for row in rows]):
            connection.execute(_REMOVED, {"keys": some})
        connection.execute(_COUNTED, {"gallery_key": gallery, "more": -len(rows)})
        if (oldest := revision - DELETIONS_KEPT) > 0:
            here = tombstones.c.gallery == gallery_of(connection)
            connection.execute(tombstones.delete().where(here, tombstones.c.revision <= oldest))
            forgotten = this_gallery(connection).where(galleries.c.complete_since < oldest)
            connection.execute(forgotten.values(complete_since=oldest))
        persons.remove_emptied(connection, {row.person for row in rows})
    return [row.sample_id for row in rows]
