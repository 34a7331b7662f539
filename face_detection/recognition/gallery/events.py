"""Visits that cameras saw, as the gallery keeps them: recorded, listed, shown and removed.

Whether one is shown depends on its age and on its person, who may have expired; both count at once, and the
rows go with the upkeep.
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from recognition.bounds import EventId, Moment
from recognition.errors import DamagedGallery
from recognition.faces import Match
from recognition.gallery import event_rows, rows
from recognition.gallery import persons as rows_of_people
from recognition.gallery.database import empty_log
from recognition.gallery.store import Gallery
from recognition.gallery.tables import State, events, gallery_of, naive_utc, persons, samples
from recognition.results import EventPage
from recognition.visits import Event, Visit
from serving.errors import InvalidRequest, NotFound

log = logging.getLogger(__name__)

# The beginning and the id of an event. Keys are those of all galleries: one would tell how much others have.
Cursor = tuple[Moment, EventId]
CURSOR: TypeAdapter[Cursor] = TypeAdapter(Cursor)
ORDER = events.c.since, events.c.event_id
# In a gallery; the oldest give way. With pictures of 20 KB these are 2 GB: a month of 3,300 visits a day.
MAX_EVENTS = 100_000  # to count them takes SQLite 5 ms and PostgreSQL 14, with each new one
GIVE_WAY = 100  # at once, so that they are not overwritten one by one
MAX_CAMERAS = 1000  # that are told
# Of distances, and significant ones of shares of strangers. From exact ones, whoever may send vectors of
# their own making would learn a stored vector with as many requests as it has numbers.
DIGITS = 2
# In one transaction: SQLite overwrites what it deletes, and others wait meanwhile; see faces.py.
ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Which:
    """Which events are meant: those of one camera, of a person, and that began in a time; None: any.

    person: the id.
    since: they began then or later, until: before then.
    """

    camera: str | None = None
    person: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def condition(self, connection: sa.Connection) -> sa.ColumnElement[bool]:
        """Tell them."""
        parts = [event_rows.inside(connection)]
        if self.person is not None:
            parts = [event_rows.of_person(connection, self.person)]
        if self.camera is not None:
            parts.append(events.c.camera == self.camera)
        if self.since is not None:
            parts.append(events.c.since >= naive_utc(self.since))
        if self.until is not None:
            parts.append(events.c.since < naive_utc(self.until))
        return sa.and_(*parts)


EVERY = Which()


def record(
    gallery: Gallery,
    visit: Visit,
    match: Match | None,
    distance: float | None,
    false_match: float | None,
    unknown: str | None = None,
    *,
    keep_known: bool,
    keep_unknown: bool,
) -> Event:
    """Store a visit, and who it was; one of the same id is replaced. It is on disk when this returns.

    Beyond MAX_EVENTS the oldest give way.

    Args:
        gallery: whose event it is.
        visit: its picture is a JPEG that is fit to be kept, or None.
        match: whose face it is; None: nobody's here. A sample or a person who have gone since are nobody's.
        distance, false_match: of the match, stored to DIGITS, and of nobody not at all.
        unknown: the id of the group of unknown faces that it is in; None: in none.
        keep_known, keep_unknown: whether the picture is kept of somebody known, and of somebody unknown.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    given_way: list[str] = []
    with gallery.writing() as (connection, begin):
        person, sample = (None, None) if match is None else _whose(connection, match)
        kept = keep_unknown if person is None else keep_known
        whose = {
            "person": person,
            "sample": sample,
            "unknown": unknown if person is None else None,
            "distance": None if person is None or distance is None else round(distance, DIGITS),
            "false_match": None if person is None or false_match is None else _roughly(false_match),
        }
        visit = visit if kept else replace(visit, picture=None)
        is_new = event_rows.store(connection, visit, whose, gallery.now())
        query = event_rows.with_people(connection, None).where(event_rows.of_id(connection, visit.id))
        event = event_rows.event_of(connection.execute(query).one())
        if is_new and event_rows.count_all(connection) > MAX_EVENTS:
            given_way = event_rows.remove(connection, event_rows.oldest(connection, GIVE_WAY))
            begin("expire", [], events=given_way)
    if given_way:
        empty_log(gallery.engine)
    return event


def _roughly(share: float) -> float:
    return float(f"{share:.{DIGITS}g}")


def _whose(connection: sa.Connection, match: Match) -> tuple[int | None, int | None]:
    """Return the keys of the person and the sample of a match, as they are by now; None: gone."""
    columns = sa.select(samples.c.key, samples.c.person)
    sample = connection.execute(columns.where(rows.of_id(connection, match.sample.id))).first()
    told = rows_of_people.of_id(connection, match.sample.person or "")
    person = connection.execute(sa.select(persons.c.key).where(told)).scalar()
    if sample is None:
        return person, None
    return (sample.person if person is None else person), sample.key


def page(
    gallery: Gallery, which: Which, kept_for: timedelta, *, limit: int, after: str | None = None
) -> EventPage:
    """Return the newest events, by when they began.

    Args:
        gallery: whose events they are.
        which: of them.
        kept_for: older ones are not shown.
        limit: how many at most.
        after: `next` of the page before; events that have gone meanwhile do not matter.

    Raises:
        InvalidRequest: `after` is not from a page.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    cursor = None if after is None else _cursor(after)
    with gallery.reading() as (connection, current):
        oldest, expired_by = _oldest(gallery, current, kept_for), current.expired_by
        those = which.condition(connection)
        total = event_rows.count(connection, those, oldest, expired_by)
        some = event_rows.with_people(connection, expired_by).where(those)
        some = event_rows.unexpired(connection, some, oldest, expired_by)
        if cursor is not None:
            began, event_id = cursor
            place = sa.tuple_(sa.literal(naive_utc(began)), sa.literal(event_id))
            some = some.where(sa.tuple_(*ORDER) < place)
        newest = some.order_by(*(column.desc() for column in ORDER)).limit(limit + 1)
        found = [event_rows.event_of(row) for row in connection.execute(newest)]
        of = {"gallery": gallery_of(connection), "most": MAX_CAMERAS}
        cameras = list(connection.execute(_CAMERAS, of).scalars())
    listed = found[:limit]
    people = sorted({event.person for event in listed if event.person is not None})
    gallery.audit.read("list_events", [], persons=people)
    last = _opaque(listed[-1]) if len(found) > limit else None
    return EventPage(listed, total, last, cameras)


def go_on(gallery: Gallery, visit: Visit, kept_for: timedelta) -> Event:
    """Store how long a visit has lasted by now, and leave whose it is as it was; returns the event.

    visit: of it only when it was and in how many frames; what else is stored stays.
    kept_for: older events are not there.

    Raises:
        NotFound: there is no event of this visit.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    with gallery.writing() as (connection, _):
        hidden_by = rows.enter(connection, gallery.name).trust.hides_by(gallery.moment())
        place = visit.id, _before(hidden_by, kept_for), hidden_by
        _find(connection, *place)
        event_rows.go_on(connection, visit, gallery.now())
        return event_rows.event_of(_find(connection, *place))


def get(gallery: Gallery, event_id: str, kept_for: timedelta) -> Event:
    """Return one event.

    kept_for: older ones are not shown.

    Raises:
        NotFound: there is none.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    with gallery.reading() as (connection, current):
        row = _find(connection, event_id, _oldest(gallery, current, kept_for), current.expired_by)
    gallery.audit.read("show_event", [], **_about(row))
    return event_rows.event_of(row)


def picture(gallery: Gallery, event_id: str, kept_for: timedelta) -> bytes:
    """Return the picture that is kept of an event, a JPEG.

    kept_for: older events are not shown.

    Raises:
        NotFound: there is no such event, or nothing is kept of it, or that is damaged; the log says so.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log, which is to have what is shown, cannot be written.
    """
    with gallery.reading() as (connection, current):
        row = _find(connection, event_id, _oldest(gallery, current, kept_for), current.expired_by)
        try:
            kept = event_rows.picture_of(connection, row)
        except DamagedGallery as e:
            log.error("event %s: %s; delete it", event_id, e.detail)
            raise NotFound("The picture that was kept of this event is damaged.") from e
    if kept is None:
        raise NotFound("No picture is kept of this event.")
    gallery.audit.read("show_event", [], **_about(row))
    return kept


def _find(connection: sa.Connection, event_id: str, oldest: datetime, expired_by: datetime | None) -> Any:
    """Return the row of an event, with its picture as it is stored; moments as in `event_rows.unexpired`.

    Raises:
        NotFound: there is none.
    """
    query = event_rows.with_people(connection, expired_by).add_columns(events.c.picture)
    query = query.where(event_rows.of_id(connection, event_id))
    row = connection.execute(event_rows.unexpired(connection, query, oldest, expired_by)).first()
    if row is None:
        raise no_event()
    return row


def _about(row: Any) -> dict[str, str]:
    return {"person": row.person_id} if row.person_id else {}


def delete(gallery: Gallery, event_id: str) -> None:
    """Remove one event.

    Raises:
        NotFound: there is none.
        GalleryUnavailable: the database cannot be reached or is locked.
        AuditUnavailable: the audit log cannot be written.
    """
    with gallery.writing() as (connection, begin):
        gone = event_rows.remove(connection, event_rows.of_id(connection, event_id))
        if not gone:
            raise no_event()
        begin("delete_events", [], events=gone)
    empty_log(gallery.engine)


def delete_some(gallery: Gallery, which: Which) -> int:
    """Remove events, a thousand in one transaction. Returns how many there were.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked. The steps before are done.
        AuditUnavailable: the audit log cannot be written. The steps before are done.
    """
    removed, gone = 0, [""]
    while gone:
        with gallery.writing() as (connection, begin):
            gone = event_rows.remove(connection, which.condition(connection), ROWS_AT_ONCE)
            if gone:
                begin("delete_events", [], events=gone)
        removed += len(gone)
    empty_log(gallery.engine)
    return removed


def remove_expired(gallery: Gallery, kept_for: timedelta) -> None:
    """Remove what is older than events are kept, if the clock is to be believed.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    while remove_some_expired(gallery, kept_for):
        pass


def remove_some_expired(gallery: Gallery, kept_for: timedelta) -> bool:
    """Remove as many of these as one transaction may. Returns whether there were any.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    moment = gallery.moment()
    with gallery.reading() as (connection, current):
        any_left = sa.select(events.c.key).where(_by(connection, current.trust.hides_by(moment), kept_for))
        if connection.execute(any_left.limit(1)).first() is None:
            return False
    with gallery.writing() as (connection, begin):
        trust = rows.enter(connection, gallery.name).trust  # as it is after this look at the clock
        erased_by = trust.judged(moment, timedelta(0)).erases_by(moment)
        gone = event_rows.remove(connection, _by(connection, erased_by, kept_for), ROWS_AT_ONCE)
        if gone:
            begin("expire", [], events=gone)
    empty_log(gallery.engine)
    return bool(gone)


def _by(connection: sa.Connection, moment: datetime, kept_for: timedelta) -> sa.ColumnElement[bool]:
    """Tell the events that are older than they are kept by a moment, naive UTC."""
    return sa.and_(event_rows.inside(connection), events.c.recorded <= _before(moment, kept_for))


def no_event() -> NotFound:
    """Say that there is no such event."""
    return NotFound("There is no event with this id.")


def _oldest(gallery: Gallery, current: State, kept_for: timedelta) -> datetime:
    """Return the moment, naive UTC, after which what is shown was recorded."""
    return _before(current.trust.hides_by(gallery.moment()), kept_for)


def _before(moment: datetime, kept_for: timedelta) -> datetime:
    return datetime.min if moment - datetime.min < kept_for else moment - kept_for


def _cameras() -> sa.Select[Any]:
    """Select the names of the first cameras, from one to the next in their index, not event by event."""
    here = events.c.gallery == sa.bindparam("gallery")
    least = sa.func.min(events.c.camera).label("camera")
    first = sa.select(least, sa.literal(1).label("place")).where(here).cte("cameras", recursive=True)
    following = sa.select(sa.func.min(events.c.camera)).where(here, events.c.camera > first.c.camera)
    more = first.c.camera.is_not(None), first.c.place < sa.bindparam("most")
    each = first.union_all(sa.select(following.scalar_subquery(), first.c.place + 1).where(*more))
    return sa.select(each.c.camera).where(each.c.camera.is_not(None)).order_by(each.c.camera)


_CAMERAS = _cameras()


def _opaque(event: Event) -> str:
    text = json.dumps([event.since.astimezone(UTC).isoformat(), event.id], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode("ascii")


def _cursor(after: str) -> Cursor:
    try:
        return CURSOR.validate_json(base64.urlsafe_b64decode(after))
    except ValueError as e:
        raise InvalidRequest("after: send `next` of the page before.") from e
