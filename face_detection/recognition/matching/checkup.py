"""What may be wrong in a gallery, told by what lies around its samples. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from recognition.faces import Match, Sample
from recognition.matching.doubts import DOUBLE, UNLIKE
from recognition.results import Advice, Finding

# In thresholds of the model. A distance of NEUTRAL speaks neither for nor against one person, and those below
# ORDINARY speak for one as much as it does. SLOPE and MIDDLE make odds of how much nearer somebody else is.
# All were chosen on one half of LFW's people, with 1 % of the labels exchanged; docs/doctor.md has figures of
# the other half.
NEUTRAL = 1.05
ORDINARY = 0.75
SLOPE, MIDDLE = 6.5, 0.45
EQUAL = 0.01  # where digests are not known; a JPEG that is saved again at quality 95 is farther off
# How sure those are by which nothing is wrong, but not as good as it could be.
AGAIN, POOR, FEW = 0.02, 0.01, 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample, and what lies around it.

    own: the distance to the nearest other sample of its person; None: there is none.
    other: the nearest sample of somebody else within reach.
    doubles: samples that may be of the same picture, with its digest.
    """

    sample: Sample
    own: float | None
    other: Match | None
    doubles: Sequence[Match]


def of_sample(seen: Seen, threshold: float) -> Iterator[Finding]:
    """Tell what may be wrong with one sample.

    threshold: the model's, below which two faces count as one person's.
    """
    own = seen.own
    for double in seen.doubles:
        if _are_doubles(seen.sample, double, threshold):
            yield _same_picture(seen.sample, double)
    near = seen.other if seen.other is not None and seen.other.distance < threshold else None
    sure = suspicion(own, seen.other.distance if seen.other else math.inf, threshold)
    if own is not None and own >= threshold and (near or own > UNLIKE * threshold):
        yield _unlike_own(seen.sample, own, near, sure)
    elif near:
        advice = (Advice("merge_persons", _person(seen.sample), into=_person(near.sample)),)
        yield Finding("looks_like", sure, (seen.sample, near.sample), near.distance, own, advice)


def of_person(sample: Sample, samples: int, best: float | None, min_quality: float) -> Iterator[Finding]:
    """Tell whether a person has too little to be recognised by.

    Args:
        sample: one of theirs.
        samples: how many there are.
        best: the highest quality of one; None: not known.
        min_quality: below it a face is too poor to tell people apart.
    """
    advice = (Advice("enrol_more", _person(sample)),)
    if best is not None and best < min_quality:
        yield Finding("poor_samples", POOR, (sample,), None, None, advice)
    elif samples == 1:
        yield Finding("few_samples", FEW, (sample,), None, None, advice)


def suspicion(own: float | None, other: float, threshold: float) -> float:
    """Tell how likely it is that a sample is not of the person whose it is said to be.

    Args:
        own: distance to the nearest sample of that person; None: there is none, which says nothing.
        other: distance to the nearest sample of somebody else; infinite: it is not within reach.
        threshold: the model's.

    Returns:
        In [0, 1].
    """
    mine = NEUTRAL if own is None else max(own / threshold, ORDINARY)
    nearer = mine - min(other / threshold, NEUTRAL)
    return 1 / (1 + math.exp(SLOPE * (MIDDLE - nearer)))


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Put findings in order, the surest first; of those with the same id only the surest stays."""
    surest: dict[str, Finding] = {}
    for finding in findings:
        known = surest.get(finding.id)
        if known is None or known.sure < finding.sure:
            surest[finding.id] = finding
    return sorted(surest.values(), key=lambda finding: (-finding.sure, finding.id))


def _are_doubles(sample: Sample, double: Match, threshold: float) -> bool:
    if sample.picture is None or double.sample.picture is None:
        return double.distance < EQUAL * threshold
    return double.distance < DOUBLE * threshold and sample.picture == double.sample.picture


def _same_picture(sample: Sample, double: Match) -> Finding:
    delete = tuple(Advice("delete_sample", _person(each), each.id) for each in (sample, double.sample))
    sure = AGAIN if sample.person == double.sample.person else 1.0
    return Finding("same_picture", sure, (sample, double.sample), double.distance, None, delete)


def _unlike_own(sample: Sample, own: float, near: Match | None, sure: float) -> Finding:
    delete = Advice("delete_sample", _person(sample), sample.id)
    if near is None:
        return Finding("unlike_own", sure, (sample,), None, own, (delete,))
    move = Advice("move_sample", _person(sample), sample.id, into=_person(near.sample))
    return Finding("unlike_own", sure, (sample, near.sample), near.distance, own, (move, delete))


def _person(sample: Sample) -> str:
    return sample.person or ""
