"""All vectors of the gallery as one contiguous matrix, changed row by row as the table changes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recognition.matching import nearest as matching

SPARE = 1 / 4  # room for new rows, of those there are at first; it takes no memory until it is used
LEAST = 8192  # rows of room, at least
STEP = 4096  # rows by which a full matrix grows
DEAD = 1 / 4  # rows without a vector that are kept, of all
MOVED = 10_000  # rows that are moved at a time
THREADS = 2  # that one search shares: a single caller waits less, and many callers do not wait longer


class VectorIndex:
    """Rows are kept in ascending order of their keys, so that a key is found by bisection.

    `revision` is the state of the table that the index shows. Not thread-safe: the caller holds a lock.
    """

    def __init__(self, dimension: int, expected: int = 0) -> None:
        """Begin without vectors, with room for the `expected` number of them and some more."""
        room = max(LEAST, int(expected * (1 + SPARE)))
        self.revision = -1
        self._count = 0
        self._dead = 0
        self._keys = np.empty(room, dtype=np.int64)
        self._vectors = np.empty((room, dimension), dtype=np.float32)
        self._norms = np.empty(room, dtype=np.float32)

    @property
    def dimension(self) -> int:
        """Values of one vector."""
        return int(self._vectors.shape[1])

    def __len__(self) -> int:
        """Return the number of vectors."""
        return self._count - self._dead

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
        rows = self._rows_of(keys)
        self._norms[rows] = np.inf
        self._vectors[rows] = 0  # a deleted face is not kept in memory either
        self._dead += len(rows)
        if self._dead > DEAD * self._count:
            self._compact()

    def get(self, keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return those of these keys, int64 (n,), that have vectors: int64 (m,), and float32 (m, d)."""
        rows = self._rows_of(keys)
        return self._keys[rows], self._vectors[rows]

    def nearest(self, probes: NDArray[np.float32], k: int) -> list[matching.Nearest]:
        """Find the k nearest vectors of each probe, float32 (n, d): keys and distances, nearest first."""
        vectors, norms = self._vectors[: self._count], self._norms[: self._count]
        return [
            (self._keys[rows], distances)
            for rows, distances in matching.nearest(probes, vectors, norms, k, THREADS)
        ]

    def _rows_of(self, keys: NDArray[np.int64]) -> NDArray[np.intp]:
        """Find the rows of those of these keys that have vectors."""
        rows = np.searchsorted(self._keys[: self._count], keys)
        inside = rows < self._count
        rows, keys = rows[inside], keys[inside]
        found: NDArray[np.intp] = rows[(self._keys[rows] == keys) & np.isfinite(self._norms[rows])]
        return found

    def _append(
        self, keys: NDArray[np.int64], vectors: NDArray[np.float32], norms: NDArray[np.float32]
    ) -> None:
        count = self._count + len(keys)
        if count > len(self._keys):
            self._resize(count + STEP)
        self._keys[self._count : count] = keys
        self._vectors[self._count : count] = vectors
        self._norms[self._count : count] = norms
        self._count = count

    def _compact(self) -> None:
        """Move the rows that are left to the front, a few at a time, and give back the room behind them."""
        alive = np.flatnonzero(np.isfinite(self._norms[: self._count]))
        for start in range(0, len(alive), MOVED):
            rows = alive[start : start + MOVED]
            places = slice(start, start + len(rows))
            self._keys[places] = self._keys[rows]
            self._vectors[places] = self._vectors[rows]
            self._norms[places] = self._norms[rows]
        self._count, self._dead = len(alive), 0
        self._resize(self._count)

    def _resize(self, room: int) -> None:
        """Resize the arrays where they are, to which nobody else may hold a reference.

        The C library moves a large one's pages, not its bytes: quick, and never two copies of the matrix.
        """
        self._keys.resize(room)
        self._vectors.resize((room, self.dimension))
        self._norms.resize(room)
