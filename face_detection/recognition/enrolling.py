"""Enrolment: a face of each picture becomes a sample, unless there is too much to say against it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from recognition.errors import Doubtful, LowQuality, ModelChanged, ModelUnknown, NoFace, SeveralFaces
from recognition.faces import Around, Enrolment, Mistaken, Sample, Stored, moment_of
from recognition.matching.doubts import DOUBLE, Doubt, doubts
from recognition.pictures.digest import digest
from recognition.pictures.quality import told
from recognition.results import EnrolledPicture, EnrolmentReport
from recognition.seeing import CROPS_PER_CALL, Sight, fingerprint_of
from serving.errors import Failure, ImageTooLarge, InvalidImage, InvalidRequest
from serving.hangup import check_client
from serving.model import Model
from serving.remarks import Remark
from serving.stages import stage

PICTURES_AHEAD = 8  # that are begun before those before them are done
PICTURES_PER_TURN = 8  # after which those go first who wait
COMPARED_AT_ONCE = 32  # samples, between which others may search

NOW = partial(datetime.now, UTC)
TRIES = 3  # galleries hardly ever change their model, and then once
Task = TypeVar("Task")
Outcome = TypeVar("Outcome")
Prepared = TypeVar("Prepared")
AGallery = TypeVar("AGallery", bound="Gallery")


class Gallery(Protocol):
    """Where samples are stored."""

    @property
    def model_name(self) -> str | None:
        """Return the name of its model, as it was last seen; None: the embedder's own."""
        ...

    def of_model(self, name: str | None) -> Self:
        """Return the same gallery, which raises ModelChanged where its model is another one."""
        ...

    def check_there(self) -> None:
        """Look at it, and so see its model."""
        ...

    def upsert(
        self,
        new: Sequence[Sample],
        vectors: NDArray[np.float32],
        fingerprint: str,
        *,
        mistaken: Mistaken | None = None,
    ) -> Stored:
        """Store samples with their vectors, all or none but those whose person is not clear."""
        ...

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
        """Look what is around samples that are about to be stored, but for those of these ids."""
        ...


def with_its_model(
    gallery: AGallery,
    prepare: Callable[[str | None], Prepared],
    work: Callable[[AGallery, Prepared], Outcome],
) -> Outcome:
    """Do some work with the model that a gallery has, and all of it anew where that changes meanwhile.

    Args:
        gallery: that is searched, or changed.
        prepare: makes, with the model of this name, what the work takes; None: the embedder's own.
        work: takes the gallery, which raises ModelChanged where it has another model by now.

    Raises:
        ModelUnknown, and what both raise.
    """
    for left in reversed(range(TRIES)):
        name = gallery.model_name
        try:
            return work(gallery.of_model(name), prepare(name))
        except ModelChanged:
            if not left:
                raise
        except ModelUnknown:  # of another process's change back this one may not know yet
            gallery.check_there()
            if not left or gallery.model_name == name:
                raise
    raise AssertionError("the last try returns or raises")


@dataclass(frozen=True, slots=True)
class _Stored:
    """Whose the samples are that are stored now, why others are not, and remarks on both, each by id."""

    people: Mapping[str, str]
    failed: Mapping[str, Failure]
    remarks: Mapping[str, Sequence[Remark]]


@dataclass(frozen=True, slots=True)
class Enroller:
    """Makes samples of pictures.

    sight: sees faces in them.
    pool: decodes the pictures of all enrolments and finds their faces, so few pictures at once as it has
        threads.
    keep_faces: whether a picture of the face is kept of each sample.
    kept_for: how long samples are kept of which a caller does not say when they expire; None: for ever.
    clock: returns the time, in UTC.
    """

    sight: Sight
    pool: Executor
    keep_faces: bool
    kept_for: timedelta | None
    clock: Callable[[], datetime] = NOW

    def __call__(
        self, gallery: Gallery, enrolments: Sequence[Enrolment], mistaken: Mistaken | None = None
    ) -> EnrolmentReport:
        """Store one face of each picture in a gallery; see `Service.enrol`. The ids differ from each other.

        mistaken: what the face of the only picture was taken for.
        """
        if not enrolments:
            return EnrolmentReport({}, {})
        return with_its_model(
            gallery, self.sight.model, lambda own, model: self._enrolled(own, enrolments, mistaken, model)
        )

    def _enrolled(
        self, gallery: Gallery, enrolments: Sequence[Enrolment], mistaken: Mistaken | None, model: Model
    ) -> EnrolmentReport:
        now = self.clock()
        new: list[Sample] = []
        enrolled: dict[str, EnrolledPicture] = {}
        failed: dict[str, Failure] = {}
        vectors: list[NDArray[np.float32]] = []
        waiting: list[NDArray[np.uint8]] = []
        # Faces are found in threads of their own while this one waits for the vectors of those before.
        cut = partial(self._face_of, model=model, now=now)
        with closing(ahead(self.pool, cut, enrolments)) as outcomes:
            for number, (enrolment, outcome) in enumerate(zip(enrolments, outcomes, strict=True), 1):
                check_client()
                if number % PICTURES_PER_TURN == 0 or self.sight.at_full_size(enrolment.small_faces):
                    self.sight.give_way()
                if isinstance(outcome, Failure):
                    failed[enrolment.id] = outcome
                    continue
                crop, sample, enrolled[sample.id] = outcome
                new.append(sample)
                waiting.append(crop)
                if len(waiting) == CROPS_PER_CALL:
                    vectors.append(self.sight.embedded(np.stack(waiting), model))
                    waiting.clear()
        if waiting:
            vectors.append(self.sight.embedded(np.stack(waiting), model))
        strict = {each.id for each in enrolments if each.strict}
        stored = self._store(gallery, new, vectors, strict, model, mistaken)
        enrolled = {
            sample_id: replace(
                picture, person=person, remarks=(*picture.remarks, *stored.remarks.get(sample_id, ()))
            )
            for sample_id, picture in enrolled.items()
            if (person := stored.people.get(sample_id)) is not None
        }
        failures = {**failed, **stored.failed}
        failed = {each.id: failures[each.id] for each in enrolments if each.id in failures}
        return EnrolmentReport(enrolled, failed)

    def _store(
        self,
        gallery: Gallery,
        new: Sequence[Sample],
        vectors: Sequence[NDArray[np.float32]],
        strict: Collection[str],
        model: Model,
        mistaken: Mistaken | None,
    ) -> _Stored:
        """Store samples, but for the doubtful ones of `strict`, ids; the vectors are float32 (n, d).

        mistaken: what the face of the only one was taken for.
        """
        if not new:
            return _Stored({}, {}, {})
        together = np.concatenate(vectors)
        doubted = self._doubted(gallery, new, together, strict, model)
        kept = [place for place, sample in enumerate(new) if not (doubted[sample.id] and sample.id in strict)]
        with stage("store"):
            stored = gallery.upsert(
                [new[place] for place in kept], together[kept], fingerprint_of(model), mistaken=mistaken
            )
        remarks = {
            sample_id: [_remark(doubt, stored.people) for doubt in some]
            for sample_id, some in doubted.items()
        }
        refused = {
            sample_id: Doubtful(some[0].detail, some)
            for sample_id, some in remarks.items()
            if some and sample_id in strict
        }
        return _Stored(stored.people, {**refused, **stored.failed}, remarks)

    def _doubted(
        self,
        gallery: Gallery,
        new: Sequence[Sample],
        vectors: NDArray[np.float32],
        strict: Collection[str],
        model: Model,
    ) -> dict[str, list[Doubt]]:
        """Compare samples, by id, with the gallery and with each other; the vectors are float32 (n, d)."""
        ids = {sample.id for sample in new}
        around: list[Around] = []
        for start in range(0, len(new), COMPARED_AT_ONCE):
            check_client()
            if start:
                self.sight.give_way()
            places = slice(start, start + COMPARED_AT_ONCE)
            with stage("search"):
                around += gallery.around(
                    new[places],
                    vectors[places],
                    fingerprint_of(model),
                    ids,
                    reach=model.threshold,
                    double=DOUBLE * model.threshold,
                )
        found = doubts(new, vectors, around, [sample.id in strict for sample in new], model.threshold)
        return {sample.id: some for sample, some in zip(new, found, strict=True)}

    def _face_of(
        self, enrolment: Enrolment, model: Model, now: datetime
    ) -> tuple[NDArray[np.uint8], Sample, EnrolledPicture] | Failure:
        expires_at = moment_of(enrolment.expires_at, now, self.kept_for)
        if expires_at is not None and expires_at <= now:
            return InvalidRequest("expires_at is in the past.")
        try:
            picture = self.sight.decoded(enrolment.image)
            one = self.sight.one_face(
                picture,
                model,
                enrolment.small_faces,
                choice=enrolment.face,
                keep=self.keep_faces,
                surer_than=enrolment.surer_than,
            )
        except (InvalidImage, ImageTooLarge, NoFace, SeveralFaces) as e:
            return type(e)(e.detail)  # a new one: what was raised keeps frames, and they keep the pixels
        remarks = list(one.remarks)
        if one.of > 1 and enrolment.face == "largest":
            if enrolment.strict:
                return SeveralFaces(f"The picture has {one.of} faces.")
            detail = f"The picture has {one.of} faces; the largest was taken."
            remarks.append(Remark("several_faces", detail, {"faces": one.of}))
        if not self.sight.tells(one.quality):
            if enrolment.strict or not enrolment.accept_low_quality:
                return LowQuality(told(one.quality), one.quality)
            remarks.append(Remark("low_quality", told(one.quality)))
        sample = replace(
            _sample(enrolment, now, expires_at),
            quality=one.quality.value,
            picture=digest(picture.pixels),
            face=one.kept,
        )
        return one.crop, sample, EnrolledPicture(one.of, one.face.box, one.quality, tuple(remarks))


def ahead(
    pool: Executor, work: Callable[[Task], Outcome], tasks: Iterable[Task], most: int = PICTURES_AHEAD
) -> Generator[Outcome, None, None]:
    """Do work in a pool, at most so much of it ahead of the caller, and yield the outcomes in order."""
    under_way: deque[Future[Outcome]] = deque()
    try:
        for task in tasks:
            if len(under_way) == most:
                yield under_way.popleft().result()
            under_way.append(pool.submit(copy_context().run, work, task))
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def _sample(enrolment: Enrolment, now: datetime, expires_at: datetime | None) -> Sample:
    return Sample(
        enrolment.id,
        enrolment.name or "",
        enrolment.metadata,
        enrolment.action,
        created=now,
        modified=now,
        expires_at=expires_at,
        person=enrolment.person,
    )


def _remark(doubt: Doubt, people: Mapping[str, str]) -> Remark:
    """Put a doubt into words. `people`: whose the samples are that were stored with it."""
    if doubt.near is None:
        detail = f"The face is far from the person's others: {doubt.distance:.2f} from the nearest."
        return Remark(doubt.code, detail, {"distance": doubt.distance})
    near = doubt.near
    values = {
        "sample": near.id,
        "person": people.get(near.id, near.person),
        "name": near.name,
        "distance": doubt.distance,
    }
    if doubt.code == "same_picture":
        return Remark(doubt.code, f"Sample {near.id}, of {near.name}, is of the same picture.", values)
    detail = f"The face is as near to {near.name} as one person's are to each other: {doubt.distance:.2f}."
    return Remark(doubt.code, detail, values)
