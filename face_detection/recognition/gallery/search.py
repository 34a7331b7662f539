"""Searches for the nearest samples: what each kind of search does its own way, and what is common to them.

search_memory.py compares in this process's memory, for SQLite; search_database.py asks PostgreSQL;
search_milvus.py asks Milvus, beside either.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.gallery.database import portions
from recognition.gallery.tables import State, samples

Neighbours = tuple[NDArray[np.int64], NDArray[np.float64]]  # keys and distances, nearest first, then by key
Nearest = Callable[[NDArray[np.float32], int], list[Neighbours]]  # of probes, float32 (n, d), the k nearest

Near = NDArray[np.float64]  # (n,): the distances of n probes below which somebody matters

Kind = Literal["memory", "database", "milvus"]

MORE_FOR_PEOPLE = 4  # vectors looked at for each one asked for, and their growth while some are missing


class Search(Protocol):
    """The part of a gallery that differs between searches. The caller gives the transaction, which is in it.

    lock: held from the first read of a search until the search is done, so that none sees an older state of
        the gallery than the one before it.
    kind: what compares: this process's memory, the database with an index of its own, or Milvus.
    """

    lock: AbstractContextManager[Any]
    kind: Kind

    def load(self, connection: sa.Connection, state: State) -> None:
        """Prepare so that the next search does not wait, and keep nothing of what is gone."""
        ...

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> Any:
        """Turn a vector, float32 (d,), into what the column `vector` takes."""
        ...

    def stored(self, connection: sa.Connection, dimension: int) -> None:
        """Do what is due when samples have been stored, whose vectors have `dimension` values.

        Raises:
            NotAlone: as `clear` does.
        """
        ...

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone; vectors of `dimension`, if it is known, come next.

        Raises:
            NotAlone: it needs a transaction that has the database alone, and this one has not.
        """
        ...

    def clear_people(self, connection: sa.Connection) -> None:
        """Remove every person, once there are no samples."""
        ...

    def nearest(
        self,
        connection: sa.Connection,
        state: State,
        probes: NDArray[np.float32],
        k: int,
        near: Near | None = None,
    ) -> list[Neighbours]:
        """Find the k nearest samples of each probe, float32 (n, d), in this state of the gallery.

        near: a search that may miss some looks harder where it finds none below this; None: it never does.

        Raises:
            GalleryModelMismatch: the vectors have another number of values, though the same fingerprint.
        """
        ...

    def vectors(
        self, connection: sa.Connection, state: State, keys: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return those of these samples, int64 (n,), that are compared, as int64 (m,), and float32 (m, d).

        It is called in a transaction in which `nearest` has been called.
        """
        ...

    def damaged(self) -> int:
        """Return the number of samples that the last search could not compare."""
        ...


def below(distance: float, probes: int) -> Near | None:
    """Turn one distance for all of so many probes into what `nearest` takes; infinite: none matters."""
    return np.full(probes, distance) if np.isfinite(distance) else None


def nearest_people(
    search: Search,
    connection: sa.Connection,
    state: State,
    probes: NDArray[np.float32],
    k: int,
    max_distance: float,
) -> list[Neighbours]:
    """Find the nearest sample of each of the k people who are nearest to each probe, float32 (n, d).

    Looks at more and more samples until they are of k people, or reach max_distance, or are all there are.
    """
    people: dict[int, int] = {}  # by the keys of samples
    near = below(max_distance, 1)

    def nearest_people_of(probe: NDArray[np.float32]) -> Neighbours:
        take = MORE_FOR_PEOPLE * k
        while True:
            ((keys, distances),) = search.nearest(connection, state, probe[np.newaxis], take, near)
            for some in portions([int(key) for key in keys if int(key) not in people]):
                query = sa.select(samples.c.key, samples.c.person).where(samples.c.key.in_(some))
                people.update((row.key, row.person) for row in connection.execute(query))
            firsts: dict[int, int] = {}  # the place of each one's nearest sample, nearest first
            for place, key in enumerate(keys):
                firsts.setdefault(people[int(key)], place)
            if len(firsts) >= k or len(keys) < take or distances[-1] >= max_distance:
                places = list(firsts.values())[:k]
                return keys[places], distances[places]
            take *= MORE_FOR_PEOPLE

    return [nearest_people_of(probe) for probe in probes]
