"""The benchmark by age: its arithmetic by hand and by brute force, and one run on the demo photographs."""

from __future__ import annotations

import json
import math
import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import accuracy
import ageing
import ageing_rates as rates
from recognition.matching import background
from recognition.matching.background import Background

DIMENSION = 24
CHILDREN, YOUTHS, ADULTS = range(3)


def made_up(
    people: int, seed: int, *, ages: tuple[int, ...] = (5, 5, 5), alike: float = 1.0, noise: float = 0.9
) -> rates.Faces:
    """People with a place of their own, all more or less on one side, and a face about it at each age."""
    random = np.random.default_rng(seed)
    places = random.normal(size=(people, DIMENSION)) + alike
    places *= 10 / np.linalg.norm(places, axis=1, keepdims=True)
    vectors = places[:, None] + random.normal(scale=noise, size=(people, len(ages), DIMENSION))
    return rates.Faces(
        np.repeat(np.arange(people), len(ages)),
        np.tile(ages, people),
        vectors.reshape(-1, DIMENSION).astype(np.float32),
    )


@pytest.fixture(scope="module")
def others() -> Background:
    faces = made_up(900, 1, ages=(20, 20))
    return background.fit(list(faces.vectors.reshape(900, 2, DIMENSION)))


# Pictures


def test_person_and_age_are_in_the_name_of_a_picture(tmp_path: Path) -> None:
    for name in (
        "002A05.JPG",
        "001A43b.JPG",
        "001A43a.jpg",
        "001A02.png",
        "001A2.JPG",
        "points.txt",
        "x.JPG",
    ):
        (tmp_path / name).touch()
    found = [(person, age, path.name) for person, age, path in ageing.find_pictures(tmp_path)]
    assert found == [
        (1, 2, "001A02.png"),
        (1, 43, "001A43a.jpg"),
        (1, 43, "001A43b.JPG"),
        (2, 5, "002A05.JPG"),
    ]


def test_a_group_begins_at_its_age() -> None:
    ages = np.array([0, 12, 13, 17, 18, 69])
    faces = rates.Faces(np.zeros(6, np.int64), ages, np.zeros((6, 2), np.float32))
    assert faces.groups.tolist() == [CHILDREN, CHILDREN, YOUTHS, YOUTHS, ADULTS, ADULTS]


# Rates


def test_without_errors_as_many_people_as_there_are_bound_the_rate() -> None:
    assert rates.rate(np.array([50.0, 50, 0, 1]), np.zeros(4)) == {
        "tried": 101,
        "people": 3,
        "rate": 0,
        "interval": [0, 1],
    }
    many = np.full((100, 100), 8.0)
    np.fill_diagonal(many, 0)
    found = rates.rate(many, np.zeros((100, 100)))
    assert found["interval"] == [0, pytest.approx(3 / (100 * 99 / 2))]
    found = rates.rate(np.ones(60), np.ones(60))
    assert (found["rate"], found["interval"]) == (1, [pytest.approx(0.95), 1])


def test_nothing_tried_has_no_rate() -> None:
    nothing = {"tried": 0, "people": 0, "rate": None, "interval": None}
    assert rates.rate(np.zeros(3), np.zeros(3)) == nothing
    assert rates.rate(np.zeros((3, 3)), np.zeros((3, 3))) == nothing


def test_the_interval_counts_people_and_not_pairs() -> None:
    """Whoever errs does so always; so a hundred pairs of each tell no more than one."""
    wrong = np.random.default_rng(3).random(400) < 0.2
    found = rates.rate(np.full(400, 100.0), 100.0 * wrong)
    share = wrong.mean()
    error = math.sqrt(share * (1 - share) / 400)
    assert found["rate"] == share
    assert np.diff(found["interval"])[0] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_one_person_whom_all_resemble_makes_the_interval_wide() -> None:
    tried = np.ones((60, 60)) - np.eye(60)
    hub, spread = np.zeros((60, 60)), np.zeros((60, 60))
    hub[0, 1:] = hub[1:, 0] = 1
    for place in range(60):
        spread[place, (place + 1) % 60] = spread[(place + 1) % 60, place] = 1
    wide, narrow = (rates.rate(tried, errors) for errors in (hub, spread))
    assert wide["rate"] == pytest.approx(narrow["rate"], rel=0.02)
    assert wide["interval"][0] == 0 < narrow["interval"][0] < narrow["rate"] < narrow["interval"][1]
    assert narrow["interval"][1] < wide["interval"][1]


# Pairs


def test_pairs_are_those_of_brute_force() -> None:
    random = np.random.default_rng(4)
    people, ages = random.integers(0, 9, 80), random.integers(0, 40, 80)
    vectors = random.normal(size=(80, 4)).astype(np.float32) + people[:, None] % 3
    vectors[[3, 50]] = math.nan
    faces, threshold = rates.Faces(people, ages, vectors), 2.0
    rows = {tuple(row["groups"]): row for row in rates.pairs(faces, threshold)}
    assert len(rows) == 7
    for groups, row in rows.items():
        different: list[bool] = []
        same: list[bool] = []
        by_years: dict[str, list[bool]] = {span: [] for span in rates.SPANS}
        for i, j in combinations(range(80), 2):
            both = sorted((faces.groups[i], faces.groups[j]))
            if groups != ("all", "all") and [rates.GROUPS[place] for place in both] != list(groups):
                continue
            distance = float(np.linalg.norm(vectors[i].astype(float) - vectors[j]))
            if people[i] != people[j]:
                different += [] if math.isnan(distance) else [distance < threshold]
                continue
            years = abs(ages[i] - ages[j])
            span = "0 to 4" if years < 5 else "5 to 14" if years < 15 else "15 or more"
            same.append(not distance < threshold)
            by_years[span].append(same[-1])
        for found, expected in (
            (row["different"], different),
            (row["same"], same),
            *((row["by_years"][span], by_years[span]) for span in rates.SPANS),
        ):
            assert found["tried"] == len(expected)
            assert found["rate"] == (pytest.approx(np.mean(expected)) if expected else None)
            assert not expected or found["interval"][0] <= found["rate"] <= found["interval"][1]


# Galleries


def searches(
    faces: rates.Faces, others: Background, group: int, *, of_all_ages: bool = False, samples_each: int = 2
) -> dict[str, Any]:
    return rates.searches(
        faces, others, group, of_all_ages=of_all_ages, samples_each=samples_each, threshold=4.0
    )


@pytest.mark.parametrize("of_all_ages", [False, True])
def test_nobody_is_a_stranger_to_themselves(others: Background, of_all_ages: bool) -> None:
    """All pictures of a person are the same: whoever stayed in the gallery would always be named."""
    faces = made_up(40, 5, ages=(5, 6, 20, 21, 22), noise=0)
    found = searches(faces, others, CHILDREN, of_all_ages=of_all_ages, samples_each=1)
    assert (found["group"], found["enrolled"]) == ("children", 40)
    assert found["gallery"] == ("all ages" if of_all_ages else "the same age")
    for decision in rates.DECISIONS:
        named, recognised = found["named"][decision], found["recognised"][decision]
        assert (named["tried"], named["people"], recognised["people"]) == (80, 40, 40)
        assert named["rate"] < 0.3  # 1 if they were
        assert recognised["rate"] > 0.9


def test_those_who_are_alike_are_recognised_less_or_named_more(others: Background) -> None:
    ordinary, alike = (
        searches(made_up(30, 6, ages=(5,) * 4, alike=each, noise=0.7), others, CHILDREN)
        for each in (1.0, 4.0)
    )
    assert ordinary["recognised"]["0.01"]["rate"] > 0.8
    assert ordinary["named"]["0.01"]["rate"] < 0.03
    assert alike["recognised"]["0.01"]["rate"] < ordinary["recognised"]["0.01"]["rate"] - 0.2


def test_who_has_too_few_pictures_or_no_face_is_a_stranger_only(others: Background) -> None:
    faces = made_up(30, 7, ages=(5, 6, 30))
    faces.vectors[0] = math.nan
    same_age = searches(faces, others, CHILDREN)
    assert (same_age["enrolled"], same_age["named"]["0.01"]["people"]) == (29, 30)
    assert (same_age["named"]["0.01"]["tried"], same_age["recognised"]["0.01"]["tried"]) == (59, 0)
    adults = searches(faces, others, ADULTS)
    assert (adults["enrolled"], adults["named"]["0.01"]["rate"]) == (0, None)


# A run


@pytest.fixture(scope="module")
def folder(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four demo photographs of each of five people as FG-NET would have them, and one without a face."""
    root = tmp_path_factory.mktemp("fgnet")
    for number, person in enumerate(sorted((demo / "val").iterdir()), start=1):
        for age, path in zip((5, 16, 30, 44), sorted(person.glob("*.jpg")), strict=False):
            shutil.copy(path, root / f"{number:03d}A{age:02d}.JPG")
    Image.new("RGB", (100, 80), "grey").save(root / "001A70a.JPG")
    return root


def test_a_run_on_photographs(folder: Path, models_dir: Path, tmp_path: Path, capsys: Any) -> None:
    written = tmp_path / "out" / "report.json"
    options = ["--images", str(folder), "--models-dir", str(models_dir), "--json", str(written)]
    report = ageing.main([*options, "--enrol", "1", "--cache", str(tmp_path / "cache")])
    assert json.loads(written.read_text()) == report
    assert (report["pictures"], report["people"], report["undetected"]) == (21, 5, 1)
    every = report["pairs"][-1]
    assert (every["different"]["tried"], every["different"]["rate"]) == (20 * 19 // 2 - 5 * 6, 0)
    assert (every["same"]["tried"], every["same"]["people"]) == (5 * 6 + 4, 5)
    assert 4 / 34 <= every["same"]["rate"] < 0.5
    assert [row["enrolled"] for row in report["searches"]] == [5] * 6
    printed = capsys.readouterr().out
    assert "21 pictures of 5 people, 1 without a face" in printed
    assert "| under 13 and 13 to 17 | 20 | too few people |" in printed


def test_a_folder_without_such_pictures_and_missing_models_are_told(models_dir: Path, tmp_path: Path) -> None:
    options = ["--images", str(tmp_path), "--models-dir"]
    with pytest.raises(accuracy.BenchmarkError, match=r"PPPAyy\.JPG"):
        ageing.main([*options, str(models_dir)])
    with pytest.raises(accuracy.BenchmarkError, match=r"prepare_models\.py"):
        ageing.main([*options, str(tmp_path)])
