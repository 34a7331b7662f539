"""Samples in a database through SQLAlchemy, the same for SQLite and PostgreSQL.

Every change raises `gallery_state.revision` and stamps the rows it touched with it; a deletion leaves a
tombstone. search.py tells from these what has changed since it last looked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.faces import Match, Sample
from recognition.gallery.database import open_postgresql, open_sqlite, portions, transaction
from recognition.gallery.migrations import bring_up_to_date
from recognition.gallery.search import DatabaseSearch, MemorySearch, Search, nearest_names
from recognition.gallery.tables import SAMPLE_COLUMNS, sample_of, samples, state, tombstones

REPLACED = ("name", "metadata", "action", "vector", "fingerprint", "modified", "revision")


class Gallery:
    """Samples and their vectors. Several threads may use it, and several processes the same database."""

    def __init__(self, engine: sa.Engine, search: Search) -> None:
        self.engine = engine
        self._search = search

    def load(self) -> None:
        """Read what the first search would otherwise wait for.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with transaction(self.engine) as connection, self._search.lock:
            self._search.load(connection, connection.execute(sa.select(state)).one())

    def close(self) -> None:
        """Close all connections to the database."""
        self.engine.dispose()

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
        with transaction(self.engine, write=True) as connection:
            revision = _next_revision(connection)
            self._adopt(connection, fingerprint, vectors.shape[1], revision)
            known = _keys(connection, [sample.id for sample in new])
            rows = [
                {
                    "sample_id": sample.id,
                    "name": sample.name,
                    "metadata": json.dumps(sample.metadata, ensure_ascii=False),
                    "action": sample.action,
                    "vector": self._search.encoded(vector),
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
        with transaction(self.engine, write=True) as connection:
            key = _keys(connection, [sample_id]).get(sample_id)
            if key is None:
                return False
            revision = _next_revision(connection)
            connection.execute(samples.delete().where(samples.c.key == key))
            connection.execute(tombstones.insert().values(key=key, revision=revision))
            return True

    def delete_named(self, name: str) -> int:
        """Remove the samples of one name, all or none. Returns how many there were.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with transaction(self.engine, write=True) as connection:
            revision = _next_revision(connection)
            keys = sa.select(samples.c.key, sa.literal(revision, sa.BigInteger)).where(samples.c.name == name)
            connection.execute(tombstones.insert().from_select(["key", "revision"], keys))
            return connection.execute(samples.delete().where(samples.c.name == name)).rowcount

    def clear(self) -> None:
        """Remove every sample.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with transaction(self.engine, write=True) as connection:
            self._clear(connection, _next_revision(connection), None, None)

    def get(self, sample_id: str) -> Sample | None:
        """Return one sample, or None if there is none of that id.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with transaction(self.engine) as connection:
            found = sa.select(*SAMPLE_COLUMNS).where(samples.c.sample_id == sample_id)
            row = connection.execute(found).first()
        return None if row is None else sample_of(row)

    def count(self, name: str | None = None) -> int:
        """Return the number of samples, or of those with this name.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        wanted = sa.select(sa.func.count()).select_from(samples)
        if name is not None:
            wanted = wanted.where(samples.c.name == name)
        with transaction(self.engine) as connection:
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
        with transaction(self.engine) as connection:
            return [sample_of(row) for row in connection.execute(wanted)]

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
        with transaction(self.engine) as connection:
            with self._search.lock:
                now = connection.execute(sa.select(state)).one()
                if now.fingerprint not in (None, fingerprint) and _any(connection):
                    raise _mismatch()
                if per_name and k > 1:
                    found = nearest_names(self._search, connection, now, probes, k, max_distance)
                else:
                    found = self._search.nearest(connection, now, probes, k)
            known = _by_key(connection, {int(key) for keys, _ in found for key in keys})
        return [
            [
                Match(known[int(key)], float(distance))
                for place, (key, distance) in enumerate(zip(keys, distances, strict=True))
                if place == 0 or distance < max_distance
            ]
            for keys, distances in found
        ]

    def _adopt(self, connection: sa.Connection, fingerprint: str, dimension: int, revision: int) -> None:
        """Make `fingerprint` that of the gallery, which must be empty or of the same model."""
        current = connection.execute(sa.select(state.c.fingerprint)).scalar_one()
        if current == fingerprint:
            return
        if current is not None and _any(connection):
            raise _mismatch()
        self._clear(connection, revision, fingerprint, dimension)

    def _clear(
        self, connection: sa.Connection, revision: int, fingerprint: str | None, dimension: int | None
    ) -> None:
        self._search.clear(connection, dimension)
        connection.execute(state.update().values(complete_since=revision, fingerprint=fingerprint))


def open_gallery(url: str, lock_timeout_s: float, ef_search: int = 150) -> Gallery:
    """Open the gallery at a SQLAlchemy URL; make its tables, or bring them up to date, if need be.

    Args:
        url: of a SQLite file or a PostgreSQL database.
        lock_timeout_s: how long a locked database is waited for, in seconds.
        ef_search: see `DatabaseSearch`; 1 to 1,000, of no effect on SQLite.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked, lacks what is needed, or was made by
            a newer version of this program.
        OSError: the file cannot be made.
    """
    parsed = sa.make_url(url)
    search: Search
    if parsed.get_backend_name() == "postgresql":
        engine, search = open_postgresql(parsed, lock_timeout_s, ef_search), DatabaseSearch()
    else:
        engine, search = open_sqlite(parsed, lock_timeout_s), MemorySearch()
    gallery = Gallery(engine, search)
    try:
        bring_up_to_date(engine)
    except GalleryUnavailable:
        gallery.close()
        raise
    return gallery


def _next_revision(connection: sa.Connection) -> int:
    raised = state.update().values(revision=state.c.revision + 1).returning(state.c.revision)
    revision: int = connection.execute(raised).scalar_one()
    return revision


def _any(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(samples.c.key).limit(1)).first() is not None


def _keys(connection: sa.Connection, ids: Sequence[str]) -> dict[str, int]:
    return {
        row.sample_id: row.key
        for some in portions(ids)
        for row in connection.execute(
            sa.select(samples.c.sample_id, samples.c.key).where(samples.c.sample_id.in_(some))
        )
    }


def _by_key(connection: sa.Connection, keys: Collection[int]) -> dict[int, Sample]:
    return {
        row.key: sample_of(row)
        for some in portions(sorted(keys))
        for row in connection.execute(sa.select(*SAMPLE_COLUMNS).where(samples.c.key.in_(some)))
    }


def _mismatch() -> GalleryModelMismatch:
    return GalleryModelMismatch(
        "The gallery was made with another embedding model. "
        "Clear it and enrol again, or go back to that model."
    )


def _naive_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(tzinfo=None)
