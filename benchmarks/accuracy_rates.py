"""Error rates of face verification, from pair lists and from all pairs. Pure functions on text and arrays.

A pair is genuine when both pictures show one person, otherwise impostor; it matches when its distance is
below the threshold. FMR is the share of impostor pairs that match, FNMR the share of genuine pairs that do
not, TMR = 1 - FNMR (ISO/IEC 19795-1). A genuine pair with an undetected face never matches; an impostor pair
with one has no distance, is left out of FMR, and counts as an error in the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]
Metric = Literal["euclidean", "euclidean_l2", "cosine"]
Key = tuple[str, int]  # a picture: the person's name and its number

FOLDS = 10  # of LFW's View 2, and made of a list that has none
TARGETS = (1e-2, 1e-3, 1e-4, 1e-5)  # the FMRs at which TMR is told
BLOCK = 512  # rows of the distance matrix at once: 54 MB with LFW's 13,233 pictures
BINS = 400  # of the histograms
TAIL = 2 * max(TARGETS)  # share of impostor distances that is kept; twice, for the bootstrap's reweighting


@dataclass(frozen=True, slots=True)
class Pair:
    """Two pictures of a pair list, and the fold, 0 to 9, that they are scored in."""

    left: Key
    right: Key
    genuine: bool
    fold: int


@dataclass(frozen=True, slots=True, eq=False)
class AllPairs:
    """What is kept of the distances of all pairs of pictures.

    pictures, detected: int64 (people,), how many each person has, and how many of those with a face.
    genuine, genuine_person: float64 and int64 (g,), every distance, ascending, and whose it is.
    tail, tail_people: float64 (k,) and int64 (k, 2), the smallest impostor distances, ascending.
    impostors: how many distances between different people there are.
    edges, impostor_counts: float64 (BINS + 1,), int64 (BINS,), the histogram of all of those.
    """

    pictures: Integers
    detected: Integers
    genuine: Doubles
    genuine_person: Integers
    tail: Doubles
    tail_people: Integers
    impostors: int
    edges: Doubles
    impostor_counts: Integers

    @property
    def genuine_pairs(self) -> int:
        """How many genuine pairs there are, those with an undetected face included."""
        return int((self.pictures * (self.pictures - 1) // 2).sum())


# Pair lists


def parse_pairs(text: str) -> list[Pair]:
    """Read a pair list of LFW: http://vis-www.cs.umass.edu/lfw/README.txt.

    View 2's begins with "10 300": ten folds of 300 genuine pairs (`Name 1 2`) and then 300 impostor pairs
    (`Name 1 Other 2`). View 1's begins with "500": so many of each; pair i of each kind goes to fold i % 10.

    Raises:
        ValueError: it is neither.
    """
    head, *lines = [line.split() for line in text.splitlines() if line.strip()] or [[]]
    if len(head) not in (1, 2) or not all(word.isdigit() for word in head):
        raise ValueError("A pair list begins with '<pairs of each kind>' or '<folds> <pairs of each kind>'.")
    size = int(head[-1])
    blocks = int(head[0]) if len(head) == 2 else 1
    if len(lines) != blocks * 2 * size:
        raise ValueError(f"The pair list announces {blocks * 2 * size} pairs and has {len(lines)}.")
    pairs = []
    for number, words in enumerate(lines):
        block, place = divmod(number, 2 * size)
        genuine = place < size
        if len(words) != (3 if genuine else 4):
            raise ValueError(f"{' '.join(words)!r} is no {'genuine' if genuine else 'impostor'} pair.")
        left = (words[0], int(words[1]))
        right = (words[0] if genuine else words[2], int(words[-1]))
        pairs.append(Pair(left, right, genuine, block if len(head) == 2 else place % size % FOLDS))
    return pairs


# Distances


def comparable(vectors: NDArray[Any], metric: Metric) -> Doubles:
    """Float (n, d) -> float64 (n, d), of length 1 for the metrics that look at directions only."""
    values = vectors.astype(np.float64)
    return values if metric == "euclidean" else values / np.linalg.norm(values, axis=1, keepdims=True)


def distance_of(squared: Doubles, metric: Metric) -> Doubles:
    """Turn squared Euclidean distances of `comparable` vectors into the metric: |a - b|^2 = 2 (1 - cos)."""
    squared = np.maximum(squared, 0)
    return squared / 2 if metric == "cosine" else np.sqrt(squared)


def listed_distances(left: NDArray[Any], right: NDArray[Any], metric: Metric) -> Doubles:
    """Row by row: float (n, d) twice -> float64 (n,); NaN where a vector is."""
    differences = comparable(left, metric) - comparable(right, metric)
    return distance_of(np.einsum("nd,nd->n", differences, differences), metric)


def all_pairs(vectors: NDArray[Any], people: Sequence[str], metric: Metric) -> AllPairs:
    """Compare every picture with every other one once, block by block.

    Args:
        vectors: float (n, d), one of each picture; NaN where no face was detected.
        people: n names.
        metric: of the distances.

    Raises:
        ValueError: no two people, or no two pictures of one, have been detected.
    """
    names, person = np.unique(np.array(people), return_inverse=True)
    person = person.astype(np.int64)
    pictures = np.bincount(person, minlength=len(names))
    found = np.isfinite(vectors).all(axis=1)
    values, person = comparable(vectors[found], metric), person[found]
    detected = np.bincount(person, minlength=len(names))
    impostors = int((detected.sum() ** 2 - (detected**2).sum()) // 2)
    if impostors == 0 or detected.max() < 2:
        raise ValueError("Faces of two people, and two faces of one person, are needed.")

    norms = np.einsum("nd,nd->n", values, values)
    largest = float(distance_of(4 * norms.max(keepdims=True), metric)[0])
    keep = min(impostors, int(TAIL * impostors) + 1)
    bound = np.inf  # nothing beyond it belongs to the tail
    tail, tail_people = np.empty(0), np.empty((0, 2), np.int64)
    counts = np.zeros(BINS, np.int64)
    genuine, genuine_person = [], []
    for start in range(0, len(values), BLOCK):
        rows = slice(start, start + BLOCK)
        squared = norms[rows, None] + norms[None, start:] - 2 * values[rows] @ values[start:].T
        distances = distance_of(squared, metric)
        once = np.triu(np.ones(distances.shape, bool), k=1)
        same = person[rows, None] == person[None, start:]
        row, column = np.nonzero(once & same)
        genuine.append(distances[row, column])
        genuine_person.append(person[rows][row])
        other = once & ~same
        counts += np.histogram(np.minimum(distances[other], largest), BINS, (0, largest))[0]
        row, column = np.nonzero(other & (distances <= bound))
        tail = np.concatenate([tail, distances[row, column]])
        found_people = np.stack([person[rows][row], person[start:][column]], axis=1)
        tail_people = np.concatenate([tail_people, found_people])
        if len(tail) > keep:
            smallest = np.argpartition(tail, keep - 1)[:keep]
            tail, tail_people = tail[smallest], tail_people[smallest]
            bound = float(tail.max())
    own, whose = np.concatenate(genuine), np.concatenate(genuine_person)
    order, tail_order = np.argsort(own, kind="stable"), np.argsort(tail, kind="stable")
    return AllPairs(
        pictures=pictures,
        detected=detected,
        genuine=own[order],
        genuine_person=whose[order],
        tail=tail[tail_order],
        tail_people=tail_people[tail_order],
        impostors=impostors,
        edges=np.linspace(0, largest, BINS + 1),
        impostor_counts=counts,
    )


# Accuracy over a pair list


def best_threshold(distances: Doubles, genuine: NDArray[np.bool_]) -> float:
    """Return the threshold with the most right answers, halfway between two distances.

    Of several equally good ones it is the middle one. Pairs without a distance (NaN) do not count.
    """
    known = np.isfinite(distances)
    order = np.argsort(distances[known], kind="stable")
    ascending, same = distances[known][order], genuine[known][order]
    # right[k]: when the k nearest pairs match, those of them that are genuine and the others that are not
    right = np.concatenate([[0], np.cumsum(same)]) + np.concatenate([np.cumsum(~same[::-1])[::-1], [0]])
    ends = np.concatenate([[-np.inf], ascending, [np.inf]])
    right = np.where(ends[:-1] < ends[1:], right, -1)  # equal distances match together
    best = np.flatnonzero(right == right.max())
    k = int(best[(len(best) - 1) // 2])
    if k == 0:  # nothing matches
        return float(ascending[0]) if len(ascending) else 0.0
    if k == len(ascending):  # everything matches
        return float(np.nextafter(ascending[-1], np.inf))
    return float((ascending[k - 1] + ascending[k]) / 2)


def right_answers(distances: Doubles, genuine: NDArray[np.bool_], threshold: float) -> NDArray[np.bool_]:
    """Tell which pairs are judged rightly; one without a distance (NaN) never is."""
    right: NDArray[np.bool_] = np.isfinite(distances) & ((distances < threshold) == genuine)
    return right


def fold_accuracies(
    distances: Doubles, genuine: NDArray[np.bool_], folds: Integers
) -> tuple[Doubles, Doubles]:
    """Score each fold at the threshold that is best on all the others.

    Args:
        distances: float64 (n,), NaN for a pair with an undetected face.
        genuine: bool (n,).
        folds: int64 (n,).

    Returns:
        The accuracies and the thresholds, float64 (folds,) each.
    """
    numbers = np.unique(folds)
    thresholds = [best_threshold(distances[folds != fold], genuine[folds != fold]) for fold in numbers]
    accuracies = [
        right_answers(distances[folds == fold], genuine[folds == fold], threshold).mean()
        for fold, threshold in zip(numbers, thresholds, strict=True)
    ]
    return np.array(accuracies), np.array(thresholds)


def standard_error(values: Doubles) -> float:
    """Return the standard error of a mean, as LFW's README has it; NaN for fewer than two values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


# Rates


def listed_rates(distances: Doubles, genuine: NDArray[np.bool_], threshold: float) -> tuple[float, float]:
    """Return FMR and FNMR of a pair list at a threshold; distances are NaN where a face is undetected."""
    matches = distances < threshold
    impostor = ~genuine & np.isfinite(distances)
    return _share(matches[impostor].sum(), impostor.sum()), _share((~matches[genuine]).sum(), genuine.sum())


def fmr(pairs: AllPairs, threshold: float) -> float:
    """Return FMR at a threshold: exact within the tail, linear within a bin of the histogram beyond it."""
    if threshold <= pairs.tail[-1] or len(pairs.tail) == pairs.impostors:
        return float(np.searchsorted(pairs.tail, threshold)) / pairs.impostors
    below = np.concatenate([[0], np.cumsum(pairs.impostor_counts)])
    return float(np.interp(threshold, pairs.edges, below)) / pairs.impostors


def fnmr(pairs: AllPairs, threshold: float) -> float:
    """Return FNMR at a threshold, exactly; an undetected face is never matched."""
    return 1 - float(np.searchsorted(pairs.genuine, threshold)) / pairs.genuine_pairs


def threshold_at(pairs: AllPairs, target: float) -> float:
    """Return the largest threshold whose FMR is at most target, one of TARGETS or less."""
    allowed = round(target * pairs.impostors)
    allowed -= allowed / pairs.impostors > target  # false matches
    return float(pairs.tail[allowed]) if allowed < len(pairs.tail) else float("inf")


def tmr_at(pairs: AllPairs, target: float) -> float:
    """Return TMR at the largest threshold whose FMR is at most target."""
    return 1 - fnmr(pairs, threshold_at(pairs, target))


def det(pairs: AllPairs) -> tuple[Doubles, Doubles]:
    """Return the DET curve: FMR and FNMR, float64 (n,) each, of thresholds that ascend."""
    ranks = np.unique(np.geomspace(1, len(pairs.tail), 400).astype(int)) - 1
    beyond = pairs.edges[pairs.edges > pairs.tail[-1]]
    thresholds = np.concatenate([pairs.tail[ranks], beyond])
    rates = np.array([[fmr(pairs, threshold), fnmr(pairs, threshold)] for threshold in thresholds])
    return rates[:, 0], rates[:, 1]


def tmr_errors(
    pairs: AllPairs, targets: Sequence[float] = TARGETS, *, replicates: int = 200, seed: int = 1
) -> list[float]:
    """Return standard errors of `tmr_at` by bootstrap over people, whose pairs are not independent.

    Every replicate draws as many people as there are, with replacement, and weighs a pair with the product
    of its people's numbers of draws (R. M. Bolle, N. K. Ratha, S. Pankanti: Error analysis of pattern
    recognition systems - the subsets bootstrap, CVIU 93(1), 2004). A person is never an impostor to itself.
    """
    random = np.random.default_rng(seed)
    count = len(pairs.pictures)
    own = pairs.pictures * (pairs.pictures - 1) // 2
    tmrs = []
    for _ in range(replicates):
        draws = np.bincount(random.integers(count, size=count), minlength=count)
        drawn = draws * pairs.detected
        impostors = (drawn.sum() ** 2 - (drawn**2).sum()) / 2
        false_matches = np.cumsum(draws[pairs.tail_people].prod(axis=1))
        places = np.searchsorted(false_matches, np.array(targets) * impostors, side="right")
        thresholds = pairs.tail[np.minimum(places, len(pairs.tail) - 1)]
        matches = np.concatenate([[0], np.cumsum(draws[pairs.genuine_person])])
        tmrs.append(matches[np.searchsorted(pairs.genuine, thresholds)] / max(1, draws @ own))
    return [float(error) for error in np.std(tmrs, axis=0, ddof=1)]


def _share(part: Any, whole: Any) -> float:
    return float(part) / float(whole) if whole else float("nan")
