"""What other people look like: the background that scores are taken beside, made of many people. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.matching import calibration, people
from recognition.matching.calibration import Tail
from recognition.matching.people import Doubles, directions

# People without whom there is no background. With 300, centres and tail come from 180 and 120 people.
LEAST_PEOPLE = 300
CENTRES_FROM = 0.6  # share of the people; scores beside centres of the same people would be too low
PEOPLE_PER_CENTRE = 3
MOST_CENTRES = 300  # LFW's 1,711 people make 258
LEAST_MEMBERS = 2  # of a centre, so that it is nobody's face
ROUNDS = 30  # of Lloyd's algorithm


@dataclass(frozen=True, slots=True)
class Background:
    """Other people, and how strangers score beside them.

    centres: float32 (c, d), directions; tail: of the scores of strangers with one person.
    own: float64 (n,), how people's faces score with one other picture of them.
    discount: how much lower than cosines scores are, in the mean.
    """

    centres: NDArray[np.float32]
    tail: Tail
    own: Doubles
    discount: float


def fit(samples: Sequence[NDArray[np.floating]], *, seed: int = 1) -> Background:
    """Make a background of people who have nothing to do with those that are judged by it.

    Args:
        samples: of each person the vectors, (n, d), n > 0; at least LEAST_PEOPLE.
        seed: of the choice who makes the centres and who the tail.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(samples))
    cut = int(CENTRES_FROM * len(order))
    templates = _templates(samples)
    some = templates[order[:cut]]
    centres = _centres(some, min(MOST_CENTRES, len(some) // PEOPLE_PER_CENTRE), random).astype(np.float32)
    rest = [samples[place] for place in order[cut:]]
    return Background(
        centres,
        calibration.fitted(_strangers(rest, centres, seed), len(rest)),
        own_scores([vectors[:2] for vectors in rest], centres),
        2 * people.WEIGHT * float(people.typicality(templates[order[cut:]], centres).mean()),
    )


def tails(background: Background, samples: Sequence[NDArray[np.floating]], *, seed: int = 1) -> list[Tail]:
    """Tell how strangers score with the people of a gallery, who may be more alike than the background's.

    The median of their scores among each other moves the background's tail, from two people on; those of
    LEAST_PEOPLE or more have a tail of their own beside it.

    Args:
        background: of people who are not in the gallery.
        samples: of each person of the gallery, or of some of them, the vectors, (n, d), n > 0.
        seed: of the choice of samples.
    """
    if len(samples) < 2:
        return [background.tail]
    strangers = _strangers(samples, background.centres, seed)
    moved = calibration.adapted(background.tail, strangers, len(samples))
    return [moved, *([calibration.fitted(strangers, len(samples))] if len(samples) >= LEAST_PEOPLE else [])]


def own_scores(samples: Sequence[NDArray[np.floating]], centres: NDArray[np.floating]) -> Doubles:
    """Score each sample with the template of the other samples of its person: float64 (n,).

    samples: of each person the vectors, (n, d), n > 0; those of a single one tell nothing.
    """
    probes, templates = [], []
    for vectors in samples:
        if len(vectors) > 1:
            towards = directions(vectors)
            probes.append(towards)
            templates.append(directions(towards.sum(axis=0) - towards))
    if not probes:
        return np.empty(0)
    probe, template = np.concatenate(probes), np.concatenate(templates)
    typical = people.typicality(probe, centres) + people.typicality(template, centres)
    scores: Doubles = np.einsum("nd,nd->n", probe, template) - people.WEIGHT * typical
    return scores


def _strangers(samples: Sequence[NDArray[np.floating]], centres: NDArray[np.floating], seed: int) -> Doubles:
    """Score one sample of each person with the templates of all others."""
    random = np.random.default_rng(seed)
    probes = np.stack([directions(vectors[random.integers(len(vectors))]) for vectors in samples])
    templates = _templates(samples)
    scores: Doubles = people.scores(probes, templates, centres)[~np.eye(len(samples), dtype=bool)]
    return scores


def _templates(samples: Sequence[NDArray[np.floating]]) -> Doubles:
    owners = np.repeat(np.arange(len(samples)), [len(vectors) for vectors in samples])
    return people.templates(np.concatenate(samples), owners)


def _centres(towards: Doubles, count: int, random: np.random.Generator) -> Doubles:
    """Find the centres of directions, (n, d), by k-means, as directions, (c, d); c is at most `count`.

    Centres of fewer than LEAST_MEMBERS are left out.
    """
    middles = towards[random.choice(len(towards), count, replace=False)]
    for _ in range(ROUNDS):
        nearest = (towards @ middles.T).argmax(axis=1)
        members = np.bincount(nearest, minlength=count)
        sums = np.zeros_like(middles)
        np.add.at(sums, nearest, towards)
        middles = directions(np.where(members[:, None] > 0, sums, middles))
    return middles[members >= LEAST_MEMBERS]
