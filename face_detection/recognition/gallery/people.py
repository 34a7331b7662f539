"""The people of a gallery: listed, made, changed, merged and removed, and their samples moved.

Each function is one transaction, so that what it has checked still holds when it changes something.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field, TypeAdapter

from recognition.bounds import NO_NUL, Id, Moment
from recognition.faces import Expiry, Person, Sample, moment_of
from recognition.gallery import event_rows, rows
from recognition.gallery import persons as rows_of_people
from recognition.gallery.database import empty_log, portions
from recognition.gallery.persons import PERSON_COLUMNS, named, owners, person_of, row_of
from recognition.gallery.store import Gallery
from recognition.gallery.tables import SAMPLES, naive_utc, persons, sample_of, samples
from recognition.names import search_key_of
from recognition.results import Erasure, Merged, PersonPage
from serving.errors import InvalidRequest, NotFound

# The search key and the id of a person, and when they were made. Keys are those of all galleries: one would
# tell how many people others have made.
Cursor = tuple[Annotated[str, Field(pattern=NO_NUL)], Id, Moment]
CURSOR: TypeAdapter[Cursor] = TypeAdapter(Cursor)

ORDER = persons.c.search_key, persons.c.key


def page(gallery: Gallery, *, limit: int, after: str | None = None, q: str | None = None) -> PersonPage:
    """Return the first people in the order of their names, without case and accents.

    Args:
        gallery: whose people they are.
        limit: how many at most.
        after: `next` of the page before; those who have gone or been renamed meanwhile do not matter.
        q: only those whose names have this part, whatever its case and accents.

    Raises:
        InvalidRequest: `after` is not from a page.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    part = search_key_of(q or "")
    query = sa.select(*PERSON_COLUMNS, persons.c.search_key)
    some = query.order_by(*ORDER).limit(limit + 1)
    cursor = None if after is None else _cursor(after)
    with gallery.reading() as (connection, current):
        which = [rows_of_people.inside(connection)]
        if cursor is not None:
            some = some.where(_behind(connection, *cursor))
        if part:
            which.append(_has_part(connection, part))
        if part and connection.dialect.name == "postgresql":
            # What is prepared for any part expects more matches than there are, and goes through the names.
            connection.exec_driver_sql("SET LOCAL plan_cache_mode = force_custom_plan")
        some = rows_of_people.unexpired(connection, some.where(*which), current.expired_by)
        found = connection.execute(some).all()
        if after is None and len(found) <= limit:
            total = len(found)
        elif not part and current.expired_by is None:
            total = rows_of_people.number(connection)
        else:
            every = sa.select(sa.func.count()).select_from(persons).where(*which)
            counted = 0
            if part and after is None:  # looking through the names takes long enough to do it once
                counted = len(found)
                every = every.where(sa.tuple_(*ORDER) > sa.tuple_(found[-1].search_key, found[-1].key))
            every = rows_of_people.unexpired(connection, every, current.expired_by)
            total = counted + connection.execute(every).scalar_one()
        listed = _people_of(connection, found[:limit], current.expired_by)
    gallery.audit.read("list", [], persons=[person.id for person in listed])
    last = _opaque(found[limit - 1]) if len(found) > limit else None
    return PersonPage(listed, total, last)


def get(gallery: Gallery, person_id: str) -> Person:
    """Return one person.

    Raises:
        NotFound: there is none.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    with gallery.reading() as (connection, current):
        row = row_of(connection, person_id, current.expired_by)
        (person,) = _people_of(connection, [row], current.expired_by)
    gallery.audit.read("show", [], person=person.id)
    return person


def make(
    gallery: Gallery,
    name: str,
    *,
    person_id: str | None = None,
    metadata: Any = None,
    expires_at: Expiry = None,
    kept_for: timedelta | None = None,
) -> Person:
    """Make a person without samples, who stays until they are removed or expire.

    Args:
        gallery: whose person it is.
        name: others may have it, too.
        person_id: the caller's own; None: a new UUID.
        metadata: any JSON.
        expires_at: a time, or `never`; None: as `kept_for` says.
        kept_for: how long those are kept for whom no time is told; None: for ever.

    Raises:
        PersonExists: somebody has the id.
        InvalidRequest: the time has passed.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    now = gallery.now()
    moment = moment_of(expires_at, now, kept_for)
    _check_future(moment, now)
    person = Person(person_id or str(uuid.uuid4()), name, metadata, now, now, moment)
    with gallery.writing() as (connection, begin):
        rows_of_people.check_new(connection, person.id)
        rows_of_people.add(connection, [person])
        begin("make", [], person=person.id)
    return person


def change(gallery: Gallery, person_id: str, changes: Mapping[str, Any]) -> Person:
    """Change some of `name`, `metadata` and `expires_at`.

    The new name is the one of all samples, also of those that came with another spelling.

    Raises:
        NotFound: there is no such person.
        InvalidRequest: the time has passed.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    now = gallery.now()
    _check_future(changes.get("expires_at"), now)
    values = {"modified": naive_utc(now), **_columns(changes)}
    with gallery.writing() as (connection, begin):
        key = row_of(connection, person_id).key
        if "name" in changes:
            values |= named(changes["name"])
            spelt = samples.c.person == key, samples.c.spelling.is_not(None)
            connection.execute(samples.update().where(*spelt).values(spelling=None))
        rows.next_revision(connection)  # a search on a replica waits for it
        connection.execute(persons.update().where(persons.c.key == key).values(**values))
        (person,) = _people_of(connection, [row_of(connection, person_id)])
        begin("change", [], person=person_id)
    empty_log(gallery.engine)  # the name of before stands in it
    return person


def merge(gallery: Gallery, person_id: str, into: str) -> Merged:
    """Give all samples of one person to another, whose name and data stay, and remove the emptied one.

    `unmerging.unmerge` takes what is returned to take it back.

    Raises:
        InvalidRequest: the two are the same.
        NotFound: one of them is not there.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    if person_id == into:
        raise InvalidRequest("into: nobody can be merged into themselves.")
    now = naive_utc(gallery.now())
    with gallery.writing() as (connection, begin):
        emptied, kept = row_of(connection, person_id), row_of(connection, into)
        theirs = samples.c.person == emptied.key
        moved = connection.execute(sa.select(samples.c.sample_id).where(theirs).order_by(samples.c.key))
        ids = list(moved.scalars())
        revision = rows.next_revision(connection)
        values = {"person": kept.key, "modified": now, "revision": revision}
        connection.execute(samples.update().where(theirs).values(**values))
        event_rows.merge(connection, emptied.key, kept.key)
        connection.execute(persons.update().where(persons.c.key == kept.key).values(modified=now))
        rows_of_people.remove(connection, persons.c.key == emptied.key)
        (person,) = _people_of(connection, [row_of(connection, into)])
        begin("merge", ids, person=person_id, into=into)
    empty_log(gallery.engine)
    return Merged(person, person_of(emptied, len(ids)), revision)


def delete(gallery: Gallery, person_id: str) -> Erasure:
    """Remove a person with all samples; says what was erased.

    Raises:
        NotFound: there is no such person.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    with gallery.writing() as (connection, begin):
        key = row_of(connection, person_id).key
        seen = event_rows.count_of(connection, key)  # the events go with the person
        ids = rows.remove(connection, samples.c.person == key)
        rows_of_people.remove(connection, persons.c.key == key)  # those made by hand are there still
        erased_at = gallery.now()  # nobody else can write yet: what is enrolled later is not erased
        begin("delete", ids, person=person_id)
    emptied = empty_log(gallery.engine)
    database = gallery.engine.dialect.name
    audited = gallery.audit.path is not None
    return Erasure(person_id, ids, erased_at, gallery.name, database, emptied, audited, seen)


def next_by_id(
    gallery: Gallery, after: str | None, limit: int, expired_by: datetime | None, person: str | None = None
) -> list[Person]:
    """Return the next people in the order of their ids, without the number of their samples.

    Args:
        gallery: whose people they are.
        after: an id; None: the first ones.
        limit: how many at most.
        expired_by: a moment, naive UTC; those who have expired by then are left out.
        person: the id of the only one who is meant; None: everybody.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    query = sa.select(*PERSON_COLUMNS).order_by(persons.c.person_id).limit(limit)
    if after is not None:
        query = query.where(persons.c.person_id > after)
    if person is not None:
        query = query.where(persons.c.person_id == person)
    with gallery.reading() as (connection, _):
        query = query.where(rows_of_people.inside(connection))
        found = connection.execute(rows_of_people.unexpired(connection, query, expired_by))
        return [person_of(row, 0) for row in found]


def restore(gallery: Gallery, stored: Sequence[Person]) -> None:
    """Bring people into the state in which a file has them, unless theirs is the same or newer.

    Of those who are not there only those are made who were made by hand: the others are there if they have
    samples.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    if not stored:
        return
    with gallery.writing() as (connection, _):
        ids = [person.id for person in stored]
        there = {row.person_id: row for row in rows_of_people.known(connection, persons.c.person_id, ids)}
        missing = [person for person in stored if person.id not in there and person.by_hand]
        rows_of_people.add(connection, missing)
        for person in stored:
            row = there.get(person.id)
            if row is not None and row.modified < naive_utc(person.modified):
                rows.next_revision(connection)
                values = rows_of_people.values_of(person)
                connection.execute(persons.update().where(persons.c.key == row.key).values(**values))


def change_sample(gallery: Gallery, sample_id: str, changes: Mapping[str, Any]) -> Sample:
    """Change some of `metadata`, `action` and `expires_at` of a sample, or whose it is.

    `person` moves it to the person with this id, `name` to the one person of that name, who is made if need
    be. Whom it leaves goes, if it was the last one, unless they were made by hand.

    Raises:
        NotFound: there is no such sample, or no such person.
        AmbiguousName: several people have the name.
        InvalidRequest: the time has passed.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    now = gallery.now()
    _check_future(changes.get("expires_at"), now)
    values = {"modified": naive_utc(now), **_columns(changes)}
    if "action" in changes:
        values["action"] = changes["action"]
    with gallery.writing() as (connection, begin):
        which = rows.of_id(connection, sample_id)
        row = connection.execute(SAMPLES.add_columns(samples.c.person).where(which)).first()
        if row is None:
            raise NotFound("There is no sample with this id.")
        owner = _owner(connection, sample_id, changes, now)
        if owner is not None:
            spelling = changes.get("name", owner.name)
            values |= {"person": owner.key, "spelling": None if spelling == owner.name else spelling}
        values["revision"] = rows.next_revision(connection)
        connection.execute(samples.update().where(samples.c.key == row.key).values(**values))
        if owner is not None:
            event_rows.follow(connection, [row.key], owner.key)
        rows_of_people.remove_emptied(connection, [row.person])
        changed = sample_of(connection.execute(SAMPLES.where(samples.c.key == row.key)).one())
        begin("change" if owner is None else "move", [sample_id], **_about(owner))
    empty_log(gallery.engine)
    return changed


def _owner(connection: sa.Connection, sample_id: str, changes: Mapping[str, Any], now: datetime) -> Any:
    """Return the row of the person to whom a sample is to move; None: it stays where it is."""
    if not {"person", "name"} & set(changes):
        return None
    moved = Sample(sample_id, changes.get("name", ""), None, None, now, now, person=changes.get("person"))
    found, failed = owners(connection, [moved])
    if failed:
        raise failed[sample_id]
    return found[sample_id]


def _about(owner: Any) -> dict[str, str]:
    return {} if owner is None else {"person": owner.person_id}


def _columns(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that people and samples have alike."""
    values: dict[str, Any] = {}
    if "metadata" in changes:
        values["metadata"] = json.dumps(changes["metadata"], ensure_ascii=False)
    if "expires_at" in changes:
        values["expires_at"] = changes["expires_at"] and naive_utc(changes["expires_at"])
    return values


def _check_future(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("expires_at is in the past.")


def _people_of(
    connection: sa.Connection, some: Sequence[Any], expired_by: datetime | None = None
) -> list[Person]:
    """Turn rows into people with the number of their samples, and the first of these."""
    columns = samples.c.person, sa.func.count().label("number"), sa.func.min(samples.c.key).label("first")
    query = rows.unexpired(connection, sa.select(*columns).group_by(samples.c.person), expired_by)
    theirs = {
        row.person: row
        for keys in portions([row.key for row in some])
        for row in connection.execute(query.where(samples.c.person.in_(keys)))
    }
    ids = sa.select(samples.c.key, samples.c.sample_id)
    firsts = {
        row.key: row.sample_id
        for keys in portions([each.first for each in theirs.values()])
        for row in connection.execute(ids.where(samples.c.key.in_(keys)))
    }
    return [
        replace(person_of(row, theirs[row.key].number), sample=firsts[theirs[row.key].first])
        if row.key in theirs
        else person_of(row, 0)
        for row in some
    ]


def _has_part(connection: sa.Connection, part: str) -> sa.ColumnElement[bool]:
    """Tell whose search key has a part.

    All names of an index or of the table are looked through: 300,000 take 35 ms in SQLite, whose LIKE is
    twice as slow as its instr(), and 25 to 50 in PostgreSQL. An index of trigrams would need an extension
    there and led its planner astray: rare parts took 150 ms. SQLite's would keep the names of those who are
    deleted.
    """
    if connection.dialect.name == "sqlite":
        return sa.func.instr(persons.c.search_key, part) > 0
    return persons.c.search_key.contains(part, autoescape=True)


def _behind(
    connection: sa.Connection, search_key: str, person_id: str, created: datetime
) -> sa.ColumnElement[bool]:
    """Tell who comes behind a person in the order of the pages.

    If that one has gone: behind the namesakes who were made before, and so have smaller keys.
    """
    key = connection.execute(
        sa.select(persons.c.key).where(rows_of_people.of_id(connection, person_id))
    ).scalar()
    if key is None:
        before = persons.c.search_key == search_key, persons.c.created <= naive_utc(created)
        namesakes = sa.select(sa.func.max(persons.c.key)).where(rows_of_people.inside(connection), *before)
        key = connection.execute(namesakes).scalar() or 0
    place = sa.tuple_(sa.literal(search_key), sa.literal(key))
    return sa.tuple_(persons.c.search_key, persons.c.key) > place


def _opaque(row: Any) -> str:
    cursor = row.search_key, row.person_id, row.created.replace(tzinfo=UTC).isoformat()
    text = json.dumps(cursor, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode("ascii")


def _cursor(after: str) -> Cursor:
    try:
        return CURSOR.validate_json(base64.urlsafe_b64decode(after))
    except ValueError as e:
        raise InvalidRequest("after: send `next` of the page before.") from e
