"""Puts faces of which nobody has said whose they are into groups, each of one person if possible. Pure.

Groups are joined from the bottom up, the likest first, as long as they are alike enough:

    likeness(A, B) = S(A) S(B) / sqrt(|S(A)| n(A) |S(B)| n(B)) - w typicality(A) - w typicality(B)

S is the sum of the directions of a group's n faces. The first term is the geometric mean of two others: the
mean cosine of all pairs, by which average linkage goes (UPGMA; Sokal & Michener 1958), and the cosine of the
two templates. Typicality, as in people.py, keeps faces that resemble everybody from drawing others in.
`benchmarks/grouping.py` compares it with what libraries offer.

The sums are all it takes: memory grows with n d and never with n^2. Faces that come later go on from the
groups that are there, which are joined or stay, and are never taken apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.matching import people
from recognition.matching.background import Background
from recognition.matching.people import directions
from serving.model import Model

# Of the model's threshold, up to which faces are one person's, with a background and without. Of steps of
# 0.02 the highest at which 99.5 % of the pairs put together are right, for FaceNet and half of LFW's people;
# the other half and MobileFaceNet agree.
SHARE = 0.98
SHARE_ALONE = 0.94
# A group takes what has an eighth of its faces or less without another look: 1,850 faces of LFW need 17
# rounds instead of 42, with the same precision and recall but for 0.003.
SMALL = 8
NEVER = -10.0  # the likeness of a group to itself; that of two is above -2
# New groups that are joined with each other and those before, and then the next ones: with 100,000 faces of
# fewer people, most of the likenesses need not be computed.
AT_ONCE = 10_000
BLOCK_VALUES = 2**24  # likenesses that are computed at a time: 64 MB


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """Groups of faces of one model, by what is needed of them to join them.

    sums: float32 (n, d), of the directions of the faces of each.
    typicality: float64 (n,), the sum of the faces'.
    sizes: int64 (n,), how many faces each has, > 0.
    """

    sums: NDArray[np.float32]
    typicality: NDArray[np.float64]
    sizes: NDArray[np.int64]


def alone(vectors: NDArray[np.float32], background: Background | None) -> Groups:
    """Make each face a group of its own.

    vectors: float32 (n, d); background: for their model, if there is one.
    """
    towards = directions(vectors)
    typicality = np.zeros(len(vectors))
    if background is not None:
        typicality = people.typicality(towards, background.centres)
    return Groups(towards.astype(np.float32), typicality, np.ones(len(vectors), np.int64))


def put_together(groups: Groups, owners: NDArray[np.intp], number: int) -> Groups:
    """Make so many groups of those that are there; owners: which one each goes into, int (n,)."""
    sums = np.zeros((number, groups.sums.shape[1]), np.float32)
    typicality, sizes = np.zeros(number), np.zeros(number, np.int64)
    np.add.at(sums, owners, groups.sums)
    np.add.at(typicality, owners, groups.typicality)
    np.add.at(sizes, owners, groups.sizes)
    return Groups(sums, typicality, sizes)


def least_likeness(model: Model, background: Background | None) -> float:
    """Tell from which likeness on groups are one person's, for the vectors of a model and its background."""
    length = model.distance_range[1] / 2
    share = SHARE_ALONE if background is None else SHARE
    cosine = 1 - (share * model.threshold / length) ** 2 / 2
    return cosine - (0.0 if background is None else background.discount)


def joined(
    groups: Groups, least: float, *, known: int = 0, settled: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Join groups that are one person's.

    Args:
        groups: n of them.
        least: the likeness from which on they are.
        known: the first so many were joined before, by the same measure: no two of them are that alike.
        settled: bool (n,), of which ones somebody has said who they are, or that they matter to nobody;
            no two of these are joined. None: of none.

    Returns:
        int (n,), the place of the group that each is part of now: of those joined, the settled one, or else
        one that was known, or else the largest, or else the first. That one has its own place.
    """
    joining = _Joining(groups, known, np.zeros(len(groups.sizes), bool) if settled is None else settled)
    for start in range(known, len(groups.sizes), AT_ONCE):
        end = min(start + AT_ONCE, len(groups.sizes))
        moved = np.arange(start, end)  # those to which others may have become alike enough
        while len(moved):
            partners, likeness = joining.likest(moved, end)
            near = likeness >= least
            grown = joining.join(moved[near], partners[near], likeness[near])
            moved = np.union1d(grown, moved[near])
            moved = moved[joining.there[moved]]
    return joining.owners()


class _Joining:
    """Groups that are being joined.

    there: bool (n,), which ones are part of no other.
    """

    def __init__(self, groups: Groups, known: int, settled: NDArray[np.bool_]) -> None:
        n, d = groups.sums.shape
        self.there = np.ones(n, bool)
        self._sums, self._typicality = groups.sums.copy(), groups.typicality.copy()
        self._sizes = groups.sizes.copy()
        self._known, self._settled = known, settled
        self._owners = np.arange(n)
        # The likeness of i and j is the product of left[i] and right[j].
        self._left, self._right = np.ones((n, d + 2), np.float32), np.ones((n, d + 2), np.float32)
        self._scale(self._owners)

    def _scale(self, some: NDArray[np.intp]) -> None:
        sums, sizes = self._sums[some], self._sizes[some]
        scale = np.sqrt(np.linalg.norm(sums, axis=1) * sizes)
        d = sums.shape[1]
        self._left[some, :d] = self._right[some, :d] = sums / np.where(scale > 0, scale, 1)[:, None]
        self._left[some, d] = self._right[some, d + 1] = -people.WEIGHT * self._typicality[some] / sizes

    def likest(self, some: NDArray[np.intp], end: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Find the likest other one for each of some groups, and how alike the two are.

        end: no group is looked at from this place on.
        """
        columns = np.flatnonzero(self.there[:end])
        right = self._right[columns].T
        settled = np.flatnonzero(self._settled[columns])
        partners, likeness = np.empty(len(some), np.intp), np.empty(len(some), np.float32)
        step = max(1, BLOCK_VALUES // len(columns))
        for start in range(0, len(some), step):
            rows = some[start : start + step]
            here = np.arange(len(rows))
            block = self._left[rows] @ right
            block[here, np.searchsorted(columns, rows)] = NEVER
            if len(settled):
                block[np.ix_(self._settled[rows], settled)] = NEVER
            best = block.argmax(axis=1)
            partners[start : start + step] = columns[best]
            likeness[start : start + step] = block[here, best]
        return partners, likeness

    def join(
        self, some: NDArray[np.intp], partners: NDArray[np.intp], likeness: NDArray[np.float32]
    ) -> NDArray[np.intp]:
        """Join groups with their partners, the likest first. Returns which ones have grown.

        Two are joined if neither is more alike to a third. What is small beside its partner does not wait for
        that, as it hardly moves it: else a large group would take a round for each face.
        """
        grown = np.zeros(len(self.there), bool)
        highest = np.full(len(self.there), NEVER)
        highest[some] = likeness
        for place in np.argsort(-likeness, kind="stable"):
            one, other = int(some[place]), int(partners[place])
            host, guest = sorted((one, other), key=self._rank)
            if not self.there[one] or not self.there[other] or grown[guest]:
                continue
            small = self._sizes[guest] * SMALL <= self._sizes[host]
            if not small and (grown[host] or highest[other] > likeness[place]):
                continue
            grown[host] = True
            self._take(host, guest)
        changed = np.flatnonzero(grown)
        self._scale(changed)
        return changed

    def _rank(self, group: int) -> tuple[bool, bool, int, int]:
        return not self._settled[group], group >= self._known, -int(self._sizes[group]), group

    def _take(self, host: int, guest: int) -> None:
        self.there[guest] = False
        self._owners[guest] = host
        self._sums[host] += self._sums[guest]
        self._typicality[host] += self._typicality[guest]
        self._sizes[host] += self._sizes[guest]

    def owners(self) -> NDArray[np.intp]:
        """Tell for each group which one it is part of now."""
        owners = self._owners
        while not np.array_equal(owners, further := owners[owners]):
            owners = further
        return owners
