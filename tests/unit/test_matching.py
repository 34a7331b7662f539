"""Nearest neighbours: the answers of a float64 search through everything."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recognition.matching import nearest as matching

BLOCK = matching.BLOCK_VALUES // 128  # rows of 128 values that are searched at a time


def brute_force(probe: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(((vectors.astype(np.float64) - probe.astype(np.float64)) ** 2).sum(axis=1))


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 4),
    m=st.integers(0, 60),
    k=st.integers(1, 70),
    threads=st.integers(1, 3),
    spread=st.sampled_from([0.0, 1e-6, 1e-3, 1.0]),
)
def test_same_answers_as_brute_force(seed: int, n: int, m: int, k: int, threads: int, spread: float) -> None:
    random = np.random.default_rng(seed)
    centre = random.normal(size=128)
    vectors = centre + spread * random.normal(size=(m, 128))
    vectors = (10 * vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    probes = (centre + spread * random.normal(size=(n, 128))).astype(np.float32)
    found = matching.nearest(probes, vectors, matching.squared_norms(vectors), k, threads)
    assert len(found) == n
    for probe, (rows, distances) in zip(probes, found, strict=True):
        exact = brute_force(probe, vectors)
        assert rows.tolist() == np.argsort(exact, kind="stable")[:k].tolist()
        assert distances.tolist() == pytest.approx(exact[rows].tolist(), rel=1e-12, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(0, 60),
    k=st.integers(1, 70),
    scale=st.sampled_from([1e-44, 1e-30, 1e-21, 1e-19, 1e-10, 1.0, 1e6, 1e15]),
    orders=st.sampled_from([0.0, 1.0, 20.0]),
    spread=st.sampled_from([1e-4, 1e-2, 1.0]),
    dead=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_vectors_of_any_length(
    seed: int, m: int, k: int, scale: float, orders: float, spread: float, dead: float
) -> None:
    """From subnormal values, whose squares vanish, to squares near the largest float32; some rows deleted.

    Rows may come in another order where their distances differ by float64's own rounding, 1e-12 of them.
    """
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(1, 32)) + spread * random.normal(size=(m, 32))
    vectors *= scale * 10 ** -random.uniform(0, orders, size=(m, 1))
    vectors = vectors.astype(np.float32)
    probes = np.concatenate([vectors[:2], vectors[:2] * 1.5, np.zeros((1, 32)), np.full((1, 32), scale)])
    norms = matching.squared_norms(vectors)
    norms[random.random(m) < dead] = np.inf
    probes = probes.astype(np.float32)
    for probe, (rows, distances) in zip(
        probes, matching.nearest(probes, vectors, norms, k, threads=2), strict=True
    ):
        exact = np.where(np.isfinite(norms), brute_force(probe, vectors), np.inf)
        assert len(set(rows.tolist())) == min(k, np.isfinite(norms).sum())
        assert distances.tolist() == pytest.approx(exact[rows].tolist(), rel=1e-12, abs=0)
        assert distances.tolist() == pytest.approx(np.sort(exact)[: len(rows)].tolist(), rel=1e-12, abs=0)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.sampled_from([BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 100]),
    n=st.sampled_from([1, 2, matching.PROBES + 1]),
    k=st.sampled_from([1, 3, 100]),
    kinds=st.sampled_from([1, 7, 5000]),
    threads=st.integers(1, 3),
    dead=st.sampled_from([0.0, 0.5]),
)
def test_ties_across_blocks_and_threads(
    seed: int, m: int, n: int, k: int, kinds: int, threads: int, dead: float
) -> None:
    """Small whole numbers, whose float64 distances are exact, so that all ties are: many rows are alike."""
    random = np.random.default_rng(seed)
    pool = random.integers(-3, 4, size=(kinds + 1, 128)).astype(np.float32)
    which = random.integers(0, kinds, size=m)
    which[-1] = kinds  # the last row has no double
    vectors = pool[which]
    norms = matching.squared_norms(vectors)
    gone = random.random(m) < dead
    norms[gone] = np.inf
    probes = random.integers(-3, 4, size=(n, 128)).astype(np.float32)
    probes[0] = vectors[-1]
    found = matching.nearest(probes, vectors, norms, k, threads)
    for probe, (rows, distances) in zip(probes, found, strict=True):
        exact = np.sqrt(((pool - probe) ** 2).sum(axis=1, dtype=np.float64))[which]
        exact[gone] = np.inf
        expected = np.argsort(exact, kind="stable")[:k]
        assert rows.tolist() == expected.tolist()
        assert distances.tolist() == exact[expected].tolist()


@pytest.mark.parametrize("threads", [1, 2])
def test_an_enrolled_vector_is_found_at_distance_zero_wherever_it_stands(threads: int) -> None:
    m = 2 * BLOCK + 100
    vectors = np.random.default_rng(1).normal(size=(m, 128)).astype(np.float32)
    places = [0, 63, 64, BLOCK - 1, BLOCK, 2 * BLOCK + 63, 2 * BLOCK + 64, m - 1]
    found = matching.nearest(vectors[places], vectors, matching.squared_norms(vectors), 1, threads)
    assert [(rows.tolist(), distances.tolist()) for rows, distances in found] == [
        ([place], [0.0]) for place in places
    ]


@pytest.mark.parametrize("seed", range(5))
def test_squares_that_float32_cannot_tell_apart(seed: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(1, 32)) + 0.01 * random.normal(size=(60, 32))
    vectors, probe = (1e-22 * values for values in (vectors, random.normal(size=(1, 32))))
    vectors, probe = vectors.astype(np.float32), probe.astype(np.float32)
    ((rows, _),) = matching.nearest(probe, vectors, matching.squared_norms(vectors), 1)
    assert rows.tolist() == [brute_force(probe, vectors).argmin()]


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


@pytest.mark.parametrize(("n", "alike"), [(300, False), (2, True)])
def test_memory_does_not_grow_with_the_search(n: int, alike: bool) -> None:
    """All products of the first search would take 79 MB, all differences of the second, where every row is
    a candidate, 68 MB a probe."""
    m = 2 * BLOCK + 500
    random = np.random.default_rng(1)
    vectors = np.ones((m, 128), np.float32) if alike else random.normal(size=(m, 128)).astype(np.float32)
    probes = vectors[:n].copy()
    norms = matching.squared_norms(vectors)
    tracemalloc.start()
    try:
        found = matching.nearest(probes, vectors, norms, 1, threads=2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [rows.tolist() for rows, _ in found] == ([[0]] * n if alike else [[i] for i in range(n)])
    assert peak < 32e6
