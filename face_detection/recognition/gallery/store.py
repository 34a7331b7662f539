"""Samples in a database through SQLAlchemy: tables, transactions, and the search over their vectors.

Every change raises `gallery_state.revision` and stamps the rows it touched with it; a deletion leaves a
tombstone. A reader whose index shows an older revision reads just the rows and tombstones that are newer, in
the same transaction in which it searches: its answer is that of one consistent state of the table.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.faces import Match, Sample
from recognition.gallery.index import VectorIndex

LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")
IDS_PER_QUERY = 500  # SQLite takes 999 bound parameters in its oldest builds
MORE_FOR_NAMES = 4  # vectors looked at for each name wanted, and their growth while names are missing

tables = sa.MetaData()

samples = sa.Table(
    "samples",
    tables,
    # AUTOINCREMENT: a key is never given twice, and a newer sample has a larger key.
    sa.Column(
        "key", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    sa.Column("sample_id", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("metadata", sa.Text, nullable=False),  # JSON
    sa.Column("action", sa.Text),
    sa.Column("vector", sa.LargeBinary, nullable=False),  # little-endian float32
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("created", sa.DateTime, nullable=False),  # UTC
    sa.Column("modified", sa.DateTime, nullable=False),  # UTC
    sa.Column("revision", sa.BigInteger, nullable=False, index=True),
    sqlite_autoincrement=True,
)

tombstones = sa.Table(
    "tombstones",
    tables,
    sa.Column("key", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("revision", sa.BigInteger, nullable=False, index=True),
)

state = sa.Table(
    "gallery_state",
    tables,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    # Rows and tombstones tell every change since this revision; an index that is older starts anew.
    sa.Column("complete_since", sa.BigInteger, nullable=False),
    sa.Column("fingerprint", sa.Text),  # of the vectors in `samples`
)

SAMPLE_COLUMNS = (
    samples.c.key,
    samples.c.sample_id,
    samples.c.name,
    samples.c.metadata,
    samples.c.action,
    samples.c.created,
    samples.c.modified,
)


REPLACED = ("name", "metadata", "action", "vector", "fingerprint", "modified", "revision")


class Gallery:
    """Samples and their vectors. Several threads may use it, and several processes the same database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._index: VectorIndex | None = None
        with self._transaction(write=True) as connection:
            tables.create_all(connection)
            if connection.execute(sa.select(state.c.id)).first() is None:
                connection.execute(state.insert().values(id=1, revision=0, complete_since=0))

    def close(self) -> None:
        """Close all connections to the database."""
        self._engine.dispose()

    def upsert(self, new: Sequence[Sample], vectors: NDArray[np.float32], fingerprint: str) -> None:
        """Store samples, all or none; an id that is already there is replaced and keeps its `created`.

        Args:
            new: n samples with n different ids.
            vectors: float32 (n, d), row i for sample i.
            fingerprint: of the model that made the vectors.

        Raises:
            GalleryModelMismatch: the gallery holds vectors of another model.
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        if not new:
            return
        with self._transaction(write=True) as connection:
            revision = self._next_revision(connection)
            self._adopt(connection, fingerprint)
            known = self._keys(connection, [sample.id for sample in new])
            rows = [
                {
                    "sample_id": sample.id,
                    "name": sample.name,
                    "metadata": json.dumps(sample.metadata, ensure_ascii=False),
                    "action": sample.action,
                    "vector": vector.astype(LITTLE_ENDIAN_FLOAT32).tobytes(),
                    "fingerprint": fingerprint,
                    "created": _naive_utc(sample.created),
                    "modified": _naive_utc(sample.modified),
                    "revision": revision,
                }
                for sample, vector in zip(new, vectors, strict=True)
            ]
            added = [row for row in rows if row["sample_id"] not in known]
            changed = [
                {"known_key": known[row["sample_id"]], **{name: row[name] for name in REPLACED}}
                for row in rows
                if row["sample_id"] in known
            ]
            if added:
                connection.execute(samples.insert(), added)
            if changed:
                values: Any = {name: sa.bindparam(name) for name in REPLACED}
                connection.execute(
                    samples.update().where(samples.c.key == sa.bindparam("known_key")).values(values), changed
                )

    def delete(self, sample_id: str) -> bool:
        """Remove one sample. Returns whether it was there.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._transaction(write=True) as connection:
            key = self._keys(connection, [sample_id]).get(sample_id)
            if key is None:
                return False
            revision = self._next_revision(connection)
            connection.execute(samples.delete().where(samples.c.key == key))
            connection.execute(tombstones.insert().values(key=key, revision=revision))
            return True

    def delete_named(self, name: str) -> int:
        """Remove the samples of one name, all or none. Returns how many there were.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._transaction(write=True) as connection:
            revision = self._next_revision(connection)
            keys = sa.select(samples.c.key, sa.literal(revision, sa.BigInteger)).where(samples.c.name == name)
            connection.execute(tombstones.insert().from_select(["key", "revision"], keys))
            return connection.execute(samples.delete().where(samples.c.name == name)).rowcount

    def clear(self) -> None:
        """Remove every sample.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._transaction(write=True) as connection:
            revision = self._next_revision(connection)
            connection.execute(samples.delete())
            connection.execute(tombstones.delete())
            connection.execute(state.update().values(complete_since=revision, fingerprint=None))

    def get(self, sample_id: str) -> Sample | None:
        """Return one sample, or None if there is none of that id.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._transaction() as connection:
            found = sa.select(*SAMPLE_COLUMNS).where(samples.c.sample_id == sample_id)
            row = connection.execute(found).first()
        return None if row is None else _sample(row)

    def count(self, name: str | None = None) -> int:
        """Return the number of samples, or of those with this name.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        wanted = sa.select(sa.func.count()).select_from(samples)
        if name is not None:
            wanted = wanted.where(samples.c.name == name)
        with self._transaction() as connection:
            return connection.execute(wanted).scalar_one()

    def page(self, *, limit: int, after: str | None = None, name: str | None = None) -> list[Sample]:
        """Return the first samples in ascending order of their ids, by code points.

        Args:
            limit: how many at most.
            after: only ids that come after this one, which need not be there (any more).
            name: only samples with this name.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        # SQLite compares text by its UTF-8 bytes, whose order is that of the code points.
        wanted = sa.select(*SAMPLE_COLUMNS).order_by(samples.c.sample_id).limit(limit)
        if after is not None:
            wanted = wanted.where(samples.c.sample_id > after)
        if name is not None:
            wanted = wanted.where(samples.c.name == name)
        with self._transaction() as connection:
            return [_sample(row) for row in connection.execute(wanted)]

    def nearest(
        self,
        probes: NDArray[np.float32],
        k: int,
        fingerprint: str,
        *,
        max_distance: float = math.inf,
        per_name: bool = False,
    ) -> list[list[Match]]:
        """Find the k nearest samples of each probe, among all that were acknowledged before this call.

        Args:
            probes: float32 (n, d).
            k: at least 1.
            fingerprint: of the model that made the probes.
            max_distance: matches are nearer than this, but for the first, which is there in any case.
            per_name: take of each name only its nearest sample, so that the k matches have k names.

        Returns:
            For each probe at most k matches, nearest first; equally near ones in the order of enrolment.

        Raises:
            GalleryModelMismatch: the gallery holds vectors of another model.
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._transaction() as connection:
            with self._lock:
                index = self._refreshed(connection, probes.shape[1], fingerprint)
                if per_name and k > 1:
                    found = [_nearest_names(connection, index, probe, k, max_distance) for probe in probes]
                else:
                    found = index.nearest(probes, k)
            keys = sorted({int(key) for row, _ in found for key in row})
            known = {
                row.key: _sample(row)
                for some in _portions(keys)
                for row in connection.execute(sa.select(*SAMPLE_COLUMNS).where(samples.c.key.in_(some)))
            }
        return [
            [
                Match(known[int(key)], float(distance))
                for place, (key, distance) in enumerate(zip(row, distances, strict=True))
                if place == 0 or distance < max_distance
            ]
            for row, distances in found
        ]

    def _refreshed(self, connection: sa.Connection, dimension: int, fingerprint: str) -> VectorIndex:
        """Bring the index to the state of the table that `connection` sees. The caller holds the lock."""
        now = connection.execute(sa.select(state)).one()
        if now.fingerprint not in (None, fingerprint) and self._any(connection):
            raise _mismatch()
        index = self._index
        oldest, newest = now.complete_since, now.revision  # beyond the newest: an older file was put back
        if index is None or index.dimension != dimension or not oldest <= index.revision <= newest:
            index = VectorIndex(dimension)
        if index.revision < now.revision:
            self._index = None  # stays so if a read below fails half-way
            gone = connection.execute(
                sa.select(tombstones.c.key).where(tombstones.c.revision > index.revision)
            ).scalars()
            index.remove(np.fromiter(gone, dtype=np.int64))
            rows = connection.execute(
                sa.select(samples.c.key, samples.c.vector)
                .where(samples.c.revision > index.revision)
                .order_by(samples.c.key)
            )
            for some in rows.partitions(10_000):
                keys = np.fromiter((row.key for row in some), dtype=np.int64, count=len(some))
                blob = b"".join(row.vector for row in some)
                index.put(
                    keys, np.frombuffer(blob, dtype=LITTLE_ENDIAN_FLOAT32).reshape(len(some), dimension)
                )
            index.revision = now.revision
            self._index = index
        return index

    @staticmethod
    def _next_revision(connection: sa.Connection) -> int:
        raised = state.update().values(revision=state.c.revision + 1).returning(state.c.revision)
        revision: int = connection.execute(raised).scalar_one()
        return revision

    @staticmethod
    def _any(connection: sa.Connection) -> bool:
        return connection.execute(sa.select(samples.c.key).limit(1)).first() is not None

    def _adopt(self, connection: sa.Connection, fingerprint: str) -> None:
        """Make `fingerprint` that of the gallery, which must be empty or of the same model."""
        current = connection.execute(sa.select(state.c.fingerprint)).scalar_one()
        if current == fingerprint:
            return
        if current is not None and self._any(connection):
            raise _mismatch()
        connection.execute(state.update().values(fingerprint=fingerprint))

    @staticmethod
    def _keys(connection: sa.Connection, ids: Sequence[str]) -> dict[str, int]:
        return {
            row.sample_id: row.key
            for some in _portions(ids)
            for row in connection.execute(
                sa.select(samples.c.sample_id, samples.c.key).where(samples.c.sample_id.in_(some))
            )
        }

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect().execution_options(write=write) as connection, connection.begin():
                yield connection
        except sa.exc.DBAPIError as e:
            raise GalleryUnavailable("The database cannot be used right now.") from e
        except sa.exc.TimeoutError as e:
            raise GalleryUnavailable("All connections to the database are busy.") from e


def open_gallery(url: str, lock_timeout_s: float) -> Gallery:
    """Open the gallery at a SQLAlchemy URL and make its tables if they are missing.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    parsed = sa.make_url(url)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        parsed,
        connect_args={"timeout": lock_timeout_s},
        pool_timeout=lock_timeout_s,
        hide_parameters=True,  # an error that is logged quotes no ids, names or vectors
    )
    sa.event.listen(engine, "connect", _configure)
    sa.event.listen(engine, "begin", _begin)
    try:
        # The switch to write-ahead logging does not wait for locks: one process at a time opens the gallery.
        with FileLock(f"{parsed.database}.opening", timeout=lock_timeout_s):
            return Gallery(engine)
    except Timeout as e:
        raise GalleryUnavailable("Another process is opening the database and does not finish.") from e


def _configure(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are begun by _begin, not by the driver
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")  # what is acknowledged is on disk


def _begin(connection: sa.Connection) -> None:
    # IMMEDIATE takes the write lock at once: waiting for it later, with a read lock held, cannot succeed.
    write = connection.get_execution_options().get("write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _mismatch() -> GalleryModelMismatch:
    return GalleryModelMismatch(
        "The gallery was made with another embedding model. "
        "Clear it and enrol again, or go back to that model."
    )


def _nearest_names(
    connection: sa.Connection, index: VectorIndex, probe: NDArray[np.float32], k: int, max_distance: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the nearest vector of each of the k nearest names: keys and distances, nearest first.

    Looks at more and more vectors until they have k names, or reach max_distance, or are all there are.
    """
    names: dict[int, str] = {}  # by key
    take = MORE_FOR_NAMES * k
    while True:
        ((keys, distances),) = index.nearest(probe[np.newaxis], take)
        for some in _portions([int(key) for key in keys if int(key) not in names]):
            found = sa.select(samples.c.key, samples.c.name).where(samples.c.key.in_(some))
            names.update((row.key, row.name) for row in connection.execute(found))
        firsts: dict[str, int] = {}  # the place of each name's nearest vector, nearest first
        for place, key in enumerate(keys):
            firsts.setdefault(names[int(key)], place)
        if len(firsts) >= k or len(keys) < take or distances[-1] >= max_distance:
            places = list(firsts.values())[:k]
            return keys[places], distances[places]
        take *= MORE_FOR_NAMES


def _portions(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), IDS_PER_QUERY):
        yield items[start : start + IDS_PER_QUERY]


def _sample(row: Any) -> Sample:
    created, modified = row.created.replace(tzinfo=UTC), row.modified.replace(tzinfo=UTC)
    return Sample(row.sample_id, row.name, json.loads(row.metadata), row.action, created, modified)


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
