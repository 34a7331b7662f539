"""The search of a gallery in SQLite: all vectors lie in this process's memory."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.gallery.atrest import LITTLE_ENDIAN_FLOAT32, cipher_of
from recognition.gallery.index import VectorIndex
from recognition.gallery.search import Neighbours
from recognition.gallery.tables import State, samples, tombstones

ROWS_PER_READ = 1000


class MemorySearch:
    """Compares with every vector, in memory.

    A worker whose index shows an older revision than `gallery_state` reads just the rows and tombstones that
    are newer, in the same transaction in which it searches: its answer is that of one state of the table.
    """

    def __init__(self) -> None:
        self.lock: AbstractContextManager[Any] = threading.Lock()
        self._index: VectorIndex | None = None
        self._file: Any = None  # which the index was read from

    def load(self, connection: sa.Connection, state: State) -> None:
        """Read all vectors, or those that are new, and forget those that are gone."""
        any_one = sa.select(sa.func.length(samples.c.vector)).limit(1)
        size = connection.execute(any_one).scalar()
        if size is None:
            self._index = None
        else:
            cipher = cipher_of(connection)
            size -= cipher.overhead if cipher else 0
            self._refreshed(connection, state, size // LITTLE_ENDIAN_FLOAT32.itemsize)

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> bytes:
        """Turn a vector into its bytes, encrypted where there is a key."""
        plain = vector.astype(LITTLE_ENDIAN_FLOAT32).tobytes()
        cipher = cipher_of(connection)
        return plain if cipher is None else cipher.seal(plain, sample_id, fingerprint)

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone; the caller raises `complete_since`."""
        connection.execute(samples.delete())
        connection.execute(tombstones.delete())

    def nearest(
        self, connection: sa.Connection, state: State, probes: NDArray[np.float32], k: int
    ) -> list[Neighbours]:
        """Find the k nearest samples of each probe, exactly."""
        return self._refreshed(connection, state, probes.shape[1]).nearest(probes, k)

    def _refreshed(self, connection: sa.Connection, state: State, dimension: int) -> VectorIndex:
        index, file = self._index, connection.info["file"]
        oldest, newest = state.complete_since, state.revision  # beyond the newest: an older copy was restored
        if (
            index is None
            or file != self._file
            or index.dimension != dimension
            or not oldest <= index.revision <= newest
        ):
            every = sa.select(sa.func.count()).select_from(samples)
            index = VectorIndex(dimension, expected=connection.execute(every).scalar_one())
        if index.revision < newest:
            self._index = None  # stays so if a read below fails half-way
            gone = connection.execute(
                sa.select(tombstones.c.key).where(tombstones.c.revision > index.revision)
            ).scalars()
            index.remove(np.fromiter(gone, dtype=np.int64))
            # SQLite goes through the whole table where rows are wanted in the order they lie in; it does not
            # see that a sum has the same order, and finds the few that are new by their revision.
            order = samples.c.key if index.revision < 0 else samples.c.key + 0
            cipher = cipher_of(connection)
            columns = [samples.c.key, samples.c.vector, *([samples.c.sample_id] if cipher else [])]
            rows = connection.execute(
                sa.select(*columns).where(samples.c.revision > index.revision).order_by(order)
            )
            for some in rows.partitions(ROWS_PER_READ):
                keys, blobs, *ids = zip(*some, strict=True)  # columns at once: row by row takes twice as long
                if cipher:
                    sealed = zip(blobs, ids[0], strict=True)
                    model = state.fingerprint or ""  # there is one where there are samples
                    blobs = tuple(cipher.open(blob, sample_id, model) for blob, sample_id in sealed)
                vectors = np.frombuffer(b"".join(blobs), dtype=LITTLE_ENDIAN_FLOAT32)
                index.put(np.array(keys, dtype=np.int64), vectors.reshape(len(keys), dimension))
            index.revision = newest
            self._index, self._file = index, file
        return index
