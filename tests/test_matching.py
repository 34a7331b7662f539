"""Nearest neighbours: the answers of a float64 search through everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognition import matching


def brute_force(probe: np.ndarray, vectors: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    distances = np.sqrt(((vectors.astype(np.float64) - probe.astype(np.float64)) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")[:k]
    return order.tolist(), distances[order].tolist()


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 4),
    m=st.integers(0, 60),
    k=st.integers(1, 70),
    spread=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
)
def test_same_answers_as_brute_force(seed: int, n: int, m: int, k: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    centre = random.normal(size=128)
    vectors = centre + spread * random.normal(size=(m, 128))
    vectors = (10 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    probes = (centre + spread * random.normal(size=(n, 128))).astype(np.float32)
    found = matching.nearest(probes, vectors, matching.squared_norms(vectors), k)
    assert len(found) == n
    for probe, (rows, distances) in zip(probes, found, strict=True):
        expected_rows, expected_distances = brute_force(probe, vectors, k)
        assert distances.tolist() == pytest.approx(expected_distances, rel=1e-12, abs=1e-12)
        assert rows.tolist() == expected_rows


def test_an_enrolled_vector_is_at_distance_zero() -> None:
    vectors = np.random.default_rng(1).normal(size=(1000, 128)).astype(np.float32)
    ((rows, distances),) = matching.nearest(vectors[500:501], vectors, matching.squared_norms(vectors), 1)
    assert rows.tolist() == [500]
    assert distances.tolist() == [0.0]


def test_equally_near_rows_come_in_their_order() -> None:
    vectors = np.repeat(np.ones((1, 128), np.float32), 9, axis=0)
    ((rows, _),) = matching.nearest(vectors[:1], vectors, matching.squared_norms(vectors), 5)
    assert rows.tolist() == [0, 1, 2, 3, 4]


def test_rows_of_infinite_norm_are_never_found() -> None:
    vectors = np.zeros((3, 128), np.float32)
    norms = np.array([np.inf, 0, np.inf], np.float32)
    ((rows, _),) = matching.nearest(vectors[:1], vectors, norms, 3)
    assert rows.tolist() == [1]
    ((rows, _),) = matching.nearest(vectors[:1], vectors, np.full(3, np.inf, np.float32), 3)
    assert rows.tolist() == []
