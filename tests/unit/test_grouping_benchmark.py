"""benchmarks/grouping.py, on people who are made up."""

from __future__ import annotations

import numpy as np
import pytest

import grouping


def test_rates_count_pairs_and_people() -> None:
    names = ["a", "a", "a", "b", "b", "b", "c"]
    perfect = grouping.rates_of(np.array([5, 5, 5, 2, 2, 2, 9]), names)
    assert perfect == {"precision": 1, "recall": 1, "clean": 1, "mostly": 1}
    split = grouping.rates_of(np.array([0, 0, 1, 2, 2, 2, 2]), names)
    assert split["precision"] == pytest.approx(4 / 7)  # b and c are six pairs, three of them right
    assert split["recall"] == pytest.approx(4 / 6)
    assert (split["clean"], split["mostly"]) == (0, 0.5)
    alone = grouping.rates_of(np.arange(7), names)
    assert (alone["precision"], alone["recall"], alone["clean"]) == (0, 0, 0)


def test_every_way_groups_people_who_are_far_apart() -> None:
    vectors, names = grouping.crowd(60, seed=3)
    few = grouping.Half(vectors, names, grouping.NO_BACKGROUND, grouping.model_of("Facenet"))
    for name, way in grouping.WAYS.items():
        labels = way.group(few, way.chosen)
        assert labels.shape == (60,)
        if name != "HDBSCAN":
            assert grouping.rates_of(labels, names)["precision"] == 1, name


def test_many_faces_are_counted() -> None:
    report = grouping.many(300)
    assert (report["faces"], report["precision"]) == (300, 1)
    assert 1 <= report["groups"] <= 300
