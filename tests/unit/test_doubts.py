"""What makes it doubtful whose face a new sample is: compared with the gallery, and with those before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from galleries import a_sample
from recognition.faces import Around, Match
from recognition.matching.doubts import UNLIKE, Doubt, doubts

THRESHOLD = 10.0
FAR = UNLIKE * THRESHOLD + 0.1


def found(
    *places: float, whose: str, pictures: str = "", strict: bool = False, around: list[Around] | None = None
) -> list[list[tuple[str, str | None, float]]]:
    """Doubt samples `0`, `1`, ... that lie on a line, each of the person of its letter in `whose`."""
    new = [
        replace(a_sample(str(number), name=who), picture=picture.encode())
        for number, (who, picture) in enumerate(zip(whose, pictures or "ABCDEFGH", strict=False))
    ]
    vectors = np.array([[place, 0, 0, 3] for place in places], np.float32)
    around = around or [Around(who, who) for who in whose]
    told = doubts(new, vectors, around, [strict] * len(new), THRESHOLD)
    return [
        [(each.code, each.near and each.near.id, round(each.distance, 3)) for each in some] for some in told
    ]


def test_none_of_a_single_one_nor_of_friends() -> None:
    assert doubts([], np.empty((0, 4), np.float32), [], [], THRESHOLD) == []
    assert found(0, whose="a") == [[]]
    assert found(0, 5, 50, whose="aab") == [[], [], []]


def test_those_before_it_count() -> None:
    assert found(0, 4, 40, whose="aba") == [
        [],
        [("looks_like", "0", 4)],
        [("unlike_own", None, 40)],
    ]


def test_the_nearest_counts() -> None:
    assert found(0, 8, 4, 50, whose="abca") == [
        [],
        [("looks_like", "0", 8)],
        [("looks_like", "0", 4)],
        [("unlike_own", None, 50)],
    ]
    assert found(0, 20, 21, whose="aaa")[1:] == [[("unlike_own", None, 20)], []]


@pytest.mark.parametrize(("distance", "alike"), [(9.99, True), (10.0, False), (10.01, False)])
def test_the_threshold_is_exclusive(distance: float, alike: bool) -> None:
    assert bool(found(0, distance, whose="ab")[1]) == alike
    near = Match(a_sample("near"), distance)
    assert bool(found(0, whose="a", around=[Around("a", "a", other=near)])[0]) == alike


@pytest.mark.parametrize(("distance", "doubtful"), [(UNLIKE * THRESHOLD - 0.1, False), (FAR, True)])
def test_far_from_the_nearest_of_the_same_person(distance: float, doubtful: bool) -> None:
    assert bool(found(0, distance, whose="aa")[1]) == doubtful
    assert bool(found(0, whose="a", around=[Around("a", "a", own=distance)])[0]) == doubtful
    assert found(0, 1, whose="aa", around=[Around("a", "a"), Around("a", "a", own=distance)])[1] == []


def test_the_same_picture_and_face() -> None:
    assert found(0, 0, 0, whose="aab", pictures="XYX") == [
        [],
        [],
        [("same_picture", "0", 0), ("looks_like", "0", 0)],
    ]
    assert found(0, 0, whose="aa", pictures="XX")[1] == [("same_picture", "0", 0)]
    # Two people in one picture.
    assert found(0, 20, whose="ab", pictures="XX") == [[], []]
    # A sample of before, whose picture is not known.
    double = Match(a_sample("old"), 0.0)
    assert found(0, whose="a", pictures="X", around=[Around("a", "a", doubles=(double,))]) == [[]]
    same = Match(replace(double.sample, picture=b"X"), 0.0)
    around = [Around("a", "a", doubles=(double, same))]
    assert found(0, whose="a", pictures="X", around=around) == [[("same_picture", "old", 0)]]


def test_later_ones_are_not_compared_with_those_that_are_refused() -> None:
    kinds = [[each[0] for each in some] for some in found(0, 4, 40, 4, 41, whose="ababb", strict=True)]
    assert kinds == [[], ["looks_like"], ["unlike_own"], ["looks_like"], []]


def test_what_will_not_be_stored_is_compared_with_nothing() -> None:
    around = [Around(None), Around("b", "b"), Around(None)]
    assert found(0, 0, 0, whose="abc", pictures="XXX", around=around) == [[], [], []]


def test_names_are_those_of_the_people() -> None:
    new = [a_sample("0", name="", person="p"), a_sample("1", name="Ben")]
    around = [Around("p", "Ann"), Around("b", "Ben")]
    (_, (doubt,)) = doubts(new, np.zeros((2, 4), np.float32), around, [False, False], THRESHOLD)
    assert isinstance(doubt, Doubt) and doubt.near is not None
    assert (doubt.code, doubt.near.name, doubt.near.person) == ("looks_like", "Ann", "p")


def test_as_a_float64_comparison_with_all_says() -> None:
    random = np.random.default_rng(5)
    vectors = random.normal(size=(300, 64))
    vectors = (10 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    vectors[1::3] = vectors[::3] + random.normal(scale=1e-4, size=(100, 64)).astype(np.float32)
    whose = [str(number) for number in random.integers(0, 40, size=300)]
    new = [a_sample(str(number), name=who) for number, who in enumerate(whose)]
    told = doubts(new, vectors, [Around(who, who) for who in whose], [False] * 300, THRESHOLD)
    for place, some in enumerate(told):
        distances = np.linalg.norm(vectors[:place].astype(np.float64) - vectors[place], axis=1)
        mine = np.array([who == whose[place] for who in whose[:place]], dtype=bool)
        expected = []
        if not mine.all() and distances[~mine].min() < THRESHOLD:
            expected.append(("looks_like", pytest.approx(distances[~mine].min(), abs=1e-9)))
        if mine.any() and distances[mine].min() > UNLIKE * THRESHOLD:
            expected.append(("unlike_own", pytest.approx(distances[mine].min(), abs=1e-9)))
        assert [(each.code, each.distance) for each in some] == expected
