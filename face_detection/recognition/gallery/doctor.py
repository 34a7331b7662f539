"""A check of what is in a gallery, part by part: people that are alike, labels that may be wrong, doubles.

Each part is a few short transactions, between which others search.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from pydantic import TypeAdapter

from recognition.bounds import Id, Moment
from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.gallery import rows
from recognition.gallery.atrest import picture_of, vector_of
from recognition.gallery.index import VectorIndex
from recognition.gallery.persons import inside, of_id
from recognition.gallery.portable import LARGEST
from recognition.gallery.search import Nearest
from recognition.gallery.store import Gallery
from recognition.gallery.surroundings import matches, neighbourhoods
from recognition.gallery.tables import (
    SAMPLES,
    State,
    gallery_of,
    naive_utc,
    persons,
    sample_of,
    samples,
)
from recognition.gallery.vector_rows import joined, searched, with_them
from recognition.matching.checkup import NEUTRAL, Seen, in_order, of_person, of_sample
from recognition.matching.doubts import DOUBLE
from recognition.results import Examination, Finding, Scale
from serving.errors import InvalidRequest
from serving.hangup import check_client

AT_ONCE = 32  # samples, in one search
PART = 1000  # samples, after which a check says how far it is

LAST = 2**63 - 1

Place = tuple[int, int]  # of a sample: the key of its person, and its own
# What `next` names in their place, since keys tell how much there is in other galleries: the id of the person
# and when they were made, and the id of the sample.
Cursor = tuple[Id, Moment, Id]
CURSOR: TypeAdapter[Cursor] = TypeAdapter(Cursor)
ROW = SAMPLES.add_columns(
    samples.c.person,
    samples.c.picture,
    persons.c.created.label("person_created"),
)


def check(
    gallery: Gallery, scale: Scale, advance: Callable[[int], object] = lambda samples: None
) -> list[Finding]:
    """Look at all samples: the findings, the surest first.

    Args:
        gallery: whose samples they are.
        scale: what is alike, and what is poor.
        advance: is told the number of samples of each step.

    Raises:
        GalleryModelMismatch, GalleryUnavailable: as for `examine`.
    """
    # An index takes many times as long for as many searches, and misses some.
    nearest = None if gallery.search_kind == "memory" else _in_memory(gallery, scale)
    found: list[Finding] = []
    after: str | None = None
    while True:
        part = examine(gallery, scale, limit=PART, after=after, nearest=nearest)
        found += part.findings
        advance(part.examined)
        if (after := part.next) is None:
            return in_order(found)


def examine(
    gallery: Gallery,
    scale: Scale,
    *,
    limit: int,
    after: str | None = None,
    nearest: Nearest | None = None,
    give_way: Callable[[], None] = lambda: None,
) -> Examination:
    """Look at the next samples, person by person, each against the whole gallery.

    It takes as long as a search for so many faces. Damaged samples are passed over.

    Args:
        gallery: whose samples they are.
        scale: what is alike, and what is poor.
        limit: how many samples at most.
        after: `next` of the part before; None: the first ones.
        nearest: finds the nearest samples; None: the gallery's own search.
        give_way: lets others go first; called in between.

    Raises:
        InvalidRequest: `after` is not from a part.
        GalleryModelMismatch: the gallery holds vectors of another model.
        GalleryUnavailable: the database cannot be reached or is locked.
        ClientGone.
    """
    found: list[Finding] = []
    cursor = None if after is None else _cursor(after)
    place, examined, more, last = (-1, -1), 0, True, None
    while more and examined < limit:
        if examined:
            check_client()
            give_way()
        with gallery.searching() as (search, connection, current):
            if current.fingerprint != scale.fingerprint and rows.any_sample(connection, current.expired_by):
                raise GalleryModelMismatch("The gallery was made with another embedding model.")
            if cursor is not None:
                place, cursor = _place(connection, *cursor), None
            some, more = _next(connection, current, place, min(AT_ONCE, limit - examined))
            whole = [(row, vector) for row in some if (vector := _vector(connection, row, scale)) is not None]
            own = partial(search.nearest, connection, current)
            found += _of_samples(nearest or own, connection, current, scale, whole)
            found += _of_people(connection, current, scale, some)
        if some:
            last = some[-1]
            examined, place = examined + len(some), (last.person, last.key)
    return Examination(in_order(found), examined, gallery.count(), _opaque(last) if more else None)


def _in_memory(gallery: Gallery, scale: Scale) -> Nearest:
    """Read all vectors, as they are now, to search among them: 0.5 KB a sample of 128 values."""
    query: sa.Select[Any] = sa.select(samples.c.key, samples.c.sample_id).order_by(samples.c.key)
    query = query.execution_options(yield_per=PART)
    with gallery.reading() as (connection, current):
        query = joined(query, searched(connection))
        index = VectorIndex(scale.dimension, expected=rows.count(connection))
        query = rows.unexpired(connection, query.where(rows.inside(connection)), current.expired_by)
        for some in connection.execute(query).partitions():
            read = [(row.key, _vector(connection, row, scale)) for row in some]
            whole = [(key, vector) for key, vector in read if vector is not None]
            if whole:
                keys, vectors = zip(*whole, strict=True)
                index.put(np.array(keys, dtype=np.int64), np.stack(vectors))
    return index.nearest


def _place(connection: sa.Connection, person_id: str, created: datetime, sample_id: str) -> Place:
    """Find the place of a sample.

    If it has gone, others of its person come again; if that one has, too, those made at the same time do.
    """
    person = sa.select(persons.c.key).where(of_id(connection, person_id))
    key = connection.execute(person).scalar()
    if key is None:
        before = sa.select(sa.func.max(persons.c.key)).where(inside(connection))
        before = before.where(persons.c.created < naive_utc(created))
        return connection.execute(before).scalar() or -1, LAST
    sample = sa.select(samples.c.key).where(rows.of_id(connection, sample_id), samples.c.person == key)
    return key, connection.execute(sample).scalar() or -1


def _opaque(row: Any) -> str:
    cursor = row.person_id, row.person_created.replace(tzinfo=UTC).isoformat(), row.sample_id
    return base64.urlsafe_b64encode(json.dumps(cursor, ensure_ascii=False).encode()).decode("ascii")


def _cursor(after: str) -> Cursor:
    try:
        return CURSOR.validate_json(base64.urlsafe_b64decode(after))
    except ValueError as e:
        raise InvalidRequest("after: send `next` of the part before.") from e


def _next(connection: sa.Connection, current: State, place: Place, limit: int) -> tuple[list[Any], bool]:
    """Return the next rows, and whether there are more."""
    order = samples.c.person, samples.c.key
    behind = sa.tuple_(*order) > sa.tuple_(*map(sa.literal, place))
    # A sum, since SQLite would find the gallery by the index of ids, and sort all of it.
    here = samples.c.gallery + 0 == gallery_of(connection)
    query = ROW.where(here, behind).order_by(*order).limit(limit + 1)
    vectors = searched(connection)
    # Samples without a vector, too: there may be something to say of their people.
    query = with_them(query.add_columns(vectors.vector, vectors.fingerprint), vectors, outer=True)
    some = connection.execute(rows.unexpired(connection, query, current.expired_by)).all()
    return list(some[:limit]), len(some) > limit


def _vector(connection: sa.Connection, row: Any, scale: Scale) -> NDArray[np.float32] | None:
    """Read a vector; None: it is damaged, or of another model."""
    if row.fingerprint != scale.fingerprint:
        return None
    try:
        vector = vector_of(connection, row)
    except GalleryUnavailable:
        return None
    return vector if len(vector) == scale.dimension and (np.abs(vector) < LARGEST).all() else None


def _of_samples(
    nearest: Nearest,
    connection: sa.Connection,
    current: State,
    scale: Scale,
    some: Sequence[tuple[Any, NDArray[np.float32]]],
) -> Iterator[Finding]:
    if not some:
        return
    around = neighbourhoods(
        nearest,
        connection,
        current,
        np.stack([vector for _, vector in some]),
        [row.person for row, _ in some],
        [{row.sample_id} for row, _ in some],
        reach=NEUTRAL * scale.threshold,
    )
    matched = matches(connection, around, DOUBLE * scale.threshold)
    for (row, _), one, (other, doubles) in zip(some, around, matched, strict=True):
        sample = replace(sample_of(row), picture=picture_of(connection, row))
        own = one.own[0].distance if one.own else None
        yield from of_sample(Seen(sample, own, other, doubles), scale.threshold)


def _of_people(
    connection: sa.Connection, current: State, scale: Scale, some: Sequence[Any]
) -> Iterator[Finding]:
    """Tell of those people what there is to tell whose first sample is among these."""
    number, known = sa.func.count().label("number"), sa.func.count(samples.c.quality).label("known")
    best, first = sa.func.max(samples.c.quality).label("best"), sa.func.min(samples.c.key).label("first")
    columns: tuple[Any, ...] = (number, known, best, first)
    query = sa.select(*columns).group_by(samples.c.person)
    query = query.where(samples.c.person.in_({row.person for row in some}))
    query = rows.unexpired(connection, query, current.expired_by)
    by_first = {row.first: row for row in connection.execute(query)}
    for row in some:
        if (theirs := by_first.get(row.key)) is not None:
            quality = theirs.best if theirs.known == theirs.number else None
            yield from of_person(sample_of(row), theirs.number, quality, scale.min_quality)
