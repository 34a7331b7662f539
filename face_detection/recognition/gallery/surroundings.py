"""What lies around vectors: samples of the same person, the nearest of somebody else, and doubles.

The caller gives the transaction, and holds the lock of the search.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import GalleryUnavailable
from recognition.faces import Around, Match, Sample
from recognition.gallery import persons, rows
from recognition.gallery.atrest import picture_of, vector_of
from recognition.gallery.database import portions
from recognition.gallery.search import Nearest
from recognition.gallery.tables import SAMPLES, State, sample_of, samples
from recognition.gallery.tables import persons as people
from recognition.gallery.vector_rows import joined, searched
from recognition.names import key_of

FIRST = 16  # neighbours looked at: few people have more samples
MORE = 8  # times as many, where all of those are of the same person
MOST = 16 * MORE**2  # after which nobody else is near enough to matter

# Put together once: that takes as long as to execute it.
_LOOKED_UP = sa.select(samples.c.key, samples.c.sample_id, samples.c.person).where(
    samples.c.key.in_(sa.bindparam("keys", expanding=True))
)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A stored sample: its key and id, the key of its person, and its distance."""

    key: int
    sample_id: str
    person: int
    distance: float


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What lies around one vector, nearest first.

    own: samples of its own person: the nearest one at least, if there is any.
    others: those of other people that were found on the way; the nearest of them, if it is within reach.
    """

    own: list[Neighbour]
    others: list[Neighbour]


def neighbourhoods(
    nearest: Nearest,
    connection: sa.Connection,
    state: State,
    probes: NDArray[np.float32],
    owners: Sequence[int | None],
    without: Sequence[Collection[str]],
    *,
    reach: float,
) -> list[Neighbourhood]:
    """Look around vectors: one search for all of them, and further ones for the few that it leaves open.

    Args:
        nearest: finds the nearest samples; what has gone meanwhile does not matter.
        connection, state: of the gallery.
        probes: float32 (n, d).
        owners: the keys of the people whose faces the probes are; None: nobody's who is there.
        without: ids of samples that do not count, for each probe.
        reach: nobody is looked for beyond this distance.
    """
    near: list[list[Neighbour]] = [[] for _ in probes]
    complete = [False] * len(probes)  # every sample was seen
    left, take = list(range(len(probes))), FIRST
    known: dict[int, Any] = {}
    while left:
        found = nearest(probes[left], take)
        look_up(connection, known, {int(key) for keys, _ in found for key in keys})
        open_: list[int] = []
        for place, (keys, distances) in zip(left, found, strict=True):
            near[place] = [
                Neighbour(key, known[key].sample_id, known[key].person, float(distance))
                for key, distance in zip(keys.tolist(), distances, strict=True)
                if key in known and known[key].sample_id not in without[place]
            ]
            complete[place] = len(keys) < take
            alone = all(each.person == owners[place] for each in near[place])
            if alone and not complete[place] and distances[-1] < reach:
                open_.append(place)
        left, take = open_ if take < MOST else [], take * MORE
    theirs = [
        [each for each in some if each.person == owner] for some, owner in zip(near, owners, strict=True)
    ]
    unseen = [
        place
        for place, owner in enumerate(owners)
        if owner is not None and not theirs[place] and not complete[place]
    ]
    vectors = of_people(
        connection, state, {owner for place in unseen if (owner := owners[place]) is not None}
    )
    for place in unseen:
        theirs[place] = _nearest(probes[place], vectors.get(owners[place] or 0, []), without[place])
    return [
        Neighbourhood(mine, [each for each in some if each.person != owner and each.distance < reach])
        for mine, some, owner in zip(theirs, near, owners, strict=True)
    ]


def around(
    nearest: Nearest,
    connection: sa.Connection,
    state: State,
    new: Sequence[Sample],
    vectors: NDArray[np.float32],
    without: Collection[str],
    *,
    reach: float,
    double: float,
) -> list[Around]:
    """Look around samples that are about to be stored.

    Args:
        nearest: finds the nearest samples.
        connection, state: of the gallery.
        new: n samples.
        vectors: float32 (n, d).
        without: ids of samples that are about to be replaced.
        reach: nobody else is looked for beyond this distance.
        double: samples below this distance may be of the same picture.
    """
    whose = _whose(connection, new)
    keys = [row.key if row else None for _, row in whose]
    found = neighbourhoods(nearest, connection, state, vectors, keys, [without] * len(new), reach=reach)
    matched = matches(connection, found, double)
    return [
        Around(
            person,
            row.name if row else sample.name,
            one.own[0].distance if one.own else None,
            other,
            doubles,
        )
        for sample, (person, row), one, (other, doubles) in zip(new, whose, found, matched, strict=True)
    ]


def matches(
    connection: sa.Connection, found: Sequence[Neighbourhood], double: float
) -> list[tuple[Match | None, tuple[Match, ...]]]:
    """Read the nearest sample of somebody else in each neighbourhood, and all samples below a distance."""
    doubles = [[each for each in (*one.own, *one.others) if each.distance < double] for one in found]
    keys = {each.key for one, near in zip(found, doubles, strict=True) for each in (*one.others[:1], *near)}
    query = SAMPLES.add_columns(samples.c.picture)
    stored = {
        row.key: replace(sample_of(row), picture=picture_of(connection, row))
        for some in portions(sorted(keys))
        for row in connection.execute(query.where(samples.c.key.in_(some)))
    }
    return [
        (
            Match(stored[one.others[0].key], one.others[0].distance) if one.others else None,
            tuple(Match(stored[each.key], each.distance) for each in near),
        )
        for one, near in zip(found, doubles, strict=True)
    ]


def _whose(connection: sa.Connection, new: Sequence[Sample]) -> list[tuple[str | None, Any]]:
    """Tell whose samples are: what those of one person have in common, and the row of who is there.

    What they have in common is None where nothing will be stored: nobody has the id, or several the name.
    """
    ids = sorted({sample.person for sample in new if sample.person is not None})
    name_keys = {sample.id: key_of(sample.name) for sample in new if sample.person is None}
    by_id = {row.person_id: row for row in persons.known(connection, people.c.person_id, ids)}
    by_name: dict[str, list[Any]] = {}
    for row in persons.known(connection, people.c.name_key, sorted(set(name_keys.values()))):
        by_name.setdefault(row.name_key, []).append(row)
    whose: list[tuple[str | None, Any]] = []
    for sample in new:
        if sample.person is not None:
            row = by_id.get(sample.person)
            whose.append((sample.person if row else None, row))
        else:
            namesakes = by_name.get(name_keys[sample.id], [])
            row = namesakes[0] if len(namesakes) == 1 else None
            # No id has a NUL, so that nobody's is taken for the key of a name.
            to_be_made = None if namesakes else f"\0{name_keys[sample.id]}"
            whose.append((row.person_id if row else to_be_made, row))
    return whose


def look_up(connection: sa.Connection, known: dict[int, Any], keys: set[int]) -> None:
    """Read the `key`, `sample_id` and `person` of those of these samples that are not known yet."""
    for some in portions(sorted(keys - known.keys())):
        known.update((row.key, row) for row in connection.execute(_LOOKED_UP, {"keys": some}))


def of_people(
    connection: sa.Connection, state: State, keys: Collection[int]
) -> dict[int, list[tuple[Any, NDArray[np.float32]]]]:
    """Read all vectors of some people, but for damaged ones, by the keys of the people."""
    vectors = searched(connection)
    query = joined(sa.select(samples.c.key, samples.c.sample_id, samples.c.person), vectors)
    query = rows.unexpired(connection, query, state.expired_by)
    query = query.where(vectors.fingerprint == state.fingerprint)
    read: dict[int, list[tuple[Any, NDArray[np.float32]]]] = {}
    for some in portions(sorted(keys)):
        for row in connection.execute(query.where(samples.c.person.in_(some))):
            try:
                read.setdefault(row.person, []).append((row, vector_of(connection, row)))
            except GalleryUnavailable:  # as the search sets it aside
                continue
    return read


def _nearest(
    probe: NDArray[np.float32], theirs: Sequence[tuple[Any, NDArray[np.float32]]], without: Collection[str]
) -> list[Neighbour]:
    """Order a person's samples by their exact distances."""
    compared = [
        Neighbour(
            row.key, row.sample_id, row.person, float(np.linalg.norm(vector.astype(np.float64) - probe))
        )
        for row, vector in theirs
        if row.sample_id not in without and vector.shape == probe.shape
    ]
    whole = [each for each in compared if np.isfinite(each.distance)]
    return sorted(whole, key=lambda each: (each.distance, each.key))
