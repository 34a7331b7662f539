"""Open-set identification: who is enrolled, who is a stranger, and how often which is told. Pure.

A stranger who gets a name is a false positive (FPIR, the false positive identification rate); an enrolled
person who gets none, or another's, is missed (FNIR), as in ISO/IEC 19795-1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.matching import people
from recognition.matching.background import Background, fit

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
# Probes, (p, d), and of each person the samples, (n, k, d), both directions -> scores, (p, n).
Rule = Callable[[Doubles, Doubles, Background], Doubles]

PROBES_EACH = 5  # of one person, so that those of whom there are hundreds do not outweigh the others
REPLICATES = 200  # of the bootstrap


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of searches: the best score of each probe, and whose probe it is.

    own: float64 (g,), best scores of enrolled people's probes; right: bool (g,), of the right person;
    own_person: int64 (g,). strangers: float64 (s,), best scores, one a person; stranger: int64 (s,), who it
    is. enrolled: how many people.
    """

    own: Doubles
    right: NDArray[np.bool_]
    own_person: Integers
    strangers: Doubles
    stranger: Integers
    enrolled: int


def nearest(probes: Doubles, samples: Doubles, background: Background) -> Doubles:
    """Score by the nearest sample, as `min_distance` decides."""
    return _cosines(probes, samples).max(axis=2)


def mean_distance(probes: Doubles, samples: Doubles, background: Background) -> Doubles:
    """Score by the mean distance to the samples."""
    return -np.sqrt(np.maximum(2 - 2 * _cosines(probes, samples), 0)).mean(axis=2)


def template(probes: Doubles, samples: Doubles, background: Background) -> Doubles:
    """Score by the template alone."""
    return probes @ _templates(samples).T


def product(probes: Doubles, samples: Doubles, background: Background) -> Doubles:
    """Score as `max_false_match` decides: by the template, beside the background."""
    return people.scores(probes, _templates(samples), background.centres)


RULES: Mapping[str, Rule] = {
    "nearest sample (min_distance)": nearest,
    "mean distance": mean_distance,
    "template": template,
    "template and background (max_false_match)": product,
}


def half_of(name: str) -> int:
    """Part people in two halves by their names, in a way that says nothing of them: 0 or 1."""
    return hashlib.sha256(name.encode()).digest()[0] % 2


def backgrounds(vectors: Sequence[Doubles], names: Sequence[str]) -> tuple[Background, Background]:
    """Fit one background on each half of the people; the first serves the second half, and the other way.

    vectors: of each person the directions of all pictures, (n, d).
    """
    first, second = (
        fit([v for v, name in zip(vectors, names, strict=True) if half_of(name) == half]) for half in (0, 1)
    )
    return first, second


def trial(
    vectors: Sequence[Doubles],
    background: Background,
    rule: Rule,
    samples_each: int,
    size: int | None,
    seed: int,
    shown: Sequence[Doubles | None] | None = None,
) -> Trial:
    """Enrol people with some of their pictures, and search the others', and strangers'.

    Args:
        vectors: of each person the directions of all pictures, (n, d).
        background: of other people.
        rule: what is measured.
        samples_each: so many pictures of each person are enrolled; who has no more than that is a stranger.
        size: how many people are enrolled, drawn from those who can be; None: all. The others are strangers.
        seed: of all that is drawn.
        shown: of each person the direction, (d,), by which they come as a stranger; None: they do not. Else
            it is that of any of their pictures.
    """
    random = np.random.default_rng(seed)
    order = random.permutation([n for n, some in enumerate(vectors) if len(some) > samples_each])
    enrolled = order[:size]
    samples, probes, whose = [], [], []
    for place, person in enumerate(enrolled):
        shuffled = vectors[person][random.permutation(len(vectors[person]))]
        samples.append(shuffled[:samples_each])
        some = shuffled[samples_each:][:PROBES_EACH]
        probes.append(some)
        whose += [place] * len(some)
    there = set(enrolled.tolist())
    comes = shown or [some[random.integers(len(some))] for some in vectors]
    others = {n: one for n, one in enumerate(comes) if n not in there and one is not None}
    gallery = np.stack(samples)
    scores = rule(np.concatenate(probes), gallery, background)
    person = np.array(whose)
    strangers = rule(np.stack(list(others.values())), gallery, background).max(axis=1)
    return Trial(
        scores.max(axis=1),
        scores.argmax(axis=1) == person,
        person,
        strangers,
        np.array(list(others)),
        len(enrolled),
    )


def recognised(trials: Sequence[Trial], fpir: float) -> float:
    """Return the share of enrolled people's probes that get their name where strangers do at this rate."""
    limit = _limit(np.concatenate([each.strangers for each in trials]), fpir)
    hits = [each.right & (each.own > limit) for each in trials]
    return float(np.concatenate(hits).mean())


def at_threshold(trials: Sequence[Trial], least: float) -> tuple[float, float]:
    """Return FPIR, and the share of enrolled people's probes that get their name, from a score on."""
    strangers = np.concatenate([each.strangers >= least for each in trials])
    hits = np.concatenate([each.right & (each.own >= least) for each in trials])
    return float(strangers.mean()), float(hits.mean())


def ranks(vectors: Sequence[Doubles], background: Background, samples_each: int) -> tuple[Integers, Integers]:
    """Tell how many samples, and how many people, are nearer than the person who scores best.

    Everybody is enrolled who has so many pictures; the rest of all pictures are the probes. int64 (p,) each.
    """
    samples = np.stack([some[:samples_each] for some in vectors if len(some) >= samples_each])
    probes = np.concatenate([some[samples_each if len(some) >= samples_each else 0 :] for some in vectors])
    best = product(probes, samples, background).argmax(axis=1)
    cosines = _cosines(probes, samples)
    own = cosines[np.arange(len(probes)), best].max(axis=1)
    nearer = cosines > own[:, None, None]
    return nearer.sum(axis=(1, 2)), nearer.any(axis=2).sum(axis=1)


def interval(trials: Sequence[Trial], fpir: float, seed: int = 1) -> tuple[float, float]:
    """Return the interval of 95 % of `recognised`, by bootstrap over people, enrolled ones and strangers."""
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(REPLICATES):
        strangers, hits, weights = [], [], []
        for each in trials:
            strangers.append(random.choice(each.strangers, len(each.strangers)))
            draws = np.bincount(random.integers(each.enrolled, size=each.enrolled), minlength=each.enrolled)
            weights.append(draws[each.own_person])
        limit = _limit(np.concatenate(strangers), fpir)
        hits = [each.right & (each.own > limit) for each in trials]
        drawn.append(np.average(np.concatenate(hits), weights=np.concatenate(weights)))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def named(trials: Sequence[Trial], limits: Sequence[float], seed: int = 1) -> tuple[float, float, float]:
    """Return the share of strangers that reach the limit of their trial, and its interval of 95 %.

    The interval is by bootstrap over the strangers, who come in several trials; where none is named, by the
    rule of three.
    """
    size = 1 + max(int(each.stranger.max()) for each in trials)
    came, hit = np.zeros(size), np.zeros(size)
    for each, limit in zip(trials, limits, strict=True):
        came += np.bincount(each.stranger, minlength=size)
        hit += np.bincount(each.stranger, each.strangers >= limit, size)
    came, hit = came[came > 0], hit[came > 0]
    share = hit.sum() / came.sum()
    if not share:
        return 0.0, 0.0, min(1.0, 3 / len(came))
    random = np.random.default_rng(seed)
    draws = random.integers(len(came), size=(REPLICATES, len(came)))
    low, high = np.percentile(hit[draws].sum(axis=1) / came[draws].sum(axis=1), [2.5, 97.5])
    return float(share), float(low), float(high)


def det(trials: Sequence[Trial]) -> tuple[Doubles, Doubles]:
    """Return the DET curve: FPIR and FNIR, float64 (n,) each."""
    strangers = np.sort(np.concatenate([each.strangers for each in trials]))[::-1]
    own = np.concatenate([np.where(each.right, each.own, -np.inf) for each in trials])
    ranks = np.unique(np.geomspace(1, len(strangers), 100).astype(int)) - 1
    return (ranks + 1) / len(strangers), np.array([(own <= strangers[rank]).mean() for rank in ranks])


def _limit(strangers: Doubles, fpir: float) -> float:
    """Return the lowest score that at most this share of strangers exceeds."""
    descending = np.sort(strangers)[::-1]
    return float(descending[min(int(fpir * len(descending)), len(descending) - 1)])


def _cosines(probes: Doubles, samples: Doubles) -> Doubles:
    cosines: Doubles = np.einsum("pd,nkd->pnk", probes, samples, optimize=True)
    return cosines


def _templates(samples: Doubles) -> Doubles:
    return people.directions(samples.mean(axis=1))
