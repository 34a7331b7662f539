"""Rows of `events`, read, stored and moved on a connection; the caller gives the transaction.

As in rows.py, all of it is in the gallery that the transaction is in. An event goes with its person, whatever
removes them, and loses its sample when that goes: the database sees to both. It follows its sample to whoever
has that next.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from recognition.errors import DamagedGallery, GalleryUnavailable
from recognition.faces import bbox, box_of
from recognition.gallery import persons as rows_of_people
from recognition.gallery.atrest import cipher_of, sealed_as
from recognition.gallery.database import portions
from recognition.gallery.kept import check_jpeg
from recognition.gallery.tables import events, expired, gallery_of, naive_utc, persons, samples, unknowns
from recognition.visits import Event, Visit

log = logging.getLogger(__name__)

KIND = "\0event"  # in the place of a model's fingerprint, of which none begins like this
ROWS_AT_ONCE = 1000


def inside(connection: sa.Connection) -> sa.ColumnElement[bool]:
    """Tell the events of the gallery."""
    return events.c.gallery == gallery_of(connection)


def of_id(connection: sa.Connection, event_id: str) -> sa.ColumnElement[bool]:
    """Tell the event with this id."""
    return sa.and_(inside(connection), events.c.event_id == event_id)


def of_person(connection: sa.Connection, person_id: str) -> sa.ColumnElement[bool]:
    """Tell the events of the person with this id."""
    theirs = sa.select(persons.c.key).where(rows_of_people.of_id(connection, person_id))
    # A sum, as in rows.py.
    here = events.c.gallery + 0 == gallery_of(connection)
    return sa.and_(here, events.c.person == theirs.scalar_subquery())


def unexpired(
    connection: sa.Connection, query: sa.Select[Any], oldest: datetime, expired_by: datetime | None
) -> sa.Select[Any]:
    """Leave out events that were recorded by a moment, and those of people who have expired by another.

    oldest: naive UTC; expired_by: likewise, None: nobody has.
    """
    # A function, lest SQLite looks for them by their age, which nearly all have, instead of by what is asked.
    query = query.where(sa.func.coalesce(events.c.recorded, sa.null()) > oldest)
    if expired_by is None:
        return query
    return query.where(sa.or_(events.c.person.is_(None), ~_of_expired(connection, expired_by)))


def count(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    oldest: datetime,
    expired_by: datetime | None,
) -> int:
    """Count the events that meet a condition, without those that `unexpired` leaves out."""
    query = sa.select(sa.func.count()).select_from(events)
    number: int = connection.execute(query.where(which)).scalar_one()
    # Those that go are few, and have an index.
    gone = events.c.recorded <= oldest
    number -= connection.execute(query.where(inside(connection), gone, which)).scalar_one()
    if expired_by is not None:
        theirs = _of_expired(connection, expired_by)
        number -= connection.execute(query.where(which, theirs, ~gone)).scalar_one()
    return number


def _of_expired(connection: sa.Connection, expired_by: datetime) -> sa.ColumnElement[bool]:
    """Tell the events of people who have expired by a moment, or with their last sample."""
    alive = rows_of_people.unexpired(connection, sa.select(persons.c.key), expired_by)
    return events.c.person.not_in(alive.where(rows_of_people.inside(connection)))


def with_people(connection: sa.Connection, expired_by: datetime | None) -> sa.Select[Any]:
    """Select events with what `event_of` reads."""
    sample: Any = samples.c.sample_id
    if expired_by is not None:
        sample = sa.case((expired(gallery_of(connection), expired_by), None), else_=sample)
    columns = (c for c in events.c if c.name not in ("gallery", "unknown", "picture", "recorded"))
    # A group that has gone, or is ignored by now, is none.
    group = unknowns.c.gallery == events.c.gallery, unknowns.c.unknown_id == events.c.unknown
    return (
        sa.select(
            *columns,
            persons.c.name,
            persons.c.person_id,
            sample.label("sample_id"),
            unknowns.c.unknown_id.label("unknown"),
            events.c.picture.is_not(None).label("has_picture"),
        )
        .outerjoin_from(events, persons, events.c.person == persons.c.key)
        .outerjoin(samples, events.c.sample == samples.c.key)
        .outerjoin(unknowns, sa.and_(*group, unknowns.c.ignored.is_(False)))
    )


def regroup(connection: sa.Connection, unknown_id: str, into: str) -> None:
    """Let the events of one group of unknown faces be of another, which has its faces now."""
    theirs = events.update().where(inside(connection), events.c.unknown == unknown_id)
    connection.execute(theirs.values(unknown=into))


def name(connection: sa.Connection, unknown_id: str, person_id: str) -> None:
    """Let the events of a group of unknown faces be of the person whom it was found to be."""
    person = sa.select(persons.c.key).where(rows_of_people.of_id(connection, person_id)).scalar_subquery()
    theirs = events.update().where(inside(connection), events.c.unknown == unknown_id)
    connection.execute(theirs.values(person=person, unknown=None))


def event_of(row: Any) -> Event:
    """Turn a row of `with_people` into an event."""
    return Event(
        row.event_id,
        row.camera,
        row.since.replace(tzinfo=UTC),
        row.until and row.until.replace(tzinfo=UTC),
        row.frames,
        row.name,
        row.person_id,
        row.sample_id,
        row.distance,
        row.false_match,
        box_of(row.box),
        row.quality,
        row.unknown,
        bool(row.has_picture),
    )


def store(connection: sa.Connection, visit: Visit, whose: dict[str, Any], recorded: datetime) -> bool:
    """Store a visit; one of the same id is replaced. Returns whether there was none.

    visit: its picture is what is kept, a JPEG or None.
    whose: the columns that say who it was.
    recorded: the time, UTC.
    """
    values = {
        **_lasted(visit, recorded),
        "camera": visit.camera,
        "box": bbox(visit.box),
        "quality": visit.quality,
        "picture": _sealed(connection, visit),
        **whose,
    }
    replaced = events.update().where(of_id(connection, visit.id)).values(**values)
    if connection.execute(replaced).rowcount:
        return False
    own = {"gallery": gallery_of(connection), "event_id": visit.id}
    connection.execute(events.insert().values(**own, **values))
    return True


def go_on(connection: sa.Connection, visit: Visit, recorded: datetime) -> None:
    """Store how long a visit that is there has lasted by now; recorded: the time, UTC."""
    here = of_id(connection, visit.id)
    connection.execute(events.update().where(here).values(**_lasted(visit, recorded)))


def _lasted(visit: Visit, recorded: datetime) -> dict[str, Any]:
    return {
        "since": naive_utc(visit.since),
        "until": visit.until and naive_utc(visit.until),
        "frames": visit.frames,
        "recorded": naive_utc(recorded),
    }


def _sealed(connection: sa.Connection, visit: Visit) -> bytes | None:
    picture = visit.picture
    assert not isinstance(picture, str)
    if picture is None:
        return None
    cipher = cipher_of(connection)
    return picture if cipher is None else cipher.seal(picture, sealed_as(connection, visit.id), KIND)


def picture_of(connection: sa.Connection, row: Any) -> bytes | None:
    """Read the picture of a row that has its `event_id`, too; None: none is kept.

    Raises:
        DamagedGallery: it cannot be decrypted, or is no picture.
    """
    stored = row.picture
    if stored is None:
        return None
    try:
        if (cipher := cipher_of(connection)) is not None:
            stored = cipher.open(stored, sealed_as(connection, row.event_id), KIND)
        check_jpeg(stored)
    except GalleryUnavailable as e:
        raise DamagedGallery("its picture cannot be decrypted") from e
    except (AttributeError, TypeError, ValueError) as e:  # SQLite keeps values of any type in any column
        raise DamagedGallery("its picture is none") from e
    picture: bytes = stored
    return picture


def follow(connection: sa.Connection, keys: Sequence[int], person: int) -> None:
    """Give the events of samples that have moved to the person who has these now.

    keys: of the samples; person: the key of the person.
    """
    for some in portions(keys):
        connection.execute(events.update().where(events.c.sample.in_(some)).values(person=person))


def merge(connection: sa.Connection, emptied: int, into: int) -> None:
    """Give all events of a person to another; both are told by their keys."""
    connection.execute(events.update().where(events.c.person == emptied).values(person=into))


def let_go(connection: sa.Connection, keys: Sequence[int]) -> None:
    """Let events go on without these samples, given by their keys, whose faces are others from now on."""
    for some in portions(keys):
        connection.execute(events.update().where(events.c.sample.in_(some)).values(sample=None))


def count_of(connection: sa.Connection, person: int) -> int:
    """Count the events of a person, who is told by their key."""
    query = sa.select(sa.func.count()).select_from(events).where(events.c.person == person)
    number: int = connection.execute(query).scalar_one()
    return number


def count_all(connection: sa.Connection) -> int:
    """Count the events of the gallery, also those that are not shown any more."""
    query = sa.select(sa.func.count()).select_from(events).where(inside(connection))
    number: int = connection.execute(query).scalar_one()
    return number


def oldest(connection: sa.Connection, number: int) -> sa.ColumnElement[bool]:
    """Tell so many events of the gallery of which the service was told longest ago."""
    order = events.c.recorded, events.c.key
    return events.c.key.in_(sa.select(events.c.key).where(inside(connection)).order_by(*order).limit(number))


def remove(connection: sa.Connection, which: sa.ColumnElement[bool], limit: int | None = None) -> list[str]:
    """Remove events that meet a condition, which tells the gallery, too; returns the ids.

    limit: how many at most.
    """
    query = sa.select(events.c.key, events.c.event_id).where(which)
    rows = connection.execute(query.order_by(events.c.key).limit(limit)).all()
    for some in portions([row.key for row in rows]):
        connection.execute(events.delete().where(events.c.key.in_(some)))
    return [row.event_id for row in rows]


def clear(connection: sa.Connection) -> None:
    """Remove every event of the gallery."""
    connection.execute(events.delete().where(inside(connection)))


def faults(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Check the events of the gallery: of each that is damaged its id, and what is wrong."""
    strays = sa.select(events.c.event_id).where(inside(connection))
    for table, column in ((persons, events.c.person), (samples, events.c.sample)):
        elsewhere = strays.join(table, column == table.c.key).where(table.c.gallery != events.c.gallery)
        for event_id in connection.execute(elsewhere.order_by(events.c.event_id)).scalars():
            yield event_id, f"its {column.name} is of another gallery"
    query = sa.select(events.c.event_id, events.c.picture).where(inside(connection))
    query = query.where(events.c.picture.is_not(None)).order_by(events.c.key)
    for row in connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE // 10)):
        try:
            picture_of(connection, row)
        except DamagedGallery as e:
            yield row.event_id, e.detail
