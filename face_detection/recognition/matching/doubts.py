"""What makes it doubtful whose face a new sample is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Around, Match, Sample
from recognition.matching.nearest import squared_norms

# In thresholds of the model; the default's is 9. Of LFW's faces that are not their person's only one, 0.6 %
# are farther than UNLIKE from the nearest of the same person, and 99.4 % from that of a random other person
# (docs/doctor.md). The vectors of two pictures are 0.17 thresholds apart or more there. Those of one face in
# one picture differ by rounding alone: DOUBLE tells two faces in one picture apart.
UNLIKE = 1.2
DOUBLE = 0.1
SLACK = 1e-4  # of the squared length: more than float32 rounds a square of a distance by


@dataclass(frozen=True, slots=True)
class Doubt:
    """One reason to doubt whose face a new sample is.

    code: `same_picture`, `looks_like`, or `unlike_own`, where `distance` is that to the nearest own sample.
    near: the sample that it is about, which may be new itself; None of `unlike_own`.
    """

    code: str
    distance: float
    near: Sample | None = None


def doubts(
    new: Sequence[Sample],
    vectors: NDArray[np.float32],
    around: Sequence[Around],
    strict: Sequence[bool],
    threshold: float,
) -> list[list[Doubt]]:
    """Doubt new samples one after the other: each may also be near to those before it.

    Args:
        new: n samples with n different ids, and the digests of their pictures.
        vectors: float32 (n, d), row i for sample i.
        around: what the gallery has around each.
        strict: which samples are not stored if there is any doubt; no later ones are compared with them then.
        threshold: the model's, below which two faces count as one person's.

    Returns:
        For each sample its doubts, the most telling first; none of those of which it is not clear whose they
        are, since they are not stored.
    """
    people: dict[str, int] = {}
    whose = np.array([people.setdefault(each.whose or "", len(people)) for each in around], dtype=np.int64)
    norms = squared_norms(vectors)
    kept = np.empty_like(vectors)  # those that are stored, one after the other, and their places
    places = np.empty(len(new), dtype=np.int64)
    count = 0
    found: list[list[Doubt]] = []
    for place, (sample, stored) in enumerate(zip(new, around, strict=True)):
        if stored.whose is None:
            found.append([])
            continue
        before = places[:count]
        squares = norms[before] - 2 * (kept[:count] @ vectors[place]) + norms[place]
        mine = whose[before] == whose[place]
        near = _candidates(squares, mine, (DOUBLE * threshold) ** 2 + SLACK * norms[place])
        matches = [
            Match(
                replace(new[other], name=around[other].name),
                float(np.linalg.norm(vectors[other].astype(np.float64) - vectors[place])),
            )
            for other in before[near]
        ]
        some = _of_one(sample, stored, matches, mine[near].tolist(), threshold)
        if not (some and strict[place]):
            kept[count], places[count] = vectors[place], place
            count += 1
        found.append(some)
    return found


def _candidates(squares: NDArray[np.float32], mine: NDArray[np.bool_], limit: float) -> NDArray[np.int64]:
    """Tell where the nearest of the same person and of others are, and all squares below a limit."""
    nearest = [int(np.where(which, squares, np.inf).argmin()) for which in (mine, ~mine) if which.any()]
    return np.union1d(np.flatnonzero(squares < limit), np.array(nearest, dtype=np.int64))


def _of_one(
    sample: Sample, stored: Around, before: Sequence[Match], mine: Sequence[bool], threshold: float
) -> list[Doubt]:
    """Doubt one sample, given those near it that come before it, and which are of the same person."""
    some: list[Doubt] = []
    same = [
        each
        for each in (*stored.doubles, *before)
        if each.distance < DOUBLE * threshold and each.sample.picture == sample.picture is not None
    ]
    if same:
        double = min(same, key=_distance)
        some.append(Doubt("same_picture", double.distance, double.sample))
    others = [each for each, own in zip(before, mine, strict=True) if not own]
    other = min([*others, *([stored.other] if stored.other else [])], key=_distance, default=None)
    if other is not None and other.distance < threshold:
        some.append(Doubt("looks_like", other.distance, other.sample))
    distances = [each.distance for each, own in zip(before, mine, strict=True) if own]
    own_distance = min([*distances, *([] if stored.own is None else [stored.own])], default=None)
    if own_distance is not None and own_distance > UNLIKE * threshold:
        some.append(Doubt("unlike_own", own_distance))
    return some


def _distance(match: Match) -> float:
    return match.distance
