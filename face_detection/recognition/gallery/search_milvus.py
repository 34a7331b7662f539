"""The search of a gallery in Milvus: candidates come from there, and are compared as the database has them.

The database has the truth of every sample; Milvus has copies of the vectors, and a mark that says up to which
revision. Whoever searches first after a change brings in what has changed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.gallery.atrest import dimension_of
from recognition.gallery.clock import Clock
from recognition.gallery.database import file_of
from recognition.gallery.milvus import MOST, Lost, Mark, Milvus, collection_of, prefix_of
from recognition.gallery.milvus_source import (
    ROWS_PER_READ,
    Stored,
    all_keys,
    compare,
    has_more,
    identity,
    is_past,
    newest_revision,
    ranked,
    rows_of,
    told,
    witness,
)
from recognition.gallery.rows import inside
from recognition.gallery.search import Kind, Near, Neighbours, Search
from recognition.gallery.tables import DEFAULT_KEY, State, galleries, samples, tombstones

log = logging.getLogger(__name__)

SPARE = 8  # candidates beyond k: their float32 order may differ from the exact one
MORE = 4  # times as many, where too many of the candidates have gone or expired
# What was replaced or removed before is removed from Milvus after so long: by then each process has looked at
# its mark in the upkeep, which comes every minute, and no search that had begun goes on.
GRACE_S = 150.0
# In segments that still grow, Milvus 2.3 found the nearest sample of 96.7 % of enrolled people among 100,000;
# closed ones have their index. Of fewer vectors they stay open: many small segments would be slow.
SEALED_FROM = 10_000
INDEX_LOCK = int.from_bytes(b"indx", "big")  # the first of the two numbers of PostgreSQL's advisory lock
FILLING = "The index of the gallery (GALLERY_INDEX) is being filled; try again soon."


@dataclass(frozen=True, slots=True)
class Shown:
    """What this process knows of a gallery in Milvus.

    source: the file that the database was, where it is SQLite's.
    fingerprint: of the vectors; dimension: of them.
    name: of the collection.
    """

    source: Any
    fingerprint: str
    dimension: int
    name: str
    mark: Mark

    def has(self, revision: int) -> bool:
        """Tell whether there is a row of each sample as it was in this revision."""
        return max(self.mark.since, self.mark.swept) <= revision <= self.mark.revision


class MilvusSearch:
    """Finds candidates in Milvus, and compares them as they are in the transaction.

    A row in Milvus is the vector that a sample had in one revision. Rows of revisions that are not the
    transaction's are passed over, so it does not matter if there are more than needed; and each row that is
    needed is there: rows are put before the mark that speaks of them, and what is superseded is removed only
    when no search is left that might ask for it. So processes may die, stop and go on at any moment. A lock
    keeps several from doing the same work at once; nothing depends on it but that.

    Where a mark is not there, or speaks of another history of the gallery (an older copy of the database was
    restored since), or of a time of which the tombstones do not tell, all vectors are put anew, as a new
    fill, beside the old one.
    """

    kind: Kind = "milvus"

    def __init__(self, milvus: Milvus, base: Search, ef_search: int, timeout_s: float, clock: Clock) -> None:
        """Search with Milvus, and store as `base` does.

        ef_search: candidates that the index for vectors looks at.
        timeout_s: how long another process that fills the index is waited for.
        """
        self.lock: AbstractContextManager[Any] = nullcontext()
        self._milvus = milvus
        self._base = base
        self._ef_search = ef_search
        self._timeout_s = timeout_s
        self._clock = clock
        self._shown: Shown | None = None
        self._following = threading.Lock()
        self._started = False
        self._seen: tuple[float, Shown] | None = None  # by an upkeep, and when

    def load(self, connection: sa.Connection, state: State) -> None:
        """Bring in what has changed, and remove what is gone, but for the first time, when a process starts.

        It starts, and can enrol, without Milvus, too; and to fill it may take longer than a start may.
        """
        if not self._started:
            self._started = True
            self._milvus.prepare()
            return
        try:
            with self._alone(connection, state):
                shown = self._follow(connection, state)
                if shown is not None:
                    self._sweep(connection, state, shown)
                if state.gallery == DEFAULT_KEY:
                    self._remove_strangers(connection)
        except (GalleryUnavailable, Lost) as e:
            log.warning("%s", e)

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> Any:
        """Turn a vector into what the database takes."""
        return self._base.encoded(connection, vector, sample_id, fingerprint)

    def stored(self, connection: sa.Connection, dimension: int) -> None:
        """Leave it to the next search to bring them in."""

    def clear(self, connection: sa.Connection, dimension: int | None) -> None:
        """Remove every sample and tombstone from the database, and make no index there."""
        self._base.clear(connection, None)

    def clear_people(self, connection: sa.Connection) -> None:
        """Remove every person."""
        self._base.clear_people(connection)

    def nearest(
        self,
        connection: sa.Connection,
        state: State,
        probes: NDArray[np.float32],
        k: int,
        near: Near | None = None,
    ) -> list[Neighbours]:
        """Find the k nearest samples of each probe.

        Raises:
            GalleryModelMismatch: the vectors have another number of values, though the same fingerprint.
            GalleryUnavailable: Milvus cannot be reached, or another process is filling it.
        """
        nearest: dict[int, Neighbours] = {}
        left, limit, doubted = list(range(len(probes))), min(k + SPARE, MOST), False
        scanned: list[int] = []
        while left:
            shown, found = self._candidates(connection, state, probes[left], limit)
            if shown is None:  # there is nothing
                return [(np.empty(0, np.int64), np.empty(0)) for _ in probes]
            if not shown.has(state.revision):  # it has gone on, and not everything is there any more
                scanned += left
                break
            stored = Stored(connection, state, {key for some in found for key, _ in some}, shown.dimension)
            short, missing = [], []
            for place, some in zip(left, found, strict=True):
                keys = [key for key, revision in dict.fromkeys(some) if stored.revision_of(key) == revision]
                ordered, distances = ranked(*stored.get(keys), probes[place])
                nearest[place] = ordered[:k], distances[:k]
                # More are behind those that have gone or expired, or behind others that are as near.
                if len(some) == limit and (len(keys) <= k or distances[-1] == distances[k - 1]):
                    short.append(place)
                elif len(keys) < k and has_more(connection, state, len(keys) + len(shown.mark.damaged)):
                    missing.append(place)
            if missing and not doubted:  # Milvus was emptied, and maybe filled anew by another process
                doubted, self._shown = True, None
                continue
            if any(not some for some in found) and missing:
                self._give_up(shown)
            scanned += missing if limit < MOST else missing + short
            left, limit = short if limit < MOST else [], min(limit * MORE, MOST)
        if scanned:
            compare(connection, state, probes, k, nearest, scanned)
        return [nearest[place] for place in range(len(probes))]

    def vectors(
        self, connection: sa.Connection, state: State, keys: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Read them from the database."""
        dimension = dimension_of(connection)
        if dimension is None:
            return np.empty(0, np.int64), np.empty((0, 0), np.float32)
        rows, _ = rows_of(connection, state, keys.tolist(), dimension, state.expired_by)
        return rows.keys, rows.vectors

    def damaged(self) -> int:
        """Return the number of samples whose vectors were not put into Milvus."""
        return 0 if self._shown is None else len(self._shown.mark.damaged)

    def _candidates(
        self, connection: sa.Connection, state: State, probes: NDArray[np.float32], limit: int
    ) -> tuple[Shown | None, list[list[tuple[int, int]]]]:
        """Bring in what has changed, and ask Milvus; where it has lost the collection, once more."""
        for again in (True, False):
            try:
                shown = self._up_to_date(connection, state)
                if shown is None or not shown.has(state.revision):
                    return shown, []
                if shown.dimension != probes.shape[1]:
                    raise GalleryModelMismatch("The gallery's vectors have another number of values.")
                where = shown.name, shown.mark.fill
                return shown, self._milvus.nearest(*where, probes, limit, self._ef_search)
            except Lost as e:
                self._shown = None
                if not again:
                    raise GalleryUnavailable("The index of the gallery (GALLERY_INDEX) is lost.") from e
        raise AssertionError

    def _up_to_date(self, connection: sa.Connection, state: State) -> Shown | None:
        """Return what is in Milvus once it is not older than the transaction; None: there is nothing."""
        shown = self._shown
        if shown is not None and self._is_current(connection, state, shown):
            return shown
        with self._alone(connection, state):
            shown = self._shown  # another thread may have been first
            if shown is None or not self._is_current(connection, state, shown):
                shown = self._follow(connection, state)
            return shown

    def _is_current(self, connection: sa.Connection, state: State, shown: Shown) -> bool:
        if (shown.source, shown.fingerprint) != (connection.info.get("file"), state.fingerprint):
            return False
        revision = shown.mark.revision
        return revision == state.revision or state.revision < revision <= newest_revision(connection, state)

    @contextmanager
    def _alone(self, connection: sa.Connection, state: State) -> Iterator[None]:
        """Be the only one who brings something into this gallery's part of Milvus: of threads and processes.

        In PostgreSQL to the end of the transaction.
        """
        if not self._following.acquire(timeout=self._timeout_s):
            raise GalleryUnavailable(FILLING)
        try:
            if (file := file_of(connection.engine)) is None:
                keys = INDEX_LOCK, state.gallery % 2**31
                try:
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(*keys)))
                except sa.exc.DBAPIError as e:  # it took too long
                    raise GalleryUnavailable(FILLING) from e
                yield
            else:
                try:
                    lock = FileLock(f"{file}.index", timeout=self._timeout_s, mode=0o600)
                    lock.acquire()
                except (Timeout, OSError) as e:
                    raise GalleryUnavailable(FILLING) from e
                try:
                    yield
                finally:
                    lock.release()
        finally:
            self._following.release()

    def _follow(self, connection: sa.Connection, state: State) -> Shown | None:
        """Bring in what has changed since the revision that Milvus shows, or everything.

        None: there is nothing to search.
        """
        dimension = dimension_of(connection)
        if dimension is None or state.fingerprint is None:
            self._shown = None
            return None
        name = f"{collection_of(identity(connection), state.fingerprint)}{dimension}"
        self._milvus.open(name, dimension)
        self._milvus.catch_up(name)
        marks = self._milvus.marks(name, state.gallery)
        mark = marks[0][1] if marks and marks[0][1].revision >= 0 else None
        if mark is not None and not is_past(connection, state, mark):
            log.warning("the index in Milvus is of another history of the gallery, and is filled anew")
            self._milvus.forget_marks(name, [mark_id for mark_id, _ in marks])
            for fill in {other.fill for _, other in marks}:
                self._milvus.forget(name, fill)
            mark, marks = None, []
        if mark is None or mark.swept < state.complete_since:  # tombstones do not tell all that has gone
            mark = self._fill(connection, state, name, dimension)
        elif mark.revision < state.revision:
            of_this_fill = [mark_id for mark_id, other in marks if other.fill == mark.fill]
            mark = self._feed(connection, state, name, dimension, mark, of_this_fill)
        self._shown = Shown(connection.info.get("file"), state.fingerprint, dimension, name, mark)
        return self._shown

    def _give_up(self, shown: Shown) -> None:
        """Let the next search fill Milvus anew, which has lost the rows of which the mark speaks."""
        log.warning("the index in Milvus has lost vectors, and is filled anew")
        self._shown = None
        with suppress(Lost):
            ids = [mark_id for mark_id, _ in self._milvus.marks(shown.name, shown.mark.gallery)]
            self._milvus.forget_marks(shown.name, ids)

    def _fill(self, connection: sa.Connection, state: State, name: str, dimension: int) -> Mark:
        """Put all vectors as they are in this transaction."""
        began = time.monotonic()
        begun = Mark(state.gallery, time.time_ns(), -1, state.revision, state.revision)
        # So that it is known whose these rows are if this process dies before they are all there.
        begun_id = self._milvus.put_mark(name, begun, dimension)
        number, damaged = 0, list[int]()
        for keys in all_keys(connection):
            rows, unfit = rows_of(connection, state, keys, dimension)
            self._milvus.put(name, begun.fill, rows, anew=False)
            number, damaged = number + len(rows.keys), damaged + unfit
        mark = replace(begun, revision=state.revision, witness=witness(connection, state))
        mark = replace(mark, damaged=told(connection, damaged))
        self._milvus.put_mark(name, mark, dimension, [begun_id])
        if number >= SEALED_FROM:
            self._milvus.seal(name)
            log.info("put %d vectors into Milvus in %.0f s", number, time.monotonic() - began)
        return mark

    def _feed(
        self,
        connection: sa.Connection,
        state: State,
        name: str,
        dimension: int,
        mark: Mark,
        mark_ids: Collection[int],
    ) -> Mark:
        """Put what has changed since a mark, and put a new mark in the place of those."""
        newer = sa.select(samples.c.key).where(inside(connection), samples.c.revision > mark.revision)
        changed = sorted(connection.execute(newer).scalars())
        damaged = set(mark.damaged)
        for start in range(0, len(changed), ROWS_PER_READ):
            rows, unfit = rows_of(connection, state, changed[start : start + ROWS_PER_READ], dimension)
            self._milvus.put(name, mark.fill, rows, anew=True)
            told(connection, unfit)
            damaged = (damaged - set(rows.keys.tolist())) | set(unfit)
        there = sa.select(samples.c.key).where(samples.c.key.in_(damaged))
        damaged = set(connection.execute(there).scalars()) if damaged else damaged
        fed = replace(mark, revision=state.revision, witness=witness(connection, state))
        fed = replace(fed, damaged=tuple(sorted(damaged)))
        self._milvus.put_mark(name, fed, dimension, mark_ids)
        if len(changed) >= SEALED_FROM:
            self._milvus.seal(name)
        return fed

    def _sweep(self, connection: sa.Connection, state: State, shown: Shown) -> None:
        """Remove what was superseded before the last upkeep: other fills, and rows of this one."""
        now, before = self._clock.steady_s(), self._seen
        if before is not None and now - before[0] < GRACE_S and before[1].mark.fill == shown.mark.fill:
            return
        self._seen = now, shown
        if before is None or before[1].mark.fill != shown.mark.fill:
            return
        name, mark, until = shown.name, shown.mark, before[1].mark.revision
        marks = self._milvus.marks(name, state.gallery)
        others = {other.fill for _, other in marks} - {mark.fill}
        for fill in others:
            self._milvus.forget(name, fill)
        gone: Sequence[int] = ()
        kept: list[tuple[int, int]] = []
        if until > mark.swept:
            stones = tombstones.c.revision > mark.swept, tombstones.c.revision <= until
            here = tombstones.c.gallery == state.gallery
            gone = connection.execute(sa.select(tombstones.c.key).where(here, *stones)).scalars().all()
            # Whoever is new has replaced nothing.
            replaced = sa.select(samples.c.key, samples.c.revision).where(
                inside(connection),
                samples.c.revision > mark.swept,
                samples.c.revision <= until,
                samples.c.modified != samples.c.created,
            )
            kept = [(row.key, row.revision) for row in connection.execute(replaced)]
            self._milvus.sweep(name, mark.fill, kept, gone, until)
        if others or until > mark.swept:
            swept = replace(mark, swept=max(until, mark.swept))
            self._milvus.put_mark(name, swept, shown.dimension, [mark_id for mark_id, _ in marks])
            self._shown = replace(shown, mark=swept)
        if others or kept or gone:
            self._milvus.compact(name)

    def _remove_strangers(self, connection: sa.Connection) -> None:
        """Remove what is in Milvus of galleries that are not there any more, or have another model."""
        own = identity(connection)
        those = sa.select(galleries.c.key, galleries.c.fingerprint)
        prints = {row.key: row.fingerprint for row in connection.execute(those)}
        for name in self._milvus.names(prefix_of(own)):
            theirs = {key for key, one in prints.items() if one and name.startswith(collection_of(own, one))}
            if not theirs:
                self._milvus.drop(name)
                continue
            self._milvus.load(name)
            strange = [(id_, mark) for id_, mark in self._milvus.marks(name) if mark.gallery not in theirs]
            for fill in {mark.fill for _, mark in strange}:
                self._milvus.forget(name, fill)
            if strange:
                self._milvus.forget_marks(name, [mark_id for mark_id, _ in strange])
                self._milvus.compact(name)
