"""Nearest neighbours by Euclidean distance, exactly. Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

# Rounding of |x|^2 - 2 x.q in float32, relative to (|x| + |q|)^2. A sum of d products is off by at most d
# units of rounding (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); this is 4 x the sum of two
# such errors. Below SMALLEST a product loses its digits, so that its error is no longer a relative one.
ROUNDING = 4 * float(np.finfo(np.float32).eps)
SMALLEST = float(np.finfo(np.float32).tiny)
LARGEST = float(np.finfo(np.float32).max)

# Measured with a million vectors of 128 values: smaller blocks cost calls, larger ones leave the cache.
BLOCK_VALUES = 2**22  # of the vectors that are multiplied at a time
PROBES = 32  # that they are multiplied with
CANDIDATES = 2048  # rows whose exact distances are computed at a time

Nearest = tuple[NDArray[np.int64], NDArray[np.float64]]


def squared_norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return |x|^2 of each row: float32 (n, d) -> float32 (n,)."""
    norms: NDArray[np.float32] = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32)
    return norms


def nearest(
    probes: NDArray[np.float32],
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32],
    k: int,
    threads: int = 1,
) -> list[Nearest]:
    """Find the k nearest rows of `vectors` for each probe; of equally near rows the first one wins.

    A float32 matrix product picks the candidates, generously enough for its own rounding; their distances are
    then computed in float64, so that the answer is that of a float64 search through everything. Both go block
    by block: the memory used beside the arguments does not grow with n or m.

    Args:
        probes: float32 (n, d), finite; lengths below 1e18, of `vectors` too, so that no square overflows.
        vectors: float32 (m, d), finite.
        norms: float32 (m,), `squared_norms(vectors)`; infinity takes a row out of the search.
        k: at least 1.
        threads: that share the blocks. Best with a BLAS that uses one thread of its own.

    Returns:
        For each probe the positions, int64 (j,), and distances, float64 (j,), nearest first; j <= k.
    """
    return [
        rows_and_distances
        for start in range(0, len(probes), PROBES)
        for rows_and_distances in _nearest(probes[start : start + PROBES], vectors, norms, k, threads)
    ]


def _nearest(
    probes: NDArray[np.float32],
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32],
    k: int,
    threads: int,
) -> list[Nearest]:
    rows = max(1, BLOCK_VALUES // probes.shape[1])
    starts = range(0, len(vectors), rows)
    blocks = iter([slice(start, start + rows) for start in starts])  # each thread takes the next one
    limits = np.full(len(probes), np.inf)
    if threads == 1 or len(starts) < 2:
        return _search(probes, vectors, norms, k, blocks, limits)
    with ThreadPoolExecutor(threads) as pool:
        parts = [
            pool.submit(_search, probes, vectors, norms, k, blocks, limits)
            for _ in range(min(threads, len(starts)))
        ]
    return [_best(list(candidates), k) for candidates in zip(*(part.result() for part in parts), strict=True)]


def _search(
    probes: NDArray[np.float32],
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32],
    k: int,
    blocks: Iterator[slice],
    limits: NDArray[np.float64],
) -> list[Nearest]:
    """Find the k nearest rows of each probe in the blocks that this thread gets hold of.

    The score of a row is its squared distance less the probe's squared norm, which is the same for all rows.
    `limits`, float64 (n,), shared by the threads: the k-th best score of each probe so far. When two threads
    write at once the higher limit may stay, which lets more candidates in and none out.
    """
    doubles = probes.astype(np.float64)
    own = np.einsum("nd,nd->n", doubles, doubles)
    factors = np.ascontiguousarray(-2 * probes.T)
    products = np.empty((0, len(probes)), np.float32)
    best = [(np.empty(0, np.int64), np.empty(0))] * len(probes)
    for block in blocks:
        some = norms[block]
        if len(products) < len(some):
            products = np.empty((len(some), len(probes)), np.float32)
        here = np.matmul(vectors[block], factors, out=products[: len(some)])
        slack = probes.shape[1] * (ROUNDING * (_longest(some) + np.sqrt(own)) ** 2 + 4 * SMALLEST)
        lowest = _column_minima(here) + some.min()  # no score of the block is lower
        for i in np.flatnonzero(lowest <= np.minimum(limits + slack, LARGEST)):
            scores = here[:, i] + some
            limit = limits[i] if len(best[i][0]) == k else min(limits[i], _smallest(scores, k))
            rows = block.start + np.flatnonzero(scores <= np.float32(min(limit + slack[i], LARGEST)))
            best[i] = _best([best[i], (rows, _distances(doubles[i], vectors, rows))], k)
            if len(best[i][0]) == k:
                limits[i] = min(limits[i], best[i][1][-1] ** 2 - own[i])
    return best


def _longest(norms: NDArray[np.float32]) -> float:
    """Return the largest finite length."""
    largest = norms.max()
    if not np.isfinite(largest):
        largest = norms[np.isfinite(norms)].max(initial=0)
    return float(np.sqrt(largest))


def _column_minima(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the least value of each column, float32 (m, n) -> (n,), m > 0.

    NumPy compares row with row, n values at a time; 64 rows folded into one make that several times as fast.
    """
    m, n = values.shape
    whole = m - m % 64
    if n > 1 and whole:
        folded = values[:whole].reshape(-1, 64 * n).min(axis=0).reshape(64, n)
        values = np.concatenate([folded, values[whole:]])
    minima: NDArray[np.float32] = values.min(axis=0)
    return minima


def _smallest(values: NDArray[np.float32], k: int) -> float:
    """Return the k-th smallest value, or the largest if there are fewer."""
    last = min(k, len(values)) - 1
    return float(values.min() if last == 0 else np.partition(values, last)[last])


def _distances(
    probe: NDArray[np.float64], vectors: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    distances = np.empty(len(rows))
    for start in range(0, len(rows), CANDIDATES):
        differences = vectors[rows[start : start + CANDIDATES]] - probe
        distances[start : start + CANDIDATES] = np.sqrt(np.einsum("nd,nd->n", differences, differences))
    return distances


def _best(candidates: list[Nearest], k: int) -> Nearest:
    rows, distances = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    order = np.lexsort((rows, distances))[:k]
    return rows[order], distances[order]
