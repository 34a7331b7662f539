"""benchmarks/similarity.py, on people who are made up."""

from __future__ import annotations

import numpy as np
import pytest

import similarity as benchmark
from recognition.compreface.similarity import STEEPNESS, similarity
from recognition.faces import Box
from recognition.matching.people import directions
from serving.model import Model
from similarity import Curve, Doubles

FACENET = Model("Facenet", 128, 160, 9.0, (0.0, 20.0), "f")
CURVE = Curve(0.9, STEEPNESS["Facenet"])


def made_up(number: int, scale: float, seed: int) -> list[Doubles]:
    random = np.random.default_rng(seed)
    places = random.normal(size=(number, 1, 64))
    return list(directions(places + random.normal(scale=scale, size=(number, 5, 64))))


@pytest.mark.parametrize("wanted", benchmark.SIMILARITIES)
def test_a_distance_has_the_similarity_that_the_service_tells(wanted: float) -> None:
    distance = CURVE.distance(wanted) * 10
    assert similarity(np.array([distance]), FACENET).tolist() == [pytest.approx(wanted, abs=1e-5)]


def test_compreface_s_distances_are_those_of_its_formula() -> None:
    for wanted in benchmark.SIMILARITIES:
        c0, c1 = benchmark.COMPREFACE
        told = (np.tanh((c0 - benchmark.THEIRS.distance(wanted)) * c1) + 1) / 2
        assert told == pytest.approx(wanted)


def test_pairs_are_of_one_person_or_of_two() -> None:
    people = [np.eye(4)[:2], np.eye(4)[2:3], np.eye(4)[2:3]]
    genuine, impostor = benchmark.pairs_of(people)
    assert genuine == pytest.approx([2**0.5])
    assert sorted(impostor) == pytest.approx([0, *[2**0.5] * 4])


def test_as_many_pairs_are_missed_as_by_the_other_way() -> None:
    random = np.random.default_rng(1)
    genuine, theirs = random.normal(0.6, 0.1, 20_000), random.normal(0.65, 0.12, 20_000)
    curve = Curve(0.9, benchmark.fitted(genuine, theirs, 0.9))
    missed = (genuine > curve.distance(0.98)).mean()
    assert missed == pytest.approx((theirs > benchmark.THEIRS.distance(0.98)).mean(), abs=1e-3)
    with pytest.raises(ValueError, match="farther apart"):
        benchmark.fitted(genuine + 1, theirs, 0.9)


def test_fewer_strangers_match_and_more_people_are_missed_the_higher_the_similarity() -> None:
    ours = dict(zip(map(str, range(80)), made_up(80, 0.4, 1), strict=True))
    theirs = dict(zip(map(str, range(80)), made_up(80, 0.45, 2), strict=True))
    report = benchmark.measured(ours, theirs, CURVE, [1, 2], [10])
    for way in report["ways"].values():
        assert (np.diff([row["fmr"] for row in way["pairs"]]) <= 0).all()
        assert (np.diff([row["fnmr"] for row in way["pairs"]]) >= 0).all()
        assert [each["samples_each"] for each in way["searches"]] == [1, 2]
        for each in way["searches"]:
            assert each["people"] == 10
            assert (np.diff(each["named"]) <= 0).all()
            assert (np.diff(each["recognised"]) <= 0).all()
    assert "| 0.98 | " in benchmark.table({"model": "Facenet", "steepness": 1.0, **report})


def test_crops_have_margins_as_far_as_the_picture_goes() -> None:
    picture = np.arange(200 * 300 * 3, dtype=np.uint32).reshape(200, 300, 3) // 3 % 300
    crop = benchmark.with_margins(picture.astype(np.uint8), Box(100, 50, 80, 100))
    assert crop.shape == (160, 160, 3)
    columns = crop[0, :, 0].astype(float)
    assert columns[0] == pytest.approx(100 - 0.2126 * 80, abs=1)
    assert columns[-1] == pytest.approx(180 + 0.2231 * 80, abs=2)
    assert benchmark.with_margins(picture.astype(np.uint8), Box(-30, -20, 60, 60)).shape == (160, 160, 3)
