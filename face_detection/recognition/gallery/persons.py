"""Rows of `persons`, read, made and removed on a connection; the caller gives the transaction.

As in rows.py, all of it is in the gallery that the transaction is in.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from recognition.errors import AmbiguousName, PersonExists
from recognition.faces import Person, Sample
from recognition.gallery.database import portions
from recognition.gallery.tables import expired, galleries, gallery_of, naive_utc, persons, samples
from recognition.names import key_of, search_key_of
from serving.errors import Failure, NotFound

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
AMBIGUOUS_SHOWN = 20  # ids of people who share a name

PERSON_COLUMNS = tuple(column for column in persons.c if column.name not in ("gallery", "search_key"))


def inside(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Tell the people of the gallery."""
    return persons.c.gallery == gallery_of(connection)


def has_samples() -> sa.ColumnElement[bool]:
    """Tell whether a person has samples."""
    return sa.exists().where(samples.c.person == persons.c.key)


# Put together once: that takes as long as to execute it.
_EMPTIED = persons.delete().where(
    persons.c.gallery + 0 == sa.bindparam("gallery_key"),  # a sum, as in rows.py
    persons.c.key.in_(sa.bindparam("keys", expanding=True)),
    persons.c.by_hand.is_(False),
    ~has_samples(),
)


_COUNTED = (
    galleries.update()
    .where(galleries.c.key == sa.bindparam("gallery_key"))
    .values(people=galleries.c.people + sa.bindparam("more", type_=sa.BigInteger))
)


def number(connection: sa.Connection) -> int:
    """Return how many people the gallery has, from its row: they are not counted."""
    query = sa.select(galleries.c.people).where(galleries.c.key == gallery_of(connection))
    people: int = connection.execute(query).scalar_one()
    return people


def _count(connection: sa.Connection, more: int) -> None:
    if more:
        connection.execute(_COUNTED, {"gallery_key": gallery_of(connection), "more": more})


def of_id(connection: sa.Connection, person_id: str) -> sa.ColumnElement[bool]:
    """Tell the person with this id."""
    return sa.and_(inside(connection), persons.c.person_id == person_id)


def of_name(connection: sa.Connection, name: str) -> sa.ColumnElement[bool]:
    """Tell the samples of all who have this name, in whatever case."""
    named = sa.select(persons.c.key).where(persons.c.name_key == key_of(name), inside(connection))
    return samples.c.person.in_(named)


def of_person(connection: sa.Connection, person_id: str) -> sa.ColumnElement[bool]:
    """Tell the samples of the person with this id."""
    return samples.c.person.in_(sa.select(persons.c.key).where(of_id(connection, person_id)))


def unexpired(
    connection: sa.Connection, query: sa.Select[Any], expired_by: datetime | None
) -> sa.Select[Any]:
    """Leave out those who have expired by a moment, or with their last sample; None: there are none."""
    if expired_by is None:
        return query
    alive = sa.or_(persons.c.expires_at.is_(None), persons.c.expires_at > expired_by)
    gone = expired(gallery_of(connection), expired_by)
    has_left = sa.exists().where(samples.c.person == persons.c.key, ~gone)
    return query.where(alive, sa.or_(persons.c.by_hand, has_left))


def row_of(connection: sa.Connection, person_id: str, expired_by: datetime | None = None) -> Any:
    """Return the row of the person with this id.

    Raises:
        NotFound: there is none.
    """
    query = sa.select(*PERSON_COLUMNS).where(of_id(connection, person_id))
    row = connection.execute(unexpired(connection, query, expired_by)).first()
    if row is None:
        raise no_person()
    return row


def check_new(connection: sa.Connection, person_id: str) -> None:
    """Make sure that nobody has this id.

    Raises:
        PersonExists: somebody has.
    """
    if connection.execute(sa.select(persons.c.key).where(of_id(connection, person_id))).first():
        raise PersonExists("There is a person with this id already.")


def no_person() -> NotFound:
    """Say that there is no such person."""
    return NotFound("There is no person with this id.")


def person_of(row: Any, samples: int) -> Person:
    """Turn a row of PERSON_COLUMNS into a person who has so many samples."""
    return Person(
        row.person_id,
        row.name,
        json.loads(row.metadata),
        row.created.replace(tzinfo=UTC),
        row.modified.replace(tzinfo=UTC),
        row.expires_at and row.expires_at.replace(tzinfo=UTC),
        samples,
        row.by_hand,
    )


def values_of(person: Person) -> dict[str, Any]:
    """Turn a person into the columns of a row, but for the key and the gallery."""
    return {
        "person_id": person.id,
        **named(person.name),
        "by_hand": person.by_hand,
        "created": naive_utc(person.created),
        "modified": naive_utc(person.modified),
        "expires_at": person.expires_at and naive_utc(person.expires_at),
        "metadata": json.dumps(person.metadata, ensure_ascii=False),
    }


def named(name: str) -> dict[str, str]:
    """Return the columns that a name has."""
    return {"name": name, "name_key": key_of(name), "search_key": search_key_of(name)}


def owners(
    connection: sa.Connection, new: Sequence[Sample], *, make: bool = False
) -> tuple[dict[str, Any], dict[str, Failure]]:
    """Find whose each of these samples is, and make those who are not there yet.

    A sample is of the person with its id, else of the one person of its name.

    make: also those who are told by an id, in a state older than any in which a file may have them.

    Returns:
        By the samples' ids `key`, `person_id`, `name` and `by_hand` of each person; and why the other samples
        have none: NotFound, AmbiguousName.
    """
    by_id = {row.person_id: row for row in known(connection, persons.c.person_id, _ids(new))}
    by_name: dict[str, list[Any]] = {}
    keys = {sample.id: key_of(sample.name) for sample in new if sample.person is None}
    for row in known(connection, persons.c.name_key, sorted(set(keys.values()))):
        by_name.setdefault(row.name_key, []).append(row)
    missing: dict[str, Person] = {}  # by the key of the name, or by the id
    for sample in new:
        if sample.person is None and keys[sample.id] not in by_name:
            missing.setdefault(keys[sample.id], _enrolled(sample, str(uuid.uuid4())))
        elif make and sample.person is not None and sample.person not in by_id:
            told = replace(_enrolled(sample, sample.person), modified=LONG_AGO)
            missing.setdefault(f"\0{sample.person}", told)
    for row in add(connection, missing.values()):
        by_id[row.person_id] = row
        by_name.setdefault(row.name_key, []).append(row)
    found: dict[str, Any] = {}
    failed: dict[str, Failure] = {}
    for sample in new:
        if sample.person is not None:
            candidates = [by_id[sample.person]] if sample.person in by_id else []
        else:
            candidates = by_name[keys[sample.id]]
        if len(candidates) == 1:
            found[sample.id] = candidates[0]
        else:
            failed[sample.id] = ambiguous(candidates) if candidates else no_person()
    return found, failed


def ambiguous(rows: Sequence[Any]) -> AmbiguousName:
    """Say that several people share a name, and what their ids are."""
    ids = [row.person_id for row in rows]
    shown = ", ".join(ids[:AMBIGUOUS_SHOWN]) + (", ..." if len(ids) > AMBIGUOUS_SHOWN else "")
    return AmbiguousName(f"{len(ids)} people have this name; send `person`, one of {shown}.", ids)


def add(connection: sa.Connection, new: Iterable[Person]) -> Sequence[Any]:
    """Store new people, and return their rows."""
    gallery = gallery_of(connection)
    values = [{**values_of(person), "gallery": gallery} for person in new]
    if not values:
        return []
    added = connection.execute(persons.insert().returning(*PERSON_COLUMNS), values).all()
    _count(connection, len(added))
    return added


def remove(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[str]:
    """Remove those who meet a condition, and have no samples (any more). Returns their ids."""
    # A sum, as in rows.py.
    here = persons.c.gallery + 0 == gallery_of(connection)
    removed = persons.delete().where(here, which, ~has_samples()).returning(persons.c.person_id)
    ids = list(connection.execute(removed).scalars())
    _count(connection, -len(ids))
    return ids


def remove_emptied(connection: sa.Connection, keys: Collection[int]) -> None:
    """Remove those of some people who have no samples left, unless they were made by hand."""
    for some in portions(sorted(keys)):
        emptied = connection.execute(_EMPTIED, {"keys": some, "gallery_key": gallery_of(connection)})
        _count(connection, -emptied.rowcount)


def spell_anew(connection: sa.Connection, revision: int, spellings: Mapping[int, str]) -> None:
    """Spell the names of people as all of their samples do that have come in this revision.

    The first spelling stays as long as one of the samples came with it or came before, and that of people who
    were made by hand stays in any case.

    spellings: by the keys of the people.
    """
    for key, spelling in spellings.items():
        theirs = samples.c.person == key
        otherwise = sa.or_(samples.c.revision != revision, samples.c.spelling.is_(None))
        if connection.execute(sa.select(samples.c.key).where(theirs, otherwise).limit(1)).first() is None:
            enrolled = sa.and_(persons.c.key == key, persons.c.by_hand.is_(False))
            if connection.execute(persons.update().where(enrolled).values(**named(spelling))).rowcount:
                alike = samples.update().where(theirs, samples.c.spelling == spelling)
                connection.execute(alike.values(spelling=None))


def _ids(new: Sequence[Sample]) -> list[str]:
    return sorted({sample.person for sample in new if sample.person is not None})


def known(connection: sa.Connection, column: sa.Column[str], values: Sequence[str]) -> list[Any]:
    """Return the rows of those who are there and have one of these values in a column."""
    query = sa.select(*PERSON_COLUMNS).where(inside(connection)).order_by(persons.c.key)
    return [row for some in portions(values) for row in connection.execute(query.where(column.in_(some)))]


def _enrolled(sample: Sample, person_id: str) -> Person:
    return Person(person_id, sample.name, None, sample.created, sample.created, by_hand=False)
