"""Distances on CompreFace's scale."""

from __future__ import annotations

import numpy as np
import pytest

from recognition.compreface.similarity import OTHERS, STEEPNESS, similarity
from serving.model import Model


def model(name: str, threshold: float, length: float) -> Model:
    return Model(name, 128, 160, threshold, (0.0, 2 * length), "f")


FACENET = model("Facenet", 9.0, 10.0)
MODELS = [FACENET, model("MobileFaceNet", 9.5, 10.0), model("Facenet512", 1.04, 1.0)]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


@every_model
def test_the_middle_is_at_the_threshold(model: Model) -> None:
    assert similarity(np.array([model.threshold]), model).tolist() == [0.5]


@every_model
def test_it_falls_as_distance_grows_from_one_to_nothing(model: Model) -> None:
    found = similarity(np.linspace(*model.distance_range, 500), model)
    assert (np.diff(found) <= 0).all()
    assert found[0] == 1
    assert 0 <= found[-1] < 0.01
    assert len(np.unique(found)) > 100


@every_model
def test_it_is_of_five_decimals(model: Model) -> None:
    found = similarity(np.linspace(*model.distance_range, 500), model).tolist()
    assert found == [round(each, 5) for each in found]
    assert all(len(repr(each)) <= len("0.12345") or each < 1e-4 for each in found)


@every_model
def test_it_is_compreface_s_formula_on_vectors_of_length_1(model: Model) -> None:
    length = model.distance_range[1] / 2
    c0 = model.threshold / length
    c1 = STEEPNESS.get(model.name, OTHERS) / c0
    unit = np.linspace(0, 2, 50)
    expected = (np.tanh((c0 - unit) * c1) + 1) / 2
    assert similarity(unit * length, model) == pytest.approx(expected, abs=5.1e-6)


def test_nothing_and_many_rows_at_once() -> None:
    assert similarity(np.empty(0), FACENET).tolist() == []
    assert similarity(np.zeros((2, 3), np.float32), FACENET).tolist() == [[1.0] * 3] * 2
