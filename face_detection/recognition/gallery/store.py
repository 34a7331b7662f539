"""Samples in a database through SQLAlchemy, the same for SQLite and PostgreSQL.

Every change raises `gallery_state.revision` and stamps the rows it touched with it; a deletion leaves a
tombstone. search.py tells from these what has changed since it last looked.

Whoever reads or writes removes first what has expired by then: no expired sample is ever found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import GalleryModelMismatch
from recognition.faces import Match, Sample
from recognition.gallery import atrest, rows
from recognition.gallery.database import empty_log, transaction
from recognition.gallery.search import Search, nearest_names
from recognition.gallery.tables import SAMPLE_COLUMNS, STATE, naive_utc, sample_of, samples, state

REPLACED = ("name", "metadata", "action", "vector", "fingerprint", "modified", "revision", "expires_at")

Audit = Callable[[str, Sequence[str] | int], None]
Clock = Callable[[], datetime]
NOW: Clock = partial(datetime.now, UTC)


def unheard(what: str, touched: Sequence[str] | int) -> None:
    """Be told of a change, and forget it."""


class Gallery:
    """Samples and their vectors. Several threads may use it, and several processes the same database."""

    def __init__(self, engine: sa.Engine, search: Search, clock: Clock, audit: Audit) -> None:
        self.engine = engine
        self._search = search
        self._clock = clock
        self.audit = audit

    def load(self) -> None:
        """Do what the next search would otherwise wait for; what is gone by now is then not kept in memory.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._search.lock, self._reading() as (connection, now):
            self._search.load(connection, now)
        empty_log(self.engine)

    def close(self) -> None:
        """Close all connections to the database."""
        self.engine.dispose()

    def upsert(
        self,
        new: Sequence[Sample],
        vectors: NDArray[np.float32],
        fingerprint: str,
        *,
        only_newer: bool = False,
    ) -> int:
        """Store samples, all or none; an id that is already there is replaced and keeps its `created`.

        Args:
            new: n samples with n different ids.
            vectors: float32 (n, d), row i for sample i.
            fingerprint: of the model that made the vectors.
            only_newer: leave alone what is there in the same or a newer state.

        Returns:
            How many were stored.

        Raises:
            GalleryModelMismatch: the gallery holds vectors of another model.
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        if not new:
            return 0
        with self._writing() as connection:
            known = rows.known(connection, [sample.id for sample in new])
            if only_newer:
                places = [
                    place
                    for place, sample in enumerate(new)
                    if sample.id not in known or known[sample.id].modified < naive_utc(sample.modified)
                ]
                if not places:
                    return 0
                new, vectors = [new[place] for place in places], vectors[places]
            revision = rows.next_revision(connection)
            self._adopt(connection, fingerprint, vectors.shape[1], revision)
            values = [
                {
                    "sample_id": sample.id,
                    "name": sample.name,
                    "metadata": json.dumps(sample.metadata, ensure_ascii=False),
                    "action": sample.action,
                    "vector": self._search.encoded(connection, vector, sample.id, fingerprint),
                    "fingerprint": fingerprint,
                    "created": naive_utc(sample.created),
                    "modified": naive_utc(sample.modified),
                    "revision": revision,
                    "expires_at": sample.expires_at and naive_utc(sample.expires_at),
                }
                for sample, vector in zip(new, vectors, strict=True)
            ]
            added = [row for row in values if row["sample_id"] not in known]
            changed = [
                {"known_key": known[row["sample_id"]].key, **{name: row[name] for name in REPLACED}}
                for row in values
                if row["sample_id"] in known
            ]
            if added:
                connection.execute(samples.insert(), added)
            if changed:
                replaced: Any = {name: sa.bindparam(name) for name in REPLACED}
                connection.execute(
                    samples.update().where(samples.c.key == sa.bindparam("known_key")).values(replaced),
                    changed,
                )
            self.audit("enrol", [sample.id for sample in new])
        if changed:
            empty_log(self.engine)
        return len(new)

    def delete(self, sample_id: str) -> bool:
        """Remove one sample. Returns whether it was there.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        return bool(self._remove(samples.c.sample_id == sample_id))

    def delete_named(self, name: str) -> int:
        """Remove the samples of one name, all or none. Returns how many there were.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        return len(self._remove(samples.c.name == name))

    def clear(self) -> None:
        """Remove every sample.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._writing() as connection:
            self.audit("clear", rows.count(connection))
            self._clear(connection, rows.next_revision(connection), None, None)
        empty_log(self.engine)

    def get(self, sample_id: str) -> Sample | None:
        """Return one sample, or None if there is none of that id.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._reading() as (connection, _):
            found = sa.select(*SAMPLE_COLUMNS).where(samples.c.sample_id == sample_id)
            row = connection.execute(found).first()
        return None if row is None else sample_of(row)

    def count(self, name: str | None = None) -> int:
        """Return the number of samples, or of those with this name.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self._reading() as (connection, _):
            return rows.count(connection, None if name is None else samples.c.name == name)

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
        with self._reading() as (connection, _):
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
        with self._search.lock, self._reading() as (connection, now):
            if now.fingerprint not in (None, fingerprint) and rows.any_sample(connection):
                raise _mismatch()
            if per_name and k > 1:
                found = nearest_names(self._search, connection, now, probes, k, max_distance)
            else:
                found = self._search.nearest(connection, now, probes, k)
            known = rows.samples_of(connection, {int(key) for keys, _ in found for key in keys})
        return [
            [
                Match(known[int(key)], float(distance))
                for place, (key, distance) in enumerate(zip(keys, distances, strict=True))
                if place == 0 or distance < max_distance
            ]
            for keys, distances in found
        ]

    @contextmanager
    def _reading(self) -> Iterator[tuple[sa.Connection, Any]]:
        """Begin a transaction in which no sample has expired by now; gives the STATE in it, too."""
        moment = naive_utc(self._clock())
        while True:
            with transaction(self.engine) as connection:
                now = connection.execute(STATE).one()
                atrest.check(connection, now.key_check)
                if now.next_expiry is None or now.next_expiry > moment:
                    yield connection, now
                    return
            with transaction(self.engine, write=True) as connection:
                self._expire(connection, moment)
            empty_log(self.engine)

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Begin a transaction that writes: first of all it removes the samples that have expired."""
        with transaction(self.engine, write=True) as connection:
            atrest.check(connection, connection.execute(sa.select(state.c.key_check)).scalar_one())
            self._expire(connection, naive_utc(self._clock()))
            yield connection

    def _expire(self, connection: sa.Connection, moment: datetime) -> None:
        if ids := rows.remove(connection, samples.c.expires_at <= moment):
            self.audit("expire", ids)

    def _remove(self, which: sa.ColumnElement[bool]) -> list[str]:
        """Remove the samples that meet a condition. Returns their ids."""
        with self._writing() as connection:
            ids = rows.remove(connection, which)
            if ids:
                self.audit("delete", ids)
        empty_log(self.engine)
        return ids

    def _adopt(self, connection: sa.Connection, fingerprint: str, dimension: int, revision: int) -> None:
        """Make `fingerprint` that of the gallery, which must be empty or of the same model."""
        current = connection.execute(sa.select(state.c.fingerprint)).scalar_one()
        if current == fingerprint:
            return
        if current is not None and rows.any_sample(connection):
            raise _mismatch()
        self._clear(connection, revision, fingerprint, dimension)

    def _clear(
        self, connection: sa.Connection, revision: int, fingerprint: str | None, dimension: int | None
    ) -> None:
        self._search.clear(connection, dimension)
        connection.execute(state.update().values(complete_since=revision, fingerprint=fingerprint))


def _mismatch() -> GalleryModelMismatch:
    return GalleryModelMismatch(
        "The gallery was made with another embedding model. "
        "Clear it and enrol again, or go back to that model."
    )
