"""People and samples that come from another program, perhaps again: who is there already."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from recognition.faces import Person
from recognition.gallery import persons as rows_of_people
from recognition.gallery import rows
from recognition.gallery.database import portions
from recognition.gallery.store import Gallery
from recognition.gallery.tables import persons, samples
from recognition.names import key_of

ARRIVED = 5  # the version of the UUIDs of people who have arrived, and of nobody else that a service makes


class Arrived(NamedTuple):
    """A sample that is there. person: whose it is. untouched: it is as it was when it was enrolled."""

    person: str
    untouched: bool


def settle(gallery: Gallery, people: Sequence[Person]) -> dict[str, str]:
    """Make people who are not there.

    Whoever has one of their ids is there. So is somebody alone of their name, in whatever case, unless they
    have arrived, too: names that come from one source apart stay apart.

    Args:
        gallery: where they arrive.
        people: with ids that are UUIDs of version 5, each once.

    Returns:
        By each id, the id of who that is in the gallery.

    Raises:
        NotFound, GalleryUnavailable, AuditUnavailable.
    """
    with gallery.writing() as (connection, begin):
        ids = [person.id for person in people]
        here = {row.person_id for row in rows_of_people.known(connection, persons.c.person_id, ids)}
        left = [person for person in people if person.id not in here]
        keys = sorted({key_of(person.name) for person in left})
        alike: dict[str, list[str]] = {}
        for row in rows_of_people.known(connection, persons.c.name_key, keys):
            if not _arrived(row.person_id):
                alike.setdefault(row.name_key, []).append(row.person_id)
        settled = {person.id: person.id for person in people}
        new = []
        for person in left:
            same = alike.get(key_of(person.name), [])
            if len(same) == 1:
                settled[person.id] = same[0]
            else:
                new.append(person)
        rows_of_people.add(connection, new)
        if new:
            begin("make", [], persons=[person.id for person in new])
    return settled


def arrived(gallery: Gallery, ids: Sequence[str]) -> dict[str, Arrived]:
    """Tell which of some samples are there, and what is worth knowing of them.

    Raises:
        NotFound, GalleryUnavailable.
    """
    columns = samples.c.sample_id, persons.c.person_id, samples.c.created, samples.c.modified
    query = sa.select(*columns).join_from(samples, persons, samples.c.person == persons.c.key)
    with gallery.reading() as (connection, _):
        return {
            sample_id: Arrived(person, created == modified)
            for some in portions(ids)
            for sample_id, person, created, modified in connection.execute(
                query.where(rows.inside(connection), samples.c.sample_id.in_(some))
            )
        }


def _arrived(person_id: str) -> bool:
    try:
        return uuid.UUID(person_id).version == ARRIVED
    except ValueError:
        return False


def namesakes(gallery: Gallery, limit: int) -> list[tuple[str, int]]:
    """Return names that several people have, in whatever case: one spelling, and how many they are.

    limit: how many names at most.

    Raises:
        NotFound, GalleryUnavailable.
    """
    number = sa.func.count()
    with gallery.reading() as (connection, _):
        query = sa.select(sa.func.min(persons.c.name), number).where(rows_of_people.inside(connection))
        shared = query.group_by(persons.c.name_key).having(number > 1).order_by(persons.c.name_key)
        return [(row[0], row[1]) for row in connection.execute(shared.limit(limit))]
