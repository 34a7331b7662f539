"""Faces put into groups, each of one person."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from recognition.matching import background, grouping, people
from recognition.matching.background import Background
from recognition.matching.grouping import Groups, alone, joined, least_likeness, put_together
from serving.model import Model

DIMENSION = 32
LENGTH = 10.0
MODEL = Model("made-up", DIMENSION, 160, 9.0, (0.0, 2 * LENGTH), "f" * 16)
LEAST = least_likeness(MODEL, None)


def made_up(sizes: list[int], seed: int = 1, spread: float = 0.1) -> tuple[NDArray[np.float32], list[int]]:
    """Faces of people, in any order, and whose each is: float32 (n, d)."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(len(sizes), DIMENSION))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    whose = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    vectors = people.directions(places[whose] + random.normal(scale=spread, size=(len(whose), DIMENSION)))
    return (LENGTH * vectors).astype(np.float32), whose.tolist()


def parts(labels: list[int] | NDArray[np.intp]) -> set[frozenset[int]]:
    """Who is together, whatever the groups are called."""
    of: dict[int, set[int]] = {}
    for place, label in enumerate(labels):
        of.setdefault(int(label), set()).add(place)
    return {frozenset(some) for some in of.values()}


def likeness(
    vectors: NDArray[np.float32], beside: Background | None, one: set[int], other: set[int]
) -> float:
    towards = people.directions(vectors)
    typical = np.zeros(len(vectors)) if beside is None else people.typicality(towards, beside.centres)
    pairs = np.mean([towards[i] @ towards[j] for i in one for j in other])
    left, right = (people.template(vectors[list(some)]) for some in (one, other))
    discount = sum(people.WEIGHT * typical[list(some)].mean() for some in (one, other))
    return float(np.sqrt(pairs * (left @ right)) - discount)


@pytest.fixture(scope="module")
def others() -> Background:
    return background.fit([made_up([2], seed)[0] for seed in range(1000, 1900)])


def test_of_each_person_there_is_one_group() -> None:
    vectors, whose = made_up([1, 1, 2, 3, 5, 8, 40, 200])
    assert parts(joined(alone(vectors, None), LEAST)) == parts(whose)


def test_nobody_and_one_face_alone_are_ordinary() -> None:
    assert joined(alone(np.empty((0, DIMENSION), np.float32), None), LEAST).tolist() == []
    assert joined(alone(made_up([1])[0], None), LEAST).tolist() == [0]


def test_a_face_of_length_0_is_like_no_other() -> None:
    vectors = np.zeros((3, DIMENSION), np.float32)
    assert joined(alone(vectors, None), LEAST).tolist() == [0, 1, 2]


def test_copies_of_a_picture_are_one_group_however_many() -> None:
    vectors = np.repeat(made_up([1, 1])[0], 500, axis=0)
    assert parts(joined(alone(vectors, None), LEAST)) == {
        frozenset(range(500)),
        frozenset(range(500, 1000)),
    }


@pytest.mark.parametrize("with_background", [False, True])
def test_two_groups_are_as_alike_as_the_formula_says(with_background: bool, others: Background) -> None:
    beside = others if with_background else None
    vectors, _ = made_up([4, 3], spread=0.15)
    for owners in itertools.islice(itertools.product([0, 1], repeat=7), 1, 127):
        groups = put_together(alone(vectors, beside), np.array(owners), 2)
        split = [{place for place, owner in enumerate(owners) if owner == part} for part in (0, 1)]
        expected = likeness(vectors, beside, *split)
        assert len(set(joined(groups, expected - 1e-4).tolist())) == 1
        assert len(set(joined(groups, expected + 1e-4).tolist())) == 2


def test_the_likest_are_joined_first_whoever_comes_first() -> None:
    """As one by one, each time the two that are most alike of all."""
    vectors, _ = made_up([5] * 8, spread=0.16)
    left = [{place} for place in range(len(vectors))]
    while True:
        one, other = max(
            itertools.combinations(left, 2), key=lambda pair: likeness(vectors, None, pair[0], pair[1])
        )
        if likeness(vectors, None, one, other) < LEAST:
            break
        left = [some for some in left if some not in (one, other)] + [one | other]
    assert parts(joined(alone(vectors, None), LEAST)) == {frozenset(some) for some in left}


@pytest.mark.parametrize("at_once", [1, 7, 100])
def test_faces_that_come_later_join_a_group_or_begin_one(at_once: int) -> None:
    vectors, whose = made_up([1, 2, 3, 5, 8, 30], seed=2)
    groups = alone(vectors[:0], None)
    labels: list[int] = []
    for start in range(0, len(vectors), at_once):
        known = len(groups.sizes)
        more = alone(vectors[start : start + at_once], None)
        groups = Groups(
            *(np.concatenate([getattr(each, name) for each in (groups, more)]) for name in Groups.__slots__)
        )
        owners = joined(groups, LEAST, known=known)
        assert (owners[:known] == np.arange(known)).all()  # none of them is called otherwise
        left, places = np.unique(owners, return_inverse=True)
        labels += [int(place) for place in places[known:]]
        groups = put_together(groups, places, len(left))
    assert parts(labels) == parts(whose)
    assert groups.sizes.sum() == len(vectors)


def test_a_group_that_was_known_stays_though_more_is_new() -> None:
    vectors, _ = made_up([9])
    assert set(joined(alone(vectors, None), LEAST, known=1).tolist()) == {0}
    groups = put_together(alone(vectors, None), np.array([0, 0, 1, 1, 1, 1, 1, 1, 2]), 3)
    assert joined(groups, LEAST, known=1).tolist() == [0, 0, 0]
    assert joined(groups, LEAST).tolist() == [1, 1, 1]


def test_a_new_face_can_put_known_groups_together() -> None:
    ends = np.eye(DIMENSION)[:2] * np.array([[1.0], [1.0]]) + 0.75 * np.eye(DIMENSION)[2]
    ends, between = LENGTH * people.directions(ends), LENGTH * people.directions(ends.sum(axis=0)[None])
    assert len(set(joined(alone(ends.astype(np.float32), None), LEAST).tolist())) == 2
    all_three = alone(np.concatenate([ends, between]).astype(np.float32), None)
    assert joined(all_three, 0.5, known=2).tolist() == [0, 0, 0]


def test_of_settled_groups_no_two_are_joined_and_others_become_part_of_them() -> None:
    vectors, _ = made_up([12])
    groups = put_together(alone(vectors, None), np.array([0] * 6 + [1, 2] + [3] * 4), 4)
    settled = np.array([False, True, False, True])
    owners = joined(groups, LEAST, settled=settled)
    assert owners[1] == 1
    assert owners[3] == 3
    assert set(owners.tolist()) == {1, 3}


def test_faces_that_resemble_everybody_are_less_alike(others: Background) -> None:
    towards = people.directions(others.centres[:1])
    pair = np.repeat(LENGTH * towards, 2, axis=0).astype(np.float32)
    groups = alone(pair, others)
    assert groups.typicality[0] > 0.3
    assert len(set(joined(groups, 1 - 2 * people.WEIGHT * groups.typicality[0] + 0.01).tolist())) == 2
    assert len(set(joined(groups, 1 - 2 * people.WEIGHT * groups.typicality[0] - 0.01).tolist())) == 1


def test_how_alike_groups_must_be_comes_from_the_model(others: Background) -> None:
    at_threshold = 1 - (9 / LENGTH) ** 2 / 2
    assert least_likeness(MODEL, others) + others.discount == pytest.approx(at_threshold, abs=0.02)
    assert at_threshold < LEAST
    unit = replace(MODEL, threshold=0.9, distance_range=(0.0, 2.0))
    assert least_likeness(unit, None) == pytest.approx(LEAST)


def test_blocks_of_any_size_give_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = made_up([5] * 30, spread=0.17)
    whole = joined(alone(vectors, None), LEAST)
    monkeypatch.setattr(grouping, "BLOCK_VALUES", 1)
    assert joined(alone(vectors, None), LEAST).tolist() == whole.tolist()


@pytest.mark.parametrize("at_once", [1, 7, 30])
def test_many_faces_are_joined_some_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, whose = made_up([1, 2, 3, 5, 8, 30, 60], seed=3)
    monkeypatch.setattr(grouping, "AT_ONCE", at_once)
    assert parts(joined(alone(vectors, None), LEAST)) == parts(whose)
    settled = np.arange(len(whose)) % 40 == 0
    owners = joined(alone(vectors, None), LEAST, known=10, settled=settled)
    assert set(owners[settled].tolist()) == set(np.flatnonzero(settled).tolist())
