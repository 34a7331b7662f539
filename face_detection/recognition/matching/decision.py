"""Which share of strangers would come as near to somebody in a gallery, and what a wish costs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.matching import background, calibration, people
from recognition.matching.background import LEAST_PEOPLE, Background
from recognition.matching.calibration import Tail
from recognition.matching.people import Doubles, directions
from recognition.results import Decisions, Meaning

LEAST_OWN = 20  # samples of people who have others, from which on a gallery tells whom it would miss
WISHES = (0.1, 0.03, 0.01, 0.003, 0.001)
DIGITS = 9  # of scores: those beyond depend on how many are computed together
RECOGNISED = 0.9  # share of the people enrolled, at which a wish counts as one that can be had


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What scores mean in a gallery.

    background: beside which they are taken; tails: of strangers; people: in the gallery.
    own: float64 (n,), how samples score with the other samples of their person; maybe of other people.
    """

    background: Background
    tails: Sequence[Tail]
    people: int
    own: Doubles


def calibrated(
    shipped: Background | None, samples: Sequence[NDArray[np.floating]], number: int
) -> Calibration | None:
    """Tell what scores mean in a gallery; None: there is nobody to compare with.

    Args:
        shipped: the background for its model, if there is one. Without it, the gallery's own people make
            one, LEAST_PEOPLE of them or more.
        samples: of each person of the gallery, or of some of them, the vectors, (n, d), n > 0.
        number: how many people the gallery has.
    """
    if shipped is None:
        if len(samples) < LEAST_PEOPLE:
            return None
        beside = background.fit(samples)
        tails = [beside.tail]
    else:
        beside = shipped
        tails = background.tails(beside, samples)
    own = background.own_scores(samples, beside.centres)
    return Calibration(beside, tails, number, np.sort(own if len(own) >= LEAST_OWN else beside.own))


def false_matches(
    known: Calibration,
    probes: NDArray[np.floating],
    vectors: NDArray[np.floating],
    owners: NDArray[np.intp],
) -> Doubles:
    """Tell which share of strangers would come as near to somebody here as probes come to people.

    Args:
        known: what scores mean here.
        probes: (n, d).
        vectors: of all samples of m people, (s, d); owners: whose each is, int (s,), as in `templates`.

    Returns:
        float64 (n, m), in [0, 1].
    """
    theirs = people.templates(vectors, owners)
    scores = people.scores(directions(probes), theirs, known.background.centres)
    return calibration.false_match(known.tails, np.round(scores, DIGITS), known.people)


def decisions(known: Calibration, wishes: Sequence[float] = WISHES) -> Decisions:
    """Tell what wishes, each in (0, 1), amount to."""
    return Decisions(known.people, [meaning(known, wish) for wish in wishes], least(known))


def meaning(known: Calibration, wish: float) -> Meaning:
    """Tell what a wish, in (0, 1), amounts to."""
    score = calibration.score_at(known.tails, wish, known.people)
    missed = float(np.searchsorted(known.own, score) / len(known.own)) if len(known.own) else None
    return Meaning(wish, score, min(1.0, score + known.background.discount), missed)


def least(known: Calibration) -> float | None:
    """Return the smallest wish at which RECOGNISED of the people enrolled are recognised; None: not known."""
    if not len(known.own):
        return None
    score = np.quantile(known.own, 1 - RECOGNISED)
    return float(calibration.false_match(known.tails, score, known.people))
