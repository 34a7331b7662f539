"""Samples in a database through SQLAlchemy, the same for SQLite and PostgreSQL.

Every change raises the gallery's `revision` and stamps the rows it touched with it; a deletion leaves a
tombstone. search.py tells from these what has changed since it last looked.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Collection, Container, Sequence
from functools import partial
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.audit import Begin
from recognition.errors import AuditUnavailable, GalleryModelMismatch, GalleryUnavailable, NotCalibrated
from recognition.faces import Around, Match, Mistaken, Sample, Stored
from recognition.gallery import (
    atrest,
    event_rows,
    face_rows,
    mistakes,
    persons,
    rows,
    surroundings,
    unknown_rows,
    vector_rows,
    weighing,
)
from recognition.gallery.database import LEAST_FREE_BYTES, empty_log, file_of, free_bytes
from recognition.gallery.search import MORE_FOR_PEOPLE, Kind, Search, below, nearest_people
from recognition.gallery.tables import (
    DEFAULT_NAME,
    SAMPLES,
    State,
    galleries,
    gallery_of,
    naive_utc,
    number_expired,
    sample_of,
    samples,
)
from recognition.gallery.transactions import Transactions
from recognition.matching.decision import Calibration
from serving.errors import DiskFull

log = logging.getLogger(__name__)


class Gallery(Transactions):
    """Samples and their vectors, of one gallery of the database."""

    def load(self) -> None:
        """Do what the next search would otherwise wait for; what is gone by now is then not kept in memory.

        What has expired is removed if the database can be written, and the clock is to be believed.

        Raises:
            NotFound, GalleryUnavailable: the database cannot be reached or is locked.
        """
        self.remove_expired()
        with self.searching() as (search, connection, current):
            search.load(connection, current)
        if (kept := self._calibrations.get(self.name)) is not None:
            with self.reading() as (connection, current):
                self._calibrated(connection, current, kept.fingerprint, waiting=False)
        empty_log(self.engine)

    def refresh(self) -> None:
        """Load a gallery that this process has searched; of another one just remove what has expired.

        Raises:
            NotFound, GalleryUnavailable: the database cannot be reached or is locked.
        """
        if self.name in self._searches:
            self.load()
        else:
            self.remove_expired()

    def remove_expired(self) -> None:
        """Remove what has expired, and note the time; the log says if the database cannot be written."""
        moment = self.moment()
        try:
            with self.reading() as (_, current):
                trust = current.trust.judged(moment, self._ran())
                if not (current.due(trust.erases_by(moment)) or current.trust.is_news(trust)):
                    return
            with self.writing():  # which does both
                pass
        except (GalleryUnavailable, AuditUnavailable) as e:
            log.warning("%s: samples that have expired cannot be removed yet: %s", e.code, e.detail)

    @property
    def search_kind(self) -> Kind:
        """Tell what compares faces with the vectors."""
        return self._search().kind

    def damaged(self) -> int:
        """Return the number of samples whose vectors the last search could not use."""
        return self._search().damaged()

    def free_bytes(self) -> int | None:
        """Tell how many bytes may still be written to the disk of a SQLite file.

        None where that is not known: of PostgreSQL, or while the file's folder is gone.
        """
        file = file_of(self.engine)
        return None if file is None else free_bytes(file)

    def check_room(self) -> None:
        """Make sure that the disk has room for what a request may store.

        Raises:
            DiskFull: it has less than LEAST_FREE_BYTES.
        """
        free = self.free_bytes()
        if free is not None and free < LEAST_FREE_BYTES:
            raise DiskFull(f"The disk of the gallery is nearly full: {free / 2**20:.0f} MB are free.")

    def upsert(
        self,
        new: Sequence[Sample],
        vectors: NDArray[np.float32],
        fingerprint: str,
        *,
        only_newer: bool = False,
        make: bool = False,
        mistaken: Mistaken | None = None,
    ) -> Stored:
        """Store samples, all or none; an id that is already there is replaced and keeps its `created`.

        A sample is stored with the person of its `person`, else with the one person of its name, who is made
        if need be; it fails, and what was stored under its id stays, where there is no such person, or where
        several have the name. A person keeps the first spelling of the name, unless all samples are replaced.

        Args:
            new: n samples with n different ids, and what is kept of their faces; nothing else is.
            vectors: float32 (n, d), row i for sample i.
            fingerprint: of the model that made the vectors.
            only_newer: leave alone what is there in the same or a newer state.
            make: make people, too, who are told by their id and are not there.
            mistaken: what the face of the one new sample was taken for, put right in the same transaction.

        Raises:
            NotFound, ChangedMeanwhile: what it was taken for is not there, or another's by now.
            GalleryModelMismatch: the gallery holds vectors of another model.
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        if not new:
            return Stored({}, {})
        options: dict[str, Any] = {"only_newer": only_newer, "make": make, "mistaken": mistaken}
        stored, replaced = self.written(
            lambda connection, begin: self.put(connection, begin, new, vectors, fingerprint, **options)
        )
        if replaced:
            empty_log(self.engine)
        return stored

    def put(
        self,
        connection: sa.Connection,
        begin: Begin,
        new: Sequence[Sample],
        vectors: NDArray[np.float32],
        fingerprint: str,
        *,
        only_newer: bool = False,
        make: bool = False,
        mistaken: Mistaken | None = None,
    ) -> tuple[Stored, bool]:
        """Do what `upsert` does, with one sample or more, in a transaction of `written`.

        Returns:
            What became of the samples; and whether anything was replaced, so that the log is to be emptied.

        Raises:
            NotAlone: it has to make an index; `written` begins it anew.
        """
        known = rows.known(connection, [sample.id for sample in new])
        if only_newer:
            newer = {
                sample.id
                for sample in new
                if sample.id not in known or known[sample.id].modified < naive_utc(sample.modified)
            }
            new, vectors = _only(new, vectors, newer)
        owners, failed = persons.owners(connection, new, make=make)
        if failed:
            new, vectors = _only(new, vectors, owners)
        if not new:
            return Stored({}, failed), False
        revision = rows.next_revision(connection)
        self._adopt(connection, fingerprint, vectors.shape[1], revision)
        search = self._search()
        encoded = {
            sample.id: search.encoded(connection, vector, sample.id, fingerprint)
            for sample, vector in zip(new, vectors, strict=True)
        }
        values = [
            {
                "sample_id": sample.id,
                "person": owners[sample.id].key,
                "spelling": _spelling(sample, owners[sample.id].name),
                "metadata": json.dumps(sample.metadata, ensure_ascii=False),
                "action": sample.action,
                **vector_rows.columns(connection, encoded[sample.id], fingerprint),
                "created": naive_utc(sample.created),
                "modified": naive_utc(sample.modified),
                "revision": revision,
                "expires_at": sample.expires_at and naive_utc(sample.expires_at),
                "quality": sample.quality,
                "picture": atrest.sealed_picture(connection, sample),
            }
            for sample in new
        ]
        _, replaced = rows.store(connection, values, known)
        before = [known[each.id].key for each in new if each.id in known]
        vector_rows.store(connection, encoded.items(), before, fingerprint)
        face_rows.store(connection, new, before)
        event_rows.let_go(connection, before)
        search.stored(connection, vectors.shape[1])
        spellings = {row["person"]: row["spelling"] for row in reversed(values) if row["spelling"]}
        persons.spell_anew(connection, revision, spellings)
        persons.remove_emptied(connection, {row.person for row in known.values()} if replaced else ())
        begin("enrol", [sample.id for sample in new])
        if mistaken is not None:
            mistakes.put_right(connection, begin, mistaken, owners[new[0].id], self.now())
        stored_people = {sample.id: owners[sample.id].person_id for sample in new}
        return Stored(stored_people, failed), bool(replaced) or mistaken is not None

    def delete(self, sample_id: str) -> bool:
        """Remove one sample. Returns whether it was there.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        return bool(self._remove(lambda connection: rows.of_id(connection, sample_id)))

    def delete_named(self, name: str) -> int:
        """Remove the samples of all who have a name, all or none. Returns how many there were.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        return len(self._remove(lambda connection: persons.of_name(connection, name)))

    def clear(self) -> None:
        """Remove every sample, every person, unknown ones, too, and every event.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self.writing(alone=True) as (connection, begin):
            begin("clear", self.emptied(connection))
        empty_log(self.engine)

    def emptied(self, connection: sa.Connection) -> int:
        """Remove samples, people, unknown ones, too, and events in a transaction that writes alone.

        Returns how many samples there were.
        """
        number = rows.count(connection)
        event_rows.clear(connection)
        self._clear(connection, rows.next_revision(connection), None, None)
        self._search().clear_people(connection)
        connection.execute(rows.this_gallery(connection).values(people=0))
        unknown_rows.clear(connection)
        unknown_rows.next_revision(connection)
        return number

    def get(self, sample_id: str) -> Sample | None:
        """Return one sample, or None if there is none of that id.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self.reading() as (connection, current):
            query = SAMPLES.where(rows.of_id(connection, sample_id))
            row = connection.execute(rows.unexpired(connection, query, current.expired_by)).first()
        return None if row is None else sample_of(row)

    def count(self, name: str | None = None, person: str | None = None) -> int:
        """Return the number of samples, or of those with this name, or of the person with this id.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self.reading() as (connection, current):
            return rows.count(connection, _which(connection, name, person), current.expired_by)

    def total(self) -> int:
        """Return the number of samples in all galleries of the database.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        moment = self.moment()
        with self.of(DEFAULT_NAME).reading() as (connection, current):
            gone: int = connection.execute(number_expired(None, current.trust.hides_by(moment))).scalar_one()
            return rows.total(connection) - gone

    def page(
        self, *, limit: int, after: str | None = None, name: str | None = None, person: str | None = None
    ) -> list[Sample]:
        """Return the first samples in ascending order of their ids, by code points.

        Args:
            limit: how many at most.
            after: only ids that come after this one, which need not be there (any more).
            name: only samples with this name.
            person: only samples of the person with this id.

        Raises:
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        # SQLite compares text by its UTF-8 bytes, whose order is that of the code points.
        query = SAMPLES.order_by(samples.c.sample_id).limit(limit)
        if after is not None:
            query = query.where(samples.c.sample_id > after)
        with self.reading() as (connection, current):
            query = query.where(rows.inside(connection))
            if (which := _which(connection, name, person)) is not None:
                query = query.where(which)
            found = connection.execute(rows.unexpired(connection, query, current.expired_by))
            return [sample_of(row) for row in found]

    def nearest(
        self,
        probes: NDArray[np.float32],
        k: int,
        fingerprint: str,
        *,
        max_distance: float = math.inf,
        per_person: bool = False,
        near: float | None = None,
        rated: bool = True,
    ) -> list[list[Match]]:
        """Find the k nearest samples of each probe, among all that were acknowledged before this call.

        Args:
            probes: float32 (n, d).
            k: at least 1.
            fingerprint: of the model that made the probes.
            max_distance: matches are nearer than this, but for the first, which is there in any case.
            per_person: take of each person only the nearest sample, so that the k matches are of k people.
            near: where none is nearer, an index that may miss samples looks harder; None: max_distance.
            rated: whether matches have their rates.

        Returns:
            For each probe at most k matches, nearest first; equally near ones in the order of enrolment. Each
            has its rate, if that is wanted, and there is anybody to compare with.

        Raises:
            GalleryModelMismatch: the gallery holds vectors of another model.
            GalleryUnavailable: the database cannot be reached or is locked.
        """

        def look(search: Search, connection: sa.Connection, current: State) -> list[list[Match]]:
            known = self._calibrated(connection, current, fingerprint) if rated else None
            if self._is_empty(connection, current, fingerprint):
                return [[] for _ in probes]
            if per_person and k > 1:
                neighbours = nearest_people(search, connection, current, probes, k, max_distance)
            else:
                near_each = below(max_distance if near is None else near, len(probes))
                neighbours = search.nearest(connection, current, probes, k, near_each)
            found = weighing.weighed(search, connection, current, probes, neighbours, known, k)
            return [
                [match for place, match in enumerate(some) if place == 0 or match.distance < max_distance]
                for some in weighing.matches(connection, found)
            ]

        return self.search(look)

    def likeliest(
        self,
        probes: NDArray[np.float32],
        k: int,
        fingerprint: str,
        *,
        per_person: bool,
        wish: float | None = None,
    ) -> list[list[Match]]:
        """Find the samples of those who each probe is likeliest, by all samples of a person together.

        Args:
            probes: float32 (n, d).
            k: at least 1.
            fingerprint: of the model that made the probes.
            per_person: take of each person only the nearest sample.
            wish: the rate in (0, 1) below which somebody matters: where nobody seems to come to it, an index
                that may miss samples looks harder; None: it never does.

        Returns:
            For each probe at most k matches, the likeliest first, each with its rate.

        Raises:
            NotCalibrated: there is nobody to compare with.
            GalleryModelMismatch, GalleryUnavailable: as `nearest` does.
        """

        def look(search: Search, connection: sa.Connection, current: State) -> list[list[Match]]:
            known = self._calibrated(connection, current, fingerprint)
            if self._is_empty(connection, current, fingerprint):
                return [[] for _ in probes]
            if known is None:
                raise NotCalibrated(weighing.NOBODY_TO_COMPARE_WITH)
            take = max(weighing.LOOKED_AT, MORE_FOR_PEOPLE * k)
            near = None
            if wish is not None and search.kind == "database":  # of no use to others, and it takes time
                near = weighing.reach(known, wish, probes)
            neighbours = search.nearest(connection, current, probes, take, near)
            most = max(weighing.PEOPLE, k)
            found = weighing.weighed(search, connection, current, probes, neighbours, known, most)
            best = [weighing.likeliest(some, k, per_person=per_person) for some in found]
            return weighing.matches(connection, best)

        return self.search(look)

    def calibration(self, fingerprint: str) -> Calibration | None:
        """Tell what scores mean in this gallery, as its last search knew it, or as it is now.

        None: there is no background for the model of this fingerprint, and the gallery has too few people to
        be one.

        Raises:
            NotFound, GalleryUnavailable.
        """
        kept = self._calibrations.get(self.name)
        if kept is not None and kept.fingerprint == fingerprint:
            return kept.calibration
        with self.reading() as (connection, current):
            return self._calibrated(connection, current, fingerprint)

    def _calibrated(
        self, connection: sa.Connection, current: State, fingerprint: str, *, waiting: bool = True
    ) -> Calibration | None:
        """Tell what scores mean now; where that takes long, and somebody waits, what they meant before."""
        kept = self._calibrations.get(self.name)
        if (
            kept is None
            or kept.fingerprint != fingerprint
            or (kept.revision != current.revision and (not waiting or kept.may_follow(connection)))
        ):
            kept = weighing.calibrate(connection, current, fingerprint)
            self._calibrations[self.name] = kept
        return kept.calibration

    def around(
        self,
        new: Sequence[Sample],
        vectors: NDArray[np.float32],
        fingerprint: str,
        without: Collection[str],
        *,
        reach: float,
        double: float,
    ) -> list[Around]:
        """Look what is around samples that are about to be stored.

        Args:
            new: n samples.
            vectors: float32 (n, d), row i for sample i.
            fingerprint: of the model that made the vectors.
            without: ids of samples that do not count, since they are about to be replaced.
            reach: the nearest sample of somebody else is nearer than this.
            double: samples below this distance may be of the same picture.

        Raises:
            GalleryModelMismatch: the gallery holds vectors of another model.
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self.searching() as (search, connection, current):
            self._is_empty(connection, current, fingerprint)
            nearest = partial(search.nearest, connection, current._replace(fingerprint=fingerprint))
            return surroundings.around(
                nearest, connection, current, new, vectors, without, reach=reach, double=double
            )

    def encoded(
        self, connection: sa.Connection, vector: NDArray[np.float32], sample_id: str, fingerprint: str
    ) -> Any:
        """Turn a vector, float32 (d,), into what its column takes."""
        return self._search().encoded(connection, vector, sample_id, fingerprint)

    def _is_empty(self, connection: sa.Connection, current: State, fingerprint: str) -> bool:
        """Tell whether there is nothing to compare with vectors of a model.

        Raises:
            GalleryModelMismatch: there are only vectors of another model.
        """
        if current.fingerprint == fingerprint:
            return False
        if rows.any_sample(connection, current.expired_by):
            raise _mismatch()
        return True

    def _remove(self, which: Callable[[sa.Connection], sa.ColumnElement[bool]]) -> list[str]:
        """Remove the samples that meet a condition. Returns their ids."""
        with self.writing() as (connection, begin):
            ids = rows.remove(connection, which(connection))
            if ids:
                begin("delete", ids)
        empty_log(self.engine)
        return ids

    def _adopt(self, connection: sa.Connection, fingerprint: str, dimension: int, revision: int) -> None:
        """Make `fingerprint` that of the gallery, which must be empty or of the same model."""
        own = sa.select(galleries.c.fingerprint).where(galleries.c.key == gallery_of(connection))
        current = connection.execute(own).scalar_one()
        if current == fingerprint:
            return
        if current is not None and rows.any_sample(connection):
            raise _mismatch()
        self._clear(connection, revision, fingerprint, dimension)

    def _clear(
        self, connection: sa.Connection, revision: int, fingerprint: str | None, dimension: int | None
    ) -> None:
        self._search().clear(connection, dimension)
        anew = {"complete_since": revision, "fingerprint": fingerprint, "second": False, "samples": 0}
        none = dict.fromkeys(("other_model", "other_fingerprint", "other_indexed"))
        connection.execute(rows.this_gallery(connection).values(**anew, **none))
        vector_rows.switch(connection, second=False)


def _only(
    new: Sequence[Sample], vectors: NDArray[np.float32], ids: Container[str]
) -> tuple[list[Sample], NDArray[np.float32]]:
    """Leave out samples, and their vectors, that are not among these."""
    places = [place for place, sample in enumerate(new) if sample.id in ids]
    return [new[place] for place in places], vectors[places]


def _spelling(sample: Sample, name: str) -> str | None:
    """Return how the name that a sample comes with is spelt, if the person's is spelt otherwise."""
    if sample.person is not None:
        return sample.spelling
    return sample.name if sample.name != name else None


def _which(connection: sa.Connection, name: str | None, person: str | None) -> sa.ColumnElement[bool] | None:
    """Tell the samples with a name, or of the person with an id; None: all of them."""
    if person is not None:
        return persons.of_person(connection, person)
    return None if name is None else persons.of_name(connection, name)


def _mismatch() -> GalleryModelMismatch:
    return GalleryModelMismatch(
        "The gallery was made with another embedding model. "
        "Change it to this one (recognition gallery change-model), or go back to that model."
    )
