"""benchmarks/identification.py's rates, on people who are made up."""

from __future__ import annotations

import numpy as np
import pytest

import identification_rates as rates
from identification_rates import Trial
from recognition.matching.background import Background
from recognition.matching.people import directions

DIMENSION = 16


def made_up(number: int, seed: int = 1, pictures: int = 4) -> list[rates.Doubles]:
    random = np.random.default_rng(seed)
    places = random.normal(size=(number, 1, DIMENSION))
    return list(directions(places + random.normal(scale=0.35, size=(number, pictures, DIMENSION))))


def of(strangers: list[float], stranger: list[int] | None = None, own: list[float] | None = None) -> Trial:
    genuine = np.array(own or [1.0])
    right, people = np.ones(len(genuine), bool), np.arange(len(genuine))
    places = np.arange(len(strangers)) if stranger is None else np.array(stranger)
    return Trial(genuine, right, people, np.array(strangers), places, len(genuine))


@pytest.fixture(scope="module")
def backgrounds() -> tuple[Background, Background]:
    people = made_up(700)
    return rates.backgrounds(people, [str(number) for number in range(len(people))])


def test_people_are_parted_by_name_into_two_halves_of_about_the_same_size() -> None:
    halves = [rates.half_of(str(number)) for number in range(1000)]
    assert halves == [rates.half_of(str(number)) for number in range(1000)]
    assert 450 < sum(halves) < 550


@pytest.mark.parametrize("rule", rates.RULES.values(), ids=rates.RULES)
def test_every_rule_tells_people_from_strangers(
    rule: rates.Rule, backgrounds: tuple[Background, Background]
) -> None:
    trial = rates.trial(made_up(60, 2), backgrounds[0], rule, 2, 20, 1)
    assert (trial.enrolled, len(trial.strangers), len(trial.own)) == (20, 40, 40)
    assert len(set(trial.stranger.tolist())) == 40
    assert rates.recognised([trial], 0.1) > 0.9


def test_who_has_too_few_pictures_is_a_stranger(backgrounds: tuple[Background, Background]) -> None:
    people = made_up(10, 3) + made_up(5, 4, pictures=1)
    trial = rates.trial(people, backgrounds[0], rates.nearest, 2, None, 1)
    assert (trial.enrolled, sorted(trial.stranger)) == (10, [10, 11, 12, 13, 14])


def test_strangers_come_as_they_are_shown(backgrounds: tuple[Background, Background]) -> None:
    people = made_up(12, 3)
    shown: list[rates.Doubles | None] = [None] * 6 + [people[0][0]] * 6
    trial = rates.trial(people, backgrounds[0], rates.nearest, 1, 3, 5, shown)
    assert set(trial.stranger.tolist()) <= set(range(6, 12))
    assert 3 <= len(trial.strangers) < 7
    assert len(set(np.round(trial.strangers, 9))) == 1


def test_a_rate_is_that_of_the_strangers_over_the_limit() -> None:
    trial = of([0.1, 0.2, 0.3, 0.9], own=[0.15, 0.5, 0.95])
    assert rates.recognised([trial], 0.25) == pytest.approx(2 / 3)  # over 0.3
    assert rates.recognised([trial], 0.01) == pytest.approx(1 / 3)  # over 0.9
    assert rates.at_threshold([trial], 0.3) == (0.5, pytest.approx(2 / 3))


def test_the_share_of_strangers_who_are_named_has_an_interval() -> None:
    trials = [of([0.1, 0.9], [0, 1]), of([0.1, 0.9, 0.2], [0, 1, 2])]
    share, low, high = rates.named(trials, [0.5, 0.5])
    assert share == pytest.approx(2 / 5)
    assert 0 <= low < share < high <= 1
    assert rates.named(trials, [2, 2]) == (0, 0, 1)
    many = [of([0.0] * 300)]
    assert rates.named(many, [1]) == (0, 0, pytest.approx(0.01))


def test_the_likeliest_person_is_near(backgrounds: tuple[Background, Background]) -> None:
    samples, people = rates.ranks(made_up(40, 6), backgrounds[0], 2)
    assert len(samples) == len(people) == 80
    assert np.median(samples) == 0
    assert (people <= samples).all()
    assert people.max() < 10
