"""Error rates by age: of pairs of faces, and of searches in galleries. Pure.

A pair matches when its distance is below the threshold. FMR is the share of pairs of different people that
match, FNMR the share of pairs of one person that do not (ISO/IEC 19795-1). As in accuracy_rates, a pair of
one person with an undetected face never matches, and one of different people is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accuracy_rates import distance_of
from recognition.matching import background as backgrounds
from recognition.matching import calibration
from recognition.matching.background import Background
from recognition.matching.people import directions, scores, template

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

GROUPS = ("children", "youths", "adults")
AGES = (13, 18)  # at which the second and the third begin
SPANS = ("0 to 4", "5 to 14", "15 or more")
YEARS = (5, 15)  # between two pictures, at which the second and the third begin
WISHES = (0.03, 0.01, 0.003)  # for max_false_match
DECISIONS = ("min_distance", *(f"{wish:g}" for wish in WISHES))
DRAWS = 10  # of the pictures that are enrolled
REPLICATES = 1000  # of the bootstrap
SEED = 1


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """One face of each picture.

    people: int64 (n,), whose, from 0; ages: int64 (n,), in years.
    vectors: float32 (n, d), NaN where no face was found.
    """

    people: Integers
    ages: Integers
    vectors: NDArray[np.float32]

    @property
    def groups(self) -> Integers:
        """The place in GROUPS of each, int64 (n,)."""
        return np.searchsorted(AGES, self.ages, side="right")


def rate(tried: Doubles, errors: Doubles) -> dict[str, Any]:
    """Return the share of errors, and how far it can be told.

    Args:
        tried, errors: how many of each person, float64 (p,), or of each two, (p, p), half of them in each
            order.

    Returns:
        `tried`; `people` of whom there are any; `rate` and its `interval` of 95 %, None where there are none.
        The interval is that of the subsets bootstrap over people, whose pairs are not independent (Bolle,
        Ratha, Pankanti, CVIU 93(1), 2004), or, where there is no error or nothing else, of the rule of three
        (Hanley, Lippman-Hand, JAMA 249(13), 1983) for so many people, or pairs of them.
    """
    total, wrong = float(tried.sum()), float(errors.sum())
    people = int(np.count_nonzero(tried.reshape(len(tried), -1).sum(axis=1)))
    if not total:
        return {"tried": 0, "people": 0, "rate": None, "interval": None}
    if wrong in (0, total):
        beyond = min(1.0, 3 * tried.ndim / np.count_nonzero(tried))
        low, high = (0.0, beyond) if not wrong else (1 - beyond, 1.0)
    else:
        random = np.random.default_rng(SEED)
        draws = random.multinomial(len(tried), np.full(len(tried), 1 / len(tried)), size=REPLICATES)
        of = [
            draws @ each if each.ndim == 1 else ((draws @ each) * draws).sum(axis=1)
            for each in (tried, errors)
        ]
        some = of[0] > 0
        low, high = map(float, np.percentile(of[1][some] / of[0][some], [2.5, 97.5]))
    return {"tried": round(total), "people": people, "rate": wrong / total, "interval": [low, high]}


# Pairs


def pairs(faces: Faces, threshold: float) -> list[dict[str, Any]]:
    """Measure the pairs of each two groups, and of all faces.

    Returns:
        Of each: `groups`, their names; rates of `different` people that match and of the `same` person that
        are missed; and the latter `by_years` between the pictures.
    """
    values = faces.vectors.astype(np.float64)
    norms = np.einsum("nd,nd->n", values, values)
    distances = distance_of(norms[:, None] + norms[None] - 2 * values @ values.T, "euclidean")
    found, match = np.isfinite(distances), distances < threshold  # NaN is below nothing
    same = faces.people[:, None] == faces.people[None]
    apart = np.searchsorted(YEARS, abs(faces.ages[:, None] - faces.ages[None]), side="right")
    others = ~np.eye(len(values), dtype=bool)
    member = np.eye(faces.people.max() + 1)[faces.people]

    def of_two(chosen: Mask) -> Doubles:
        counts: Doubles = member.T @ chosen @ member / 2  # each pair is there in both orders
        return counts

    def missed(chosen: Mask) -> dict[str, Any]:
        own = chosen & same & others
        return rate(of_two(own).diagonal(), of_two(own & ~match).diagonal())

    def row(names: Sequence[str], chosen: Mask) -> dict[str, Any]:
        strangers = chosen & ~same & found
        return {
            "groups": list(names),
            "different": rate(of_two(strangers), of_two(strangers & match)),
            "same": missed(chosen),
            "by_years": {name: missed(chosen & (apart == place)) for place, name in enumerate(SPANS)},
        }

    rows = []
    for one, other in combinations_with_replacement(range(len(GROUPS)), 2):
        between = (faces.groups[:, None] == one) & (faces.groups[None] == other)
        rows.append(row((GROUPS[one], GROUPS[other]), between | between.T))
    return [*rows, row(("all", "all"), np.ones_like(same))]


# Galleries


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """People who are enrolled.

    people: int64 (m,); vectors: float64 (m, k, d), of the samples; templates: float64 (m, d).
    limits: float64 (len(WISHES),), the score that the service asks for at each wish.
    """

    people: Integers
    vectors: Doubles
    templates: Doubles
    limits: Doubles

    def names(self, probes: Doubles, centres: NDArray[np.floating], threshold: float) -> Integers:
        """Return who a probe is by each of DECISIONS: (n, d) -> int64 (len(DECISIONS), n), -1 for nobody."""
        distances = np.linalg.norm(probes[:, None, None] - self.vectors, axis=3).min(axis=2)
        found = scores(directions(probes), self.templates, centres)
        near, alike = distances.min(axis=1) < threshold, found.max(axis=1) >= self.limits[:, None]
        return np.stack(
            [
                np.where(near, self.people[distances.argmin(axis=1)], -1),
                *np.where(alike, self.people[found.argmax(axis=1)], -1),
            ]
        )


def enrolled(vectors: Mapping[int, Doubles], background: Background) -> Gallery:
    """Enrol at least one person, with k vectors, (k, d), each."""
    tails = backgrounds.tails(background, list(vectors.values()))
    return Gallery(
        np.array(list(vectors), np.int64),
        np.stack(list(vectors.values())),
        np.stack([template(each) for each in vectors.values()]),
        np.array([calibration.score_at(tails, wish, len(vectors)) for wish in WISHES]),
    )


def searches(
    faces: Faces,
    background: Background,
    group: int,
    *,
    of_all_ages: bool,
    samples_each: int,
    threshold: float,
) -> dict[str, Any]:
    """Tell which share of one group's strangers gets a name, and which of its own people, by each decision.

    Everybody of whom there are enough pictures is enrolled. Each person in turn is taken out and is the
    stranger, with all faces of that age. As only strangers are drawn for the intervals, these say nothing of
    other galleries.

    Args:
        faces: of people who are not in the background.
        background: of the same model.
        group: whose faces are searched, a place in GROUPS.
        of_all_ages: whether pictures of any age are enrolled, or those of the same group alone.
        samples_each: so many of each person.
        threshold: of the distance to the nearest sample.

    Returns:
        `group`, `gallery`, how many are `enrolled`, and of each decision the rates `named` (of strangers) and
        `recognised` (of those enrolled, with faces that are not).
    """
    vectors = faces.vectors.astype(np.float64)
    there = np.isfinite(vectors).all(axis=1)
    searched = there & (faces.groups == group)
    may_enrol = np.flatnonzero(there if of_all_ages else searched)
    people = int(faces.people.max()) + 1
    strangers, probes = np.zeros((2, people))
    named, recognised = np.zeros((2, len(DECISIONS), people))
    random = np.random.default_rng(SEED)
    for _ in range(DRAWS):
        order = random.permutation(may_enrol)
        drawn = {person: order[faces.people[order] == person][:samples_each] for person in range(people)}
        samples = {person: vectors[some] for person, some in drawn.items() if len(some) == samples_each}
        if len(samples) < 2:
            break  # nobody is left where one is taken out
        everybody = enrolled(samples, background)
        for person in range(people):
            own = np.flatnonzero(searched & (faces.people == person))
            others = enrolled({n: some for n, some in samples.items() if n != person}, background)
            names = others.names(vectors[own], background.centres, threshold)
            strangers[person] += len(own)
            named[:, person] += (names >= 0).sum(axis=1)
            if person in samples:
                rest = np.setdiff1d(own, drawn[person])
                names = everybody.names(vectors[rest], background.centres, threshold)
                probes[person] += len(rest)
                recognised[:, person] += (names == person).sum(axis=1)
    return {
        "group": GROUPS[group],
        "gallery": "all ages" if of_all_ages else "the same age",
        "enrolled": len(samples),
        "named": _by_decision(strangers, named),
        "recognised": _by_decision(probes, recognised),
    }


def _by_decision(tried: Doubles, counts: Doubles) -> dict[str, dict[str, Any]]:
    return {name: rate(tried / DRAWS, each / DRAWS) for name, each in zip(DECISIONS, counts, strict=True)}
