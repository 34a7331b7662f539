"""From a score to the share of strangers that would reach it in a gallery, and back. Pure.

A `Tail` is the distribution of the scores of strangers with one person. In a gallery of many, the best of
all scores counts. If the people are independent of each other,

    FPIR(score) = 1 - (1 - share(score)) ^ people,

the false positive identification rate of ISO/IEC 19795-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.matching.people import Doubles

# Shares of strangers whose scores are kept; beyond the last one the tail is exponential. Fits of a
# generalised Pareto distribution scatter about a shape of -0.1, which is nearly that, but ends somewhere,
# and beyond its end nobody would be a stranger.
SHARES = np.array([1.0, 0.9, 0.75, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001])
# Of a tail, whatever its scores are: where many are the same, none are beyond the last one. LFW's is 0.04.
LEAST_EXCESS = 0.01
CERTAIN_OF = 10  # people; a median of LFW's of 10 people moved wishes by less than a tenth
# Without it, wishes of 0.3 to 3 % came true 1.0 to 1.6 times in galleries of 5 to 30 people of LFW, and up to
# 2.5 times with strangers' faces of 25 px; with it 0.6 to 1.3 times, and up to 2.0.
CAUTION = 0.6


@dataclass(frozen=True, slots=True)
class Tail:
    """The scores of strangers with one person.

    scores: float64 (len(SHARES),), what these shares of strangers reach, ascending.
    excess: by how much those beyond the last one exceed it, in the mean.
    people: how many people these scores come from.
    """

    scores: Doubles
    excess: float
    people: int

    def share(self, score: NDArray[np.floating] | float) -> Doubles:
        """Tell which share of strangers reaches a score: float64 in [0, 1], of the shape of `score`."""
        logarithm = np.interp(score, self.scores, np.log(SHARES))
        beyond = np.maximum(np.asarray(score) - self.scores[-1], 0) / self.excess
        share: Doubles = np.exp(logarithm - beyond)
        return share


def fitted(scores: NDArray[np.floating], people: int) -> Tail:
    """Fit a tail to scores of strangers, (n,), that come from so many people."""
    quantiles = np.quantile(np.asarray(scores, np.float64), 1 - SHARES)
    beyond = scores[scores > quantiles[-1]] - quantiles[-1]
    excess = float(beyond.mean()) if len(beyond) else 0.0
    return Tail(quantiles, max(excess, LEAST_EXCESS), people)


def adapted(tail: Tail, scores: NDArray[np.floating], people: int) -> Tail:
    """Move and stretch a tail to where other people's scores, (n,), have their median and their spread.

    Of few people these are uncertain: they count for people / (people + CERTAIN_OF), and the tail is
    stretched by CAUTION / (people + CERTAIN_OF) more, since a gallery's people may be more alike than others.
    """
    middle, upper = np.quantile(scores, [0.5, 0.9])
    before, above = np.interp([0.5, 0.1], SHARES[::-1], tail.scores[::-1])
    certain = people / (people + CERTAIN_OF)
    wider = float((upper - middle) / (above - before)) - 1  # -1 where all are the same, as of two people
    stretch = 1 + wider * people / (people + 5 * CERTAIN_OF)
    centre = before + (middle - before) * certain
    stretch *= 1 + CAUTION / (people + CERTAIN_OF)
    excess = max(tail.excess * stretch, LEAST_EXCESS)
    return Tail(centre + (tail.scores - before) * stretch, excess, tail.people)


def false_match(tails: Sequence[Tail], score: NDArray[np.floating] | float, people: int) -> Doubles:
    """Tell which share of strangers would reach a score with somebody of a gallery.

    Args:
        tails: at least one; they count by the number of people that they come from.
        score: one, or an array of them.
        people: in the gallery.

    Returns:
        float64 in [0, 1], of the shape of `score`.
    """
    shares = np.minimum(_share(tails, score), 1 - 1e-15)
    rate: Doubles = -np.expm1(people * np.log1p(-shares))
    return rate


def score_at(tails: Sequence[Tail], rate: float, people: int) -> float:
    """Return the score that strangers reach with somebody of a gallery at this rate, in (0, 1)."""
    wanted = -np.expm1(np.log1p(-rate) / max(1, people))
    low, high = -3.0, 3.0  # beyond all scores
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _share(tails, middle) > wanted else (low, middle)
    return high


def _share(tails: Sequence[Tail], score: NDArray[np.floating] | float) -> Doubles:
    shares = np.stack([tail.share(score) for tail in tails])
    share: Doubles = np.average(shares, axis=0, weights=[tail.people for tail in tails])
    return share
