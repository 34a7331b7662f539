"""All vectors of the gallery as one contiguous matrix, changed row by row as the table changes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition import matching

GROWTH = 1.125  # spare room when the matrix is full: few copies, little memory held for nothing


class VectorIndex:
    """Rows are kept in ascending order of their keys, so that a key is found by bisection.

    `revision` is the state of the table that the index shows. Not thread-safe: the caller holds a lock.
    """

    def __init__(self, dimension: int) -> None:
        self.revision = -1
        self._count = 0
        self._dead = 0
        self._keys = np.empty(0, dtype=np.int64)
        self._vectors = np.empty((0, dimension), dtype=np.float32)
        self._norms = np.empty(0, dtype=np.float32)

    @property
    def dimension(self) -> int:
        """Values of one vector."""
        return int(self._vectors.shape[1])

    def put(self, keys: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add or replace vectors.

        Args:
            keys: int64 (n,), ascending; those that are new are larger than all known ones.
            vectors: float32 (n, d).
        """
        norms = matching.squared_norms(vectors)
        rows = np.searchsorted(self._keys[: self._count], keys)
        known = rows < self._count
        known[known] = self._keys[rows[known]] == keys[known]
        self._vectors[rows[known]] = vectors[known]
        self._norms[rows[known]] = norms[known]
        self._append(keys[~known], vectors[~known], norms[~known])

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Take out vectors: int64 (n,). Unknown keys are ignored."""
        rows = np.searchsorted(self._keys[: self._count], keys)
        inside = rows < self._count
        rows, keys = rows[inside], keys[inside]
        rows = rows[(self._keys[rows] == keys) & np.isfinite(self._norms[rows])]
        self._norms[rows] = np.inf
        self._vectors[rows] = 0  # a deleted face is not kept in memory either
        self._dead += len(rows)
        if self._dead * 4 > self._count:
            self._compact()

    def nearest(
        self, probes: NDArray[np.float32], k: int
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Find the k nearest vectors of each probe, float32 (n, d): keys and distances, nearest first."""
        vectors, norms = self._vectors[: self._count], self._norms[: self._count]
        return [
            (self._keys[rows], distances) for rows, distances in matching.nearest(probes, vectors, norms, k)
        ]

    def _append(
        self, keys: NDArray[np.int64], vectors: NDArray[np.float32], norms: NDArray[np.float32]
    ) -> None:
        count = self._count + len(keys)
        if count > len(self._keys):
            room = max(count, int(self._count * GROWTH))
            self._keys = _resized(self._keys, self._count, room)
            self._vectors = _resized(self._vectors, self._count, room)
            self._norms = _resized(self._norms, self._count, room)
        self._keys[self._count : count] = keys
        self._vectors[self._count : count] = vectors
        self._norms[self._count : count] = norms
        self._count = count

    def _compact(self) -> None:
        alive = np.flatnonzero(np.isfinite(self._norms[: self._count]))
        self._keys, self._vectors, self._norms = self._keys[alive], self._vectors[alive], self._norms[alive]
        self._count, self._dead = len(alive), 0


def _resized(array: NDArray[Any], count: int, room: int) -> NDArray[Any]:
    larger = np.empty((room, *array.shape[1:]), dtype=array.dtype)
    larger[:count] = array[:count]
    return larger
