"""Erasures, done again in a gallery that has back what was erased: from a backup, or by an import."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from recognition.gallery import persons as people
from recognition.gallery import rows, unknown_rows
from recognition.gallery.database import empty_log, portions
from recognition.gallery.erasures import Erasures, Journal
from recognition.gallery.event_rows import inside as inside_events
from recognition.gallery.store import Gallery
from recognition.gallery.tables import (
    events,
    faces,
    gallery_of,
    naive_utc,
    persons,
    samples,
    unknown_faces,
    unknowns,
)

# Pictures in a column of their table, the time by which they are older than a deletion of all, and the row
# with which they go anyway.
PICTURES = (
    (events.c.picture, events.c.recorded, events.c.key),
    (unknown_faces.c.face, unknown_faces.c.seen, unknown_faces.c.unknown),
)
LOGGED_TO = timedelta(milliseconds=1)  # what the audit log cuts its times off to

# The worst for the data, and the best for the person, first.
VERDICTS = ERASED, UNCLEAR, STAYS = range(3)


@dataclass(slots=True)
class Replay:
    """What becomes of those who are there again: ids of samples, but for `persons`.

    samples, persons: are erased again.
    stay: were enrolled anew after their erasure.
    unclear: it cannot be told whether they were, or whether their erasure was ever done; they stay.
    faces: how many kept faces are deleted again, as all were once, also of visits and of strangers.
    events: the ids of visits to cameras that are erased again, beside those that go with their people.
    unknowns: the ids of unknown people who are.
    """

    samples: list[str] = field(default_factory=list)
    persons: list[str] = field(default_factory=list)
    stay: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    faces: int = 0
    events: list[str] = field(default_factory=list)
    unknowns: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Plan:
    """The keys of the rows that go, and what is told.

    faces: by their samples' keys; pictures: for each of PICTURES of the rows that lose theirs.
    """

    samples: list[int]
    persons: list[int]
    faces: list[int]
    pictures: list[list[int]]
    events: list[int]
    unknowns: list[int]
    told: Replay


def replay(gallery: Gallery, journal: Journal, *, dry_run: bool = False) -> Replay:
    """Erase again, all or nothing, what was erased before and is there again.

    A sample that was enrolled after its erasure stays. One that was only changed after it, such as moved to
    another person, is erased, if the journal reaches far enough to show that it was not enrolled. A person
    goes with all samples, also with such as were not theirs when they were erased; those that stay keep them.

    Args:
        gallery: that a backup or an import has brought into an older state. What is newer, and what was
            erased again already, is left alone.
        journal: of audit logs and receipts, which may begin long before the backup.
        dry_run: erase nothing, and say what would be.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    if dry_run:
        with gallery.reading() as (connection, _):
            return _plan(connection, journal).told
    with gallery.writing() as (connection, begin):
        plan = _plan(connection, journal)
        for some in portions(plan.samples):
            rows.remove(connection, samples.c.key.in_(some))
        for some in portions(plan.persons):  # of whom those made by hand are there still
            people.remove(connection, persons.c.key.in_(some))
        for some in portions(plan.faces):
            connection.execute(faces.delete().where(faces.c.sample.in_(some)))
        for (picture, _, _), keys in zip(PICTURES, plan.pictures, strict=True):
            for some in portions(keys):
                which = picture.table.c.key.in_(some)
                connection.execute(sa.update(picture.table).where(which).values({picture.name: None}))
        for some in portions(plan.events):
            connection.execute(events.delete().where(events.c.key.in_(some)))
        if plan.samples or plan.persons:
            begin("delete", plan.told.samples, persons=plan.told.persons)
        if plan.unknowns:
            unknown_rows.remove(connection, plan.unknowns)
            unknown_rows.next_revision(connection)
            begin("forget_unknowns", [], unknowns=plan.told.unknowns)
        if plan.events:
            begin("delete_events", [], events=plan.told.events)
        if plan.told.faces:
            begin("forget", plan.told.faces)
    empty_log(gallery.engine)
    return plan.told


def _plan(connection: sa.Connection, journal: Journal) -> _Plan:
    verdicts: dict[int, int] = {}  # by key
    ids: dict[int, str] = {}
    for erasures, least in ((journal.done, ERASED), (journal.unfinished, UNCLEAR)):
        for row, moment in _samples_there(connection, erasures):
            verdict = max(least, _verdict(row, moment, journal))
            verdicts[row.key] = min(verdict, verdicts.get(row.key, STAYS))
            ids[row.key] = row.sample_id
    told = [sorted(ids[key] for key in verdicts if verdicts[key] == verdict) for verdict in VERDICTS]
    gone = {row.key: row.person_id for row, _ in _people_there(connection, journal.done)}
    theirs = sa.select(samples.c.key, samples.c.person)
    for some in portions(list(gone)):
        for row in connection.execute(theirs.where(samples.c.person.in_(some))):
            if verdicts.get(row.key) != ERASED:
                gone.pop(row.person, None)
    erased = [key for key in verdicts if verdicts[key] == ERASED]
    kept = _faces_there(connection, journal.forgotten, without=set(erased))
    seen = _events_there(connection, journal.done)
    strangers = _unknowns_there(connection, journal.done)
    people_gone, events_gone, strangers_gone = (sorted(each.values()) for each in (gone, seen, strangers))
    pictures = [
        _pictures_there(connection, journal.forgotten, *columns, without=set(going))
        for columns, going in zip(PICTURES, (seen, strangers), strict=True)
    ]
    number = len(kept) + sum(map(len, pictures))
    outcome = Replay(
        told[ERASED], people_gone, told[STAYS], told[UNCLEAR], number, events_gone, strangers_gone
    )
    return _Plan(erased, list(gone), kept, pictures, list(seen), list(strangers), outcome)


def _faces_there(connection: sa.Connection, forgotten: datetime | None, without: set[int]) -> list[int]:
    """Return the samples of which a face is kept that was once deleted with all others."""
    if forgotten is None:
        return []
    query = sa.select(faces.c.sample).join(samples, samples.c.key == faces.c.sample)
    older = query.where(rows.inside(connection), samples.c.modified < _end_of(forgotten))
    return [key for key in connection.execute(older).scalars() if key not in without]


def _pictures_there(
    connection: sa.Connection,
    forgotten: datetime | None,
    picture: sa.Column[bytes],
    written: sa.Column[datetime],
    owner: sa.Column[int],
    without: set[int],
) -> list[int]:
    """Return the keys of rows in which a picture is kept in the same way."""
    if forgotten is None:
        return []
    table = picture.table
    query = sa.select(table.c.key, owner).where(table.c.gallery == gallery_of(connection))
    older = query.where(picture.is_not(None), written < _end_of(forgotten))
    return [key for key, goes_with in connection.execute(older) if goes_with not in without]


def _events_there(connection: sa.Connection, erasures: Erasures) -> dict[int, str]:
    """Return the ids, by key, of the events that are there of those that were erased.

    One that was sent again since is another visit to whoever has erased it, and stays.
    """
    query = sa.select(events.c.key, events.c.event_id, events.c.recorded).where(inside_events(connection))
    found: dict[int, str] = {}
    if erasures.cleared is not None:
        for row in connection.execute(query.where(events.c.recorded < _end_of(erasures.cleared))):
            found[row.key] = row.event_id
    for some in portions(list(erasures.events)):
        for row in connection.execute(query.where(events.c.event_id.in_(some))):
            if row.recorded < _end_of(erasures.events[row.event_id]):
                found[row.key] = row.event_id
    return found


def _unknowns_there(connection: sa.Connection, erasures: Erasures) -> dict[int, str]:
    """Return the ids, by key, of the unknown people who are there of those that were forgotten or ignored.

    Their ids are given once: whoever is seen anew has another one.
    """
    query = sa.select(unknowns.c.key, unknowns.c.unknown_id).where(unknown_rows.inside(connection))
    which: list[sa.ColumnElement[bool]] = [
        unknowns.c.unknown_id.in_(some) for some in portions(list(erasures.unknowns))
    ]
    if erasures.cleared is not None:
        which.append(unknowns.c.since < _end_of(erasures.cleared))
    return {key: unknown_id for each in which for key, unknown_id in connection.execute(query.where(each))}


def _verdict(row: Any, erased: datetime, journal: Journal) -> int:
    """Tell what becomes of a sample that was erased at a moment."""
    if row.created >= _end_of(erased):
        return STAYS
    if row.modified < _end_of(erased):
        return ERASED
    # It was enrolled under a row that had come back, which keeps its `created`, or it was only changed.
    enrolled = journal.enrolled.get(row.sample_id)
    if enrolled is not None and row.modified < _end_of(enrolled):
        return STAYS
    never = enrolled is None or enrolled <= erased
    return ERASED if never and journal.until and row.modified < _end_of(journal.until) else UNCLEAR


def _samples_there(connection: sa.Connection, erasures: Erasures) -> Iterator[tuple[Any, datetime]]:
    """Yield the samples that are there of those that were erased, some several times, and when they were."""
    columns = samples.c.key, samples.c.sample_id, samples.c.person, samples.c.created, samples.c.modified
    query = sa.select(*columns).where(rows.inside(connection))
    if erasures.cleared is not None:
        for row in connection.execute(query.where(samples.c.created < _end_of(erasures.cleared))):
            yield row, erasures.cleared
    for some in portions(list(erasures.samples)):
        for row in connection.execute(query.where(samples.c.sample_id.in_(some))):
            yield row, erasures.samples[row.sample_id]
    people_there = _people_there(connection, erasures)
    moments = {row.key: moment for row, moment in people_there if row.person_id in erasures.persons}
    for keys in portions(list(moments)):
        for row in connection.execute(query.where(samples.c.person.in_(keys))):
            yield row, moments[row.person]


def _people_there(connection: sa.Connection, erasures: Erasures) -> Iterator[tuple[Any, datetime]]:
    """Yield the people in the same way, without those who were made anew."""
    columns = persons.c.key, persons.c.person_id, persons.c.created
    query = sa.select(*columns).where(people.inside(connection))
    if erasures.cleared is not None:
        for row in connection.execute(query.where(persons.c.created < _end_of(erasures.cleared))):
            yield row, erasures.cleared
    for some in portions(list(erasures.persons)):
        for row in connection.execute(query.where(persons.c.person_id.in_(some))):
            if row.created < _end_of(moment := erasures.persons[row.person_id]):
                yield row, moment


def _end_of(moment: datetime) -> datetime:
    """Return where a moment of the audit log ends, naive UTC."""
    return naive_utc(moment) + LOGGED_TO
