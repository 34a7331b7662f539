"""Scores of people beside a background, and what they say of strangers."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from recognition import backgrounds
from recognition.matching import background, calibration, people
from recognition.matching.background import Background

DIMENSION = 24
Vectors = NDArray[np.float64]


def made_up(number: int, seed: int, *, samples: int = 2, alike: float = 1.0) -> list[Vectors]:
    """People whose samples lie about a place of their own, all of them more or less on one side."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(number, DIMENSION)) + alike
    places *= 10 / np.linalg.norm(places, axis=1, keepdims=True)
    return [place + random.normal(scale=0.9, size=(samples, DIMENSION)) for place in places]


@pytest.fixture(scope="module")
def others() -> Background:
    return background.fit(made_up(900, 1))


def test_a_template_is_a_direction_between_all_samples_whatever_their_lengths() -> None:
    right, up = np.eye(2)
    assert people.template(np.stack([3 * right, up])) == pytest.approx([0.5**0.5, 0.5**0.5])
    assert people.template(right[None] * 10) == pytest.approx(right)
    assert people.template(np.zeros((1, 2), np.float32)).tolist() == [0, 0]


def test_scores_are_cosines_less_what_resembles_everybody() -> None:
    random = np.random.default_rng(2)
    probes, templates, centres = (people.directions(random.normal(size=(n, DIMENSION))) for n in (5, 7, 9))
    found = people.scores(probes, templates, centres)
    for i, probe in enumerate(probes):
        for j, template in enumerate(templates):
            typical = [np.sort(centres @ each)[-people.NEIGHBOURS :].mean() for each in (probe, template)]
            expected = probe @ template - people.WEIGHT * sum(typical)
            assert found[i, j] == pytest.approx(expected, abs=1e-12)


def test_fewer_centres_than_neighbours_do() -> None:
    one = np.eye(3)[:1]
    assert people.scores(one, one, one)[0, 0] == pytest.approx(1 - 2 * people.WEIGHT)


def test_a_background_is_nobodys_face(others: Background) -> None:
    templates = np.stack([people.template(samples) for samples in made_up(900, 1)])
    assert np.linalg.norm(others.centres, axis=1) == pytest.approx(1, abs=1e-6)
    assert 100 < len(others.centres) <= 900 * 0.6 / 3
    assert (others.centres @ templates.T).max() < 0.999
    assert others.tail.people == 360


@pytest.mark.parametrize("alike", [1.0, 1.15])
@pytest.mark.parametrize("number", [10, 100, 400])
def test_of_strangers_about_as_many_get_a_name_as_was_wished(
    others: Background, number: int, alike: float
) -> None:
    """Also in a gallery whose people are more alike than those of the background.

    Rarely more than wished: no tail of these is as heavy as the one that is fitted.
    """
    named: dict[float, list[NDArray[np.bool_]]] = {wish: [] for wish in (0.1, 0.03, 0.01)}
    for seed in range(max(4, 400 // number)):
        drawn = made_up(number + 300, 100 + seed, alike=alike)
        tails = background.tails(others, drawn[:number])
        templates = np.stack([people.template(samples) for samples in drawn[:number]])
        probes = np.stack([people.directions(samples[0]) for samples in drawn[number:]])
        best = people.scores(probes, templates, others.centres).max(axis=1)
        for wish, some in named.items():
            some.append(best >= calibration.score_at(tails, wish, number))
    shares = {wish: np.concatenate(some).mean() / wish for wish, some in named.items()}
    assert shares[0.1] > 1 / 3
    assert max(shares.values()) < 2


def test_nobody_and_one_person_leave_the_tail_where_it_is(others: Background) -> None:
    assert background.tails(others, []) == [others.tail]
    assert background.tails(others, made_up(1, 3)) == [others.tail]


@pytest.mark.parametrize("number", [2, 3, 40, 300, 600])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("some", ["all alike", "in two heaps", "two alike"])
def test_people_who_score_the_same_among_each_other_do_not_let_everybody_in(
    others: Background, number: int, samples: int, some: str
) -> None:
    """As two people with a sample each always do; in other galleries, one picture may be many people's."""
    drawn = made_up(number, 4, samples=samples)
    originals = {"all alike": [0] * number, "in two heaps": [n % 2 for n in range(number)]}
    drawn = [drawn[n] for n in originals.get(some, [0, *range(number - 1)])]
    tails = background.tails(others, drawn)
    limit = calibration.score_at(tails, 0.01, number)
    templates = np.stack([people.template(vectors) for vectors in drawn])
    probes = np.stack([people.directions(vectors[0]) for vectors in made_up(300, 5)])
    found = people.scores(probes, templates, others.centres).max(axis=1)
    assert (found >= limit).mean() < 0.05
    assert (calibration.false_match(tails, found, number) > 0).all()


def test_a_background_of_people_who_are_all_alike_is_one() -> None:
    alike = background.fit([np.ones((1, DIMENSION))] * 300)
    low, own, high = calibration.false_match([alike.tail], np.array([-1, 0.5, 1]), 300)
    assert low == 1 > own > 0.1 > high > 0


def test_the_rate_falls_with_the_score_and_rises_with_the_gallery(others: Background) -> None:
    scores = np.linspace(-2, 2, 400)
    rates = [calibration.false_match([others.tail], scores, number) for number in (1, 10, 1000, 1_000_000)]
    for rate in rates:
        assert (np.diff(rate) <= 0).all()
        assert rate.min() >= 0
        assert rate.max() <= 1
        assert rate[0] == pytest.approx(1)
    assert all((more >= fewer).all() for fewer, more in itertools.pairwise(rates))
    assert calibration.false_match([others.tail], 0.3, 0) == 0


@pytest.mark.parametrize("number", [1, 7, 300_000])
@pytest.mark.parametrize("rate", [0.5, 0.03, 1e-3, 1e-9])
def test_a_score_and_its_rate_belong_together(others: Background, number: int, rate: float) -> None:
    score = calibration.score_at([others.tail], rate, number)
    assert calibration.false_match([others.tail], score, number) == pytest.approx(rate, rel=1e-4)


def test_tails_count_by_their_people(others: Background) -> None:
    stricter = calibration.Tail(others.tail.scores + 0.1, others.tail.excess, 3 * others.tail.people)
    mixed = calibration.false_match([others.tail, stricter], 0.5, 1)
    each = [float(calibration.false_match([tail], 0.5, 1)) for tail in (others.tail, stricter)]
    assert mixed == pytest.approx((each[0] + 3 * each[1]) / 4)


def test_the_same_people_make_the_same_background(others: Background) -> None:
    again = background.fit(made_up(900, 1))
    assert (again.centres == others.centres).all()
    assert (again.tail.scores == others.tail.scores).all()


def test_a_file_gives_back_what_was_written(others: Background, tmp_path: Path) -> None:
    backgrounds.write(tmp_path / "one.npz", {"fingerprint": "f", "images": "made up"}, others)
    about, read = backgrounds.read(tmp_path / "one.npz")
    assert about == {"fingerprint": "f", "images": "made up"}
    assert read.centres == pytest.approx(others.centres, abs=1e-3)
    assert read.tail.scores.tolist() == others.tail.scores.tolist()
    assert (read.tail.excess, read.tail.people) == (others.tail.excess, others.tail.people)


@pytest.mark.parametrize("model", ["Facenet", "MobileFaceNet"])
def test_what_is_shipped_says_where_it_comes_from(model: str) -> None:
    about, shipped = backgrounds.read(backgrounds.FOLDER / f"{model}.npz")
    assert about["people"] == 1711
    assert "Labeled Faces in the Wild" in about["images"]
    assert backgrounds.shipped(about["fingerprint"]) is not None
    assert backgrounds.shipped("another model") is None
    assert np.linalg.norm(shipped.centres, axis=1) == pytest.approx(1, abs=1e-3)
