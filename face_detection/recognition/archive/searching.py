"""Looks for faces among those of an index. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.archive.entries import File, Seen, SeenFace


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
    distances: float64 (n,), to the nearest of the vectors that are looked for.
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


def candidates(seen: Sequence[Seen], wanted: NDArray[np.float32], reach: float) -> Candidates:
    """Find the faces of pictures that are nearer than `reach` to one of the vectors that are looked for.

    wanted: float32 (m, d), m > 0.
    """
    places = [(place, number) for place, each in enumerate(seen) for number in range(len(each.faces))]
    vectors = np.stack([seen[picture].faces[number].vector for picture, number in places]).astype(np.float64)
    probes = wanted.astype(np.float64)
    squares = (vectors**2).sum(axis=1)[:, None] + (probes**2).sum(axis=1) - 2 * vectors @ probes.T
    distances = np.sqrt(np.maximum(squares.min(axis=1), 0))
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
