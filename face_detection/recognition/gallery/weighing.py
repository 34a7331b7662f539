"""All samples of people, weighed together: who a face likeliest is, and how many strangers come as near.

Nothing is kept of a person beside their samples: what is weighed is read in the transaction that searches.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition import backgrounds
from recognition.faces import Match
from recognition.gallery import persons, rows
from recognition.gallery.atrest import dimension_of
from recognition.gallery.database import portions
from recognition.gallery.portable import LARGEST
from recognition.gallery.search import Near, Neighbours, Search
from recognition.gallery.surroundings import look_up, of_people
from recognition.gallery.tables import State, samples
from recognition.gallery.tables import persons as people
from recognition.matching.background import LEAST_PEOPLE
from recognition.matching.decision import Calibration, calibrated, false_matches, meaning

# Samples nearest to a face, and how many of their people are weighed, the nearest ones. In 10,688 searches of
# benchmarks/identification.py whoever scored best was behind 16 others' samples, and 12 people, at most.
LOOKED_AT = 32
PEOPLE = 16
MOST_PEOPLE = 600  # of a gallery, from whom it is told what scores mean, in 0.1 to 0.2 s
MOST_SAMPLES = 10 * MOST_PEOPLE
# People of whom it is told in some 10 ms, by the first search after a change; of more, the upkeep does it.
QUICK = 100
# Of more people those without samples count as well, for whom all are looked through: rates come out too high
# by their share.
LOOKED_THROUGH = 10_000
MOST_EACH = 100  # samples of one person, the newest, that are weighed: more hardly move a mean, and take time
_BY_PERSON = (
    sa.select(
        samples.c.key,
        samples.c.person,
        sa.func.row_number()
        .over(partition_by=samples.c.person, order_by=samples.c.key.desc())
        .label("place"),
    )
    .where(samples.c.person.in_(sa.bindparam("people", expanding=True)))
    .subquery()
)
_OF_PEOPLE = sa.select(_BY_PERSON.c.key, _BY_PERSON.c.person).where(
    _BY_PERSON.c.place <= sa.bindparam("most", type_=sa.Integer)
)
NOBODY_TO_COMPARE_WITH = (
    "There is no background for this model, and this gallery has too few people to serve as one: "
    f"{LEAST_PEOPLE} are needed. Send min_distance instead."
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What scores mean in a state of a gallery; None: it cannot be told.

    people: in the gallery then.
    """

    calibration: Calibration | None
    fingerprint: str
    revision: int
    people: int

    def may_follow(self, connection: sa.Connection) -> bool:
        """Whether a search may tell it anew, in a gallery that has changed since."""
        if self.people <= QUICK or self.calibration is None:
            return True
        some = sa.select(people.c.key).where(persons.inside(connection)).limit(QUICK + 1)
        return len(connection.execute(some).all()) <= QUICK


@dataclass(frozen=True, slots=True)
class Weighed:
    """A sample that a face may match: its key, its distance, the key of its person, and the person's rate.

    person: None where no rate can be told.
    false_match: which share of strangers would come as near to somebody here; None: that cannot be told.
    """

    key: int
    distance: float
    person: int | None
    false_match: float | None


def calibrate(connection: sa.Connection, state: State, fingerprint: str) -> Kept:
    """Tell what scores of a model's vectors mean in a gallery as it is now."""
    number = persons.number(connection)
    if number <= LOOKED_THROUGH:
        empty = sa.select(sa.func.count()).select_from(people).where(persons.inside(connection))
        empty = empty.where(people.c.by_hand, ~persons.has_samples())  # others go with their last sample
        number -= connection.execute(empty).scalar_one()
    vectors = {}
    if state.fingerprint == fingerprint and (dimension := dimension_of(connection)) is not None:
        vectors = _vectors(connection, state, _some(connection), dimension)
    known = calibrated(backgrounds.shipped(fingerprint), list(vectors.values()), number)
    return Kept(known, fingerprint, state.revision, number)


def weighed(
    search: Search,
    connection: sa.Connection,
    state: State,
    probes: NDArray[np.float32],
    neighbours: Sequence[Neighbours],
    known: Calibration | None,
    most: int,
) -> list[list[Weighed]]:
    """Weigh the people whose samples are the nearest ones of probes, float32 (n, d); the order stays.

    known: what scores mean here; None: that cannot be told.
    most: so many people of each probe, the nearest, are weighed.
    """
    if known is None:
        return [
            [Weighed(*each, None, None) for each in zip(keys.tolist(), distances.tolist(), strict=True)]
            for keys, distances in neighbours
        ]
    owners: dict[int, Any] = {}
    look_up(connection, owners, {key for keys, _ in neighbours for key in keys.tolist()})
    whose = [[owners[key].person for key in keys.tolist()] for keys, _ in neighbours]
    near = {person for some in whose for person in list(dict.fromkeys(some))[:most]}
    rates = _rates(search, connection, state, probes, near, known)
    return [
        [
            Weighed(key, distance, person, rates.get((place, person)))
            for key, person, distance in zip(keys.tolist(), some, distances.tolist(), strict=True)
        ]
        for place, (some, (keys, distances)) in enumerate(zip(whose, neighbours, strict=True))
    ]


def _rates(
    search: Search,
    connection: sa.Connection,
    state: State,
    probes: NDArray[np.float32],
    near: Collection[int],
    known: Calibration,
) -> dict[tuple[int, int], float]:
    """Tell the rates of people for each probe, by the places of the probes and the people's keys."""
    theirs = {
        row.key: row.person
        for some in portions(sorted(near))
        for row in connection.execute(_OF_PEOPLE, {"people": some, "most": MOST_EACH})
    }
    keys, vectors = search.vectors(connection, state, np.array(sorted(theirs), np.int64))
    if not len(keys):
        return {}
    weighed_people, owners = np.unique([theirs[key] for key in keys.tolist()], return_inverse=True)
    found = false_matches(known, probes, vectors, owners).tolist()
    return {
        (place, person): rate
        for place, row in enumerate(found)
        for person, rate in zip(weighed_people.tolist(), row, strict=True)
    }


def reach(known: Calibration, wish: float, probes: NDArray[np.float32]) -> Near:
    """Tell at which distance from probes, (n, d), an ordinary face comes to a wish with a single sample."""
    cosine = meaning(known, wish).cosine
    near: Near = np.linalg.norm(probes.astype(np.float64), axis=1) * np.sqrt(max(0.0, 2 - 2 * cosine))
    return near


def likeliest(found: Sequence[Weighed], k: int, *, per_person: bool) -> list[Weighed]:
    """Take the k samples of those who are likeliest; of one person's samples the nearest come first.

    per_person: take of each person only the nearest sample.
    """
    order = sorted(found, key=lambda each: (_rate(each), each.distance, each.key))
    if per_person:
        firsts: dict[int | None, Weighed] = {}
        for each in order:
            firsts.setdefault(each.person, each)
        order = list(firsts.values())
    return order[:k]


def matches(connection: sa.Connection, found: Sequence[Sequence[Weighed]]) -> list[list[Match]]:
    """Read the samples."""
    stored = rows.samples_of(connection, {each.key for some in found for each in some})
    return [[Match(stored[each.key], each.distance, each.false_match) for each in some] for some in found]


def _some(connection: sa.Connection) -> list[int]:
    """Choose people of a gallery, the same ones each time, and not more samples than MOST_SAMPLES."""
    theirs = sa.select(sa.func.count()).where(samples.c.person == people.c.key).scalar_subquery()
    query = sa.select(people.c.key, theirs).where(persons.inside(connection), persons.has_samples())
    chosen = connection.execute(query.order_by(people.c.person_id).limit(MOST_PEOPLE)).all()
    seen = itertools.accumulate(number for _, number in chosen)
    return [key for (key, _), so_far in zip(chosen, seen, strict=True) if so_far <= MOST_SAMPLES]


def _rate(each: Weighed) -> float:
    return 1.0 if each.false_match is None else each.false_match


def _vectors(
    connection: sa.Connection, state: State, keys: Collection[int], dimension: int
) -> dict[int, NDArray[np.float32]]:
    """Read all vectors of people, float32 (n, d), by the keys of the people; damaged ones are left out."""
    read: dict[int, NDArray[np.float32]] = {}
    for key, some in of_people(connection, state, keys).items():
        vectors = [vector for _, vector in some if len(vector) == dimension]
        whole = [vector for vector in vectors if (np.abs(vector) < LARGEST).all()]
        if whole:
            read[key] = np.stack(whole)
    return read
