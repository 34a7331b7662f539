"""Looks for faces among those of an index. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.archive.entries import File, Seen, SeenFace
from recognition.matching import people
from recognition.matching.nearest import nearest, squared_norms
from recognition.matching.people import Doubles, directions

BLOCK_VALUES = 2**22  # scores that are computed at a time

# Tells how far vectors, float32 (n, d), are from somebody: float64 (n,).
Measure = Callable[[NDArray[np.float32]], NDArray[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Hit:
    """The face of a picture that is likeliest the one that is looked for.

    distance: of the two vectors, or to the nearest sample of the person.
    false_match: which share of strangers would come as near; None: that cannot be told.
    number: of the face in its picture, from 1, the largest first.
    """

    file: File
    face: SeenFace
    number: int
    distance: float
    false_match: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Faces of some pictures that may be the one that is looked for.

    places: the number of its picture and of the face in it, both from 0, of each.
    distances: float64 (n,), as they were measured.
    """

    seen: Sequence[Seen]
    places: Sequence[tuple[int, int]]
    distances: NDArray[np.float64]

    def faces(self) -> list[SeenFace]:
        """Return the faces."""
        return [self.seen[picture].faces[number] for picture, number in self.places]

    def hit(self, place: int, distance: float, false_match: float | None = None) -> Hit:
        """Return one of them, which was found to be the one."""
        picture, number = self.places[place]
        seen = self.seen[picture]
        return Hit(seen.file, seen.faces[number], number + 1, distance, false_match)


def from_samples(samples: NDArray[np.float32]) -> Measure:
    """Measure the distance to the nearest of samples, float32 (m, d), m > 0."""
    norms = squared_norms(samples)

    def measure(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.array([distances[0] for _, distances in nearest(vectors, samples, norms, 1)])

    return measure


def from_people(templates: Doubles, centres: NDArray[np.floating]) -> Measure:
    """Measure how far vectors are from being the likeliest person's, beside a background: less is likelier.

    templates: float64 (m, d), m > 0, of people; centres: (c, d), of the background.

    Returns:
        What gives the scores of people.scores, negated.
    """

    def measure(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        step = max(1, BLOCK_VALUES // len(templates))
        blocks = (directions(vectors[start : start + step]) for start in range(0, len(vectors), step))
        return np.concatenate([-people.scores(some, templates, centres).max(axis=1) for some in blocks])

    return measure


def candidates(seen: Sequence[Seen], measure: Measure, reach: float) -> Candidates:
    """Find the faces of pictures, one or more, that are nearer than `reach` to somebody."""
    places = [(place, number) for place, each in enumerate(seen) for number in range(len(each.faces))]
    distances = measure(np.stack([seen[picture].faces[number].vector for picture, number in places]))
    near = np.flatnonzero(distances < reach)
    return Candidates(seen, [places[place] for place in near], distances[near])


def best_of_each_picture(hits: Iterable[Hit]) -> list[Hit]:
    """Take the best face of each picture, the best picture first."""
    best: dict[bytes, Hit] = {}
    for hit in hits:
        other = best.get(hit.file.path)
        if other is None or _order(hit) < _order(other):
            best[hit.file.path] = hit
    return sorted(best.values(), key=_order)


def _order(hit: Hit) -> tuple[float, bytes]:
    return hit.distance, hit.file.path
