"""The search of a gallery in SQLite: all vectors lie in this process's memory."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.gallery.atrest import LITTLE_ENDIAN_FLOAT32, cipher_of, dimension_of, sealed_as
from recognition.gallery.database import portions
from recognition.gallery.index import VectorIndex
from recognition.gallery.portable import LARGEST
from recognition.gallery.rows import count, inside, total
from recognition.gallery.search import Kind, Near, Neighbours
from recognition.gallery.tables import (
    State,
    faces,
    gallery_of,
    persons,
    samples,
    second_vectors,
    tombstones,
)
from recognition.gallery.vector_rows import lacks, searched, with_them

log = logging.getLogger(__name__)

ROWS_PER_READ = 1000
# A gallery is read by going through the whole table, if at least one of so many rows is its own; a row takes
# about four times as long to be looked up.
OF_A_GALLERY = 4
NAMED = 20  # damaged samples in one line of the log


class MemorySearch:
    """Compares with every vector of one gallery, in memory.

    A worker whose index shows an older revision than the gallery has reads just the rows and tombstones that
    are newer, in the same transaction in which it searches: its answer is that of one state of the table.

    A sample whose vector is damaged, that is of another length, not finite, or not to be decrypted, is set
    aside: the others are found.
    """

    kind: Kind = "memory"

    def __init__(self) -> None:
        self.lock: AbstractContextManager[Any] = threading.Lock()
        self._index: VectorIndex | None = None
        self._source: Any = None  # what the index was read from: the file, and the gallery in it
        # Keys of rows that are in the table and not in the index.
        self._damaged: set[int] = set()
        self._expired: set[int] = set()
        self._waiting: set[int] = set()  # for a vector of the gallery's model
        self._expired_by = datetime.min  # by when, in the index's revision
        self._hidden_by = datetime.min  # by when at all

    def load(self, connection: sa.Connection, state: State) -> None:
        """Read all vectors, or those that are new, and forget those that are gone."""
        dimension = dimension_of(connection)
        if dimension is None:
            self._forget()
        else:
            self._hide_expired(connection, state, self._refreshed(connection, state, dimension))

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> bytes:
        """Turn a vector into its bytes, encrypted where there is a key."""
        plain = vector.astype(LITTLE_ENDIAN_FLOAT32).tobytes()
        cipher = cipher_of(connection)
        return plain if cipher is None else cipher.seal(plain, sealed_as(connection, sample_id), fingerprint)

    def stored(self, connection: sa.Connection, dimension: int) -> None:
        """Leave it to the next search to read them."""

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone; the caller raises `complete_since`."""
        theirs = sa.select(samples.c.key).where(inside(connection))
        for table in (faces, second_vectors):  # cheaper than one by one
            connection.execute(table.delete().where(table.c.sample.in_(theirs)))
        for table in (samples, tombstones):
            connection.execute(table.delete().where(table.c.gallery == gallery_of(connection)))

    def clear_people(self, connection: sa.Connection) -> None:
        """Remove every person."""
        connection.execute(persons.delete().where(persons.c.gallery == gallery_of(connection)))

    def nearest(
        self,
        connection: sa.Connection,
        state: State,
        probes: NDArray[np.float32],
        k: int,
        near: Near | None = None,
    ) -> list[Neighbours]:
        """Find the k nearest samples of each probe, exactly.

        Raises:
            GalleryModelMismatch: no vector can be compared, since they have another dimension.
        """
        index = self._refreshed(connection, state, probes.shape[1])
        if self._damaged and not index and dimension_of(connection) != probes.shape[1]:
            raise GalleryModelMismatch("The gallery's vectors have another number of values.")
        self._hide_expired(connection, state, index)
        return index.nearest(probes, k)

    def vectors(
        self, connection: sa.Connection, state: State, keys: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return what lies in memory since the search."""
        assert self._index is not None
        return self._index.get(keys)

    def damaged(self) -> int:
        """Return the number of samples that are set aside."""
        return len(self._damaged)

    def _forget(self) -> None:
        self._index = None  # stays so if a reading fails half-way
        self._damaged, self._expired, self._waiting = set(), set(), set()
        self._expired_by = self._hidden_by = datetime.min

    def _refreshed(self, connection: sa.Connection, state: State, dimension: int) -> VectorIndex:
        index, source, expected = self._index, (connection.info["file"], state.gallery), 0
        oldest, newest = state.complete_since, state.revision  # beyond the newest: an older copy was restored
        if (
            index is None
            or source != self._source
            or index.dimension != dimension
            or not oldest <= index.revision <= newest
            or self._comes_back(connection, index.revision)
            or self._revives(connection, state)
        ):
            self._forget()
            expected = count(connection)
            index = VectorIndex(dimension, expected)
        if index.revision < newest:
            self._index = None
            self._read_changes(connection, state, index, expected)
            index.revision = newest
            self._index, self._source, self._expired_by = index, source, datetime.min
        return index

    def _comes_back(self, connection: sa.Connection, revision: int) -> bool:
        """Tell whether a row has changed since this revision that is not in the index.

        The index takes new keys only behind those that it has.
        """
        aside = self._damaged | self._expired | self._waiting
        if not aside:
            return False
        changed = sa.select(samples.c.key).where(inside(connection), samples.c.revision > revision)
        return not aside.isdisjoint(connection.execute(changed).scalars())

    def _revives(self, connection: sa.Connection, state: State) -> bool:
        """Tell whether a clock was put back, by which samples that were hidden have not expired."""
        expired_by = state.expired_by or datetime.min
        if not self._expired or expired_by >= self._hidden_by:
            return False
        expires_at = samples.c.expires_at
        between = expires_at > expired_by, expires_at <= self._hidden_by
        hidden = sa.select(samples.c.key).where(inside(connection), *between)
        return not self._expired.isdisjoint(connection.execute(hidden).scalars())

    def _read_changes(
        self, connection: sa.Connection, state: State, index: VectorIndex, expected: int
    ) -> None:
        """Read the rows and tombstones that are newer than the index; `expected` as in `_newer`."""
        here = tombstones.c.gallery == state.gallery
        gone = sa.select(tombstones.c.key).where(here, tombstones.c.revision > index.revision)
        removed = np.fromiter(connection.execute(gone).scalars(), dtype=np.int64)
        index.remove(removed)
        self._damaged.difference_update(removed.tolist())
        self._expired.difference_update(removed.tolist())
        self._waiting.difference_update(removed.tolist())
        cipher = cipher_of(connection)
        vectors = searched(connection)
        columns = [samples.c.key, vectors.vector, *([samples.c.sample_id] if cipher else [])]
        query = with_them(sa.select(*columns), vectors).where(vectors.fingerprint == state.fingerprint)
        damaged: list[int] = []
        for some in _newer(connection, query, index.revision, expected):
            keys, blobs, *ids = zip(*some, strict=True)  # columns at once: row by row takes twice as long
            if cipher:

                def opened(sealed: Any, sample_id: str) -> bytes:
                    try:
                        return cipher.open(sealed, sealed_as(connection, sample_id), state.fingerprint or "")
                    except (GalleryUnavailable, TypeError):
                        return b""

                blobs = tuple(map(opened, blobs, ids[0]))
            whole, values = _vectors(blobs, index.dimension)
            some_keys = np.array(keys, dtype=np.int64)
            index.put(some_keys[whole], values)
            if len(values) < len(keys):
                index.remove(some_keys[~whole])
                damaged += some_keys[~whole].tolist()
        self._damaged.update(damaged)
        if index.revision < 0 and state.model is not None:
            self._waiting = _without_vector(connection)
        if damaged:
            _tell(connection, damaged)

    def _hide_expired(self, connection: sa.Connection, state: State, index: VectorIndex) -> None:
        """Take out of the index what has expired and cannot be removed from the table yet."""
        if state.expired_by is None:
            return
        between = [
            sa.and_(
                table.c.gallery == state.gallery,
                table.c.expires_at > self._expired_by,
                table.c.expires_at <= state.expired_by,
            )
            for table in (samples, persons)
        ]
        own, people = between[0], samples.c.person.in_(sa.select(persons.c.key).where(between[1]))
        query = sa.select(samples.c.key).where(sa.or_(own, people))
        keys = connection.execute(query).scalars().all()
        index.remove(np.array(keys, dtype=np.int64))
        self._expired.update(keys)
        self._expired_by = max(self._expired_by, state.expired_by)
        self._hidden_by = max(self._hidden_by, state.expired_by)


def _newer(
    connection: sa.Connection, query: sa.Select[Any], revision: int, expected: int
) -> Iterator[Sequence[Any]]:
    """Yield the rows of the gallery that are newer than a revision, some at a time, in the order of the keys.

    No vectors are sorted: SQLite would write them into a file of its own.

    expected: how many rows the gallery has; of no effect where it has been read before.
    """
    if revision < 0 and expected * OF_A_GALLERY >= total(connection):
        # Past those of other galleries; a sum, as in rows.py.
        here = samples.c.gallery + 0 == gallery_of(connection)
        yield from connection.execute(query.where(here).order_by(samples.c.key)).partitions(ROWS_PER_READ)
        return
    newer = sa.select(samples.c.key).where(inside(connection), samples.c.revision > revision)
    for some in portions(sorted(connection.execute(newer).scalars())):
        yield connection.execute(query.where(samples.c.key.in_(some)).order_by(samples.c.key)).all()


def _without_vector(connection: sa.Connection) -> set[int]:
    """Return the keys of the samples that have none of the model that is searched."""
    vectors = searched(connection)
    query = with_them(sa.select(samples.c.key), vectors, outer=True)
    return set(connection.execute(query.where(inside(connection), lacks(vectors))).scalars())


def _vectors(blobs: Sequence[Any], dimension: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Read n vectors as they lie in the table.

    Returns:
        Which of them can be used, bool (n,), and these, float32 (m, d).
    """
    size = dimension * LITTLE_ENDIAN_FLOAT32.itemsize
    whole = np.array([isinstance(blob, bytes) and len(blob) == size for blob in blobs], dtype=bool)
    if not whole.all():
        blobs = [blob for blob, is_whole in zip(blobs, whole, strict=True) if is_whole]
    vectors = np.frombuffer(b"".join(blobs), dtype=LITTLE_ENDIAN_FLOAT32).reshape(len(blobs), dimension)
    finite = (np.abs(vectors) < LARGEST).all(axis=1)
    if not finite.all():
        whole[whole] = finite
        vectors = vectors[finite]
    return whole, vectors


def _tell(connection: sa.Connection, keys: Sequence[int]) -> None:
    """Name damaged samples in the log, the first ones of many."""
    query = sa.select(samples.c.sample_id).where(samples.c.key.in_(keys[:NAMED])).order_by(samples.c.key)
    ids = ", ".join(map(repr, connection.execute(query).scalars()))
    log.error(
        "%d samples are set aside, their vectors are damaged: %s%s; enrol them again or delete them",
        len(keys),
        ids,
        ", ..." if len(keys) > NAMED else "",
    )
