"""Nearest neighbours by Euclidean distance, exactly. Pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Rounding of |x|^2 - 2 x.q + |q|^2 in float32, relative to (|x| + |q|)^2. A sum of d products is off by at
# most d units of rounding (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); this is 4 x that.
ROUNDING = 4 * float(np.finfo(np.float32).eps)


def squared_norms(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return |x|^2 of each row: float32 (n, d) -> float32 (n,)."""
    norms: NDArray[np.float32] = np.einsum("nd,nd->n", vectors, vectors, dtype=np.float32)
    return norms


def nearest(
    probes: NDArray[np.float32],
    vectors: NDArray[np.float32],
    norms: NDArray[np.float32],
    k: int,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Find the k nearest rows of `vectors` for each probe; of equally near rows the first one wins.

    A float32 matrix product picks the candidates, generously enough for its own rounding; their distances are
    then computed in float64, so that the answer is that of a float64 search through everything.

    Args:
        probes: float32 (n, d).
        vectors: float32 (m, d).
        norms: float32 (m,), `squared_norms(vectors)`; infinity takes a row out of the search.
        k: at least 1.

    Returns:
        For each probe the positions, int64 (j,), and distances, float64 (j,), nearest first; j <= k.
    """
    if len(probes) == 0:
        return []
    products = probes @ vectors.T
    return [
        _nearest_one(probe, vectors, norms - 2 * row, norms, k)
        for probe, row in zip(probes, products, strict=True)
    ]


def _nearest_one(
    probe: NDArray[np.float32],
    vectors: NDArray[np.float32],
    scores: NDArray[np.float32],
    norms: NDArray[np.float32],
    k: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """`scores` are the squared distances less the probe's own squared norm, the same for all rows."""
    if len(scores) == 0:
        return np.empty(0, np.int64), np.empty(0, np.float64)
    last = min(k, len(scores)) - 1
    limit = scores.min() if last == 0 else np.partition(scores, last)[last]
    finite = norms[np.isfinite(norms)]
    longest = float(np.sqrt(finite.max())) if len(finite) else 0.0
    slack = ROUNDING * len(probe) * (longest + float(np.linalg.norm(probe))) ** 2
    candidates = np.flatnonzero((scores <= limit + slack) & np.isfinite(scores))
    differences = vectors[candidates].astype(np.float64) - probe.astype(np.float64)
    distances = np.sqrt(np.einsum("nd,nd->n", differences, differences))
    order = np.lexsort((candidates, distances))[:k]
    return candidates[order], distances[order]
