"""The use cases: enrol, recognise, detect, verify, list. Neither HTTP nor SQL is known here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count as counting
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from recognition.admission import Admission, Shared
from recognition.errors import Doubtful, GalleryModelMismatch, LowQuality, NoFace, SeveralFaces
from recognition.faces import (
    Around,
    Choice,
    Encoded,
    Enrolment,
    Face,
    KeptFace,
    Match,
    Mistaken,
    Quality,
    Sample,
    Search,
    Stored,
    moment_of,
)
from recognition.matching.doubts import DOUBLE, Doubt, doubts
from recognition.pictures import crops, drawing
from recognition.pictures.choice import by_size, chosen
from recognition.pictures.digest import digest
from recognition.pictures.encoded import from_base64
from recognition.pictures.keeping import keep_face
from recognition.pictures.quality import SIDE_PX, assess, told
from recognition.results import (
    Detection,
    Drawing,
    EnrolledPicture,
    EnrolmentReport,
    Found,
    Largest,
    Readiness,
    Recognition,
    SamplePage,
    Scale,
    Verification,
)
from serving.errors import Failure, ImageTooLarge, InvalidImage, InvalidRequest, NotFound, at
from serving.hangup import check_client
from serving.model import Model
from serving.remarks import Picture, Remark
from serving.stages import count, stage, used

REHEARSAL_KEPT_S = 2.0  # an orchestrator asks every few seconds, and from several places
CROPS_PER_CALL = 32  # of the embedding service, between which others may go first
PICTURES_AHEAD = 8  # of an enrolment, that are begun before those before them are done
COMPARED_AT_ONCE = 32  # samples of an enrolment, between which others may search
# Of an enrolment, and searches of one picture for its faces, after which those go first who wait.
PICTURES_PER_TURN = 8

Decode = Callable[[bytes], Picture]
Detector = Callable[[NDArray[np.uint8]], list[Face]]
Outcome = TypeVar("Outcome")
NOW = partial(datetime.now, UTC)


class Finder(Protocol):
    """Leads a detector over a picture."""

    def __call__(self, detector: Detector, picture: NDArray[np.uint8], *, small_faces: bool) -> Found:
        """Find the faces of a picture: uint8 (H, W, 3), RGB; small_faces: search all of it at full size."""
        ...


class Embedder(Protocol):
    """Turns crops into vectors."""

    def model(self) -> Model:
        """Describe the model."""
        ...

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn uint8 (n, S, S, 3) RGB into float32 (n, d)."""
        ...


class Gallery(Protocol):
    """Keeps samples and finds the nearest ones."""

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

    def get(self, sample_id: str) -> Sample | None:
        """Return one sample, or None."""
        ...

    def delete(self, sample_id: str) -> bool:
        """Remove one sample; returns whether it was there."""
        ...

    def delete_named(self, name: str) -> int:
        """Remove the samples of one name; returns how many there were."""
        ...

    def clear(self) -> None:
        """Remove every sample."""
        ...

    def count(self, name: str | None = None, person: str | None = None) -> int:
        """Count the samples, or those with this name, or of the person with this id."""
        ...

    def page(
        self, *, limit: int, after: str | None = None, name: str | None = None, person: str | None = None
    ) -> list[Sample]:
        """Return the first samples by id, after this id, and with this name or of this person."""
        ...

    def damaged(self) -> int:
        """Count the samples that are set aside because their vectors are damaged."""
        ...

    def check_room(self) -> None:
        """Make sure that there is room for more; raises DiskFull."""
        ...

    def nearest(
        self,
        probes: NDArray[np.float32],
        k: int,
        fingerprint: str,
        *,
        max_distance: float = math.inf,
        per_person: bool = False,
    ) -> list[list[Match]]:
        """Find the k nearest samples of each probe; only the first may lie beyond max_distance."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _OneFace:
    """A face, its crop, uint8 (S, S, 3), its quality, of how many in its picture, and remarks on that.

    kept: the picture of it that is to be kept, if one is.
    """

    face: Face
    crop: NDArray[np.uint8]
    quality: Quality
    of: int
    remarks: tuple[Remark, ...]
    kept: KeptFace | None


@dataclass(frozen=True, slots=True)
class _Stored:
    """Whose the samples are that are stored now, why others are not, and remarks on both, each by id."""

    people: Mapping[str, str]
    failed: Mapping[str, Failure]
    remarks: Mapping[str, Sequence[Remark]]


@dataclass(frozen=True, slots=True)
class Service:
    """Detector, embedder and gallery put to use.

    find: leads the detector over each picture.
    small_faces: whether it does so at full size where a caller does not say.
    ready_picture: uint8 (H, W, 3), RGB, one face: what `ready` recognises.
    max_faces: of one picture are recognised or listed, the largest.
    min_quality: a face below it gets no name, and is enrolled only by those who accept it.
    keep_faces: whether a picture of the face is kept of each sample.
    enrolment: decodes the pictures of all enrolments and finds their faces, so few pictures at once as it has
        threads.
    admission: bounds how many requests work and wait; the use cases below raise Overloaded beyond it. What
        reads a large request holds its turn already.
    kept_for: how long samples are kept of which a caller does not say when they expire; None: for ever.
    clock: returns the time, in UTC.
    audit: records who was recognised, before the answer; the gallery itself records its changes.
    read: records which samples are shown, before the answer, where that is wanted.
    write: draws names on pictures, where OpenCV's own fonts do not do.
    rehearsal: shares the vector of one trial recognition between all that call `ready`.
    """

    decode: Decode
    detector: Detector
    find: Finder
    small_faces: bool
    embedder: Embedder
    gallery: Gallery
    ready_picture: NDArray[np.uint8]
    max_faces: int
    min_quality: float
    keep_faces: bool
    enrolment: Executor
    admission: Admission
    kept_for: timedelta | None = None
    clock: Callable[[], datetime] = NOW
    audit: Callable[[str, Sequence[str]], None] = lambda what, ids: None
    read: Callable[[str, Sequence[str]], None] = lambda what, ids: None
    write: drawing.Write = drawing.no_fonts
    rehearsal: Shared[tuple[Model, NDArray[np.float32]]] = field(
        default_factory=lambda: Shared(REHEARSAL_KEPT_S)
    )

    def recognise(self, picture: Encoded, search: Search) -> Largest[Recognition]:
        """Find the faces of a picture and the samples they match, largest face first.

        Raises:
            InvalidImage, ImageTooLarge, Overloaded, AuditUnavailable, EmbeddingUnavailable,
            GalleryUnavailable, GalleryModelMismatch, ClientGone.
        """
        with self.admission():
            return self._recognised(self._decode(picture), search)

    def draw(self, picture: Encoded, search: Search, *, unknown: bool) -> Drawing:
        """Recognise the faces of a picture, and draw boxes and names on it.

        unknown: faces like no sample's get a box, too.

        Raises:
            what `recognise` raises.
        """
        with self.admission():
            decoded = self._decode(picture)
            recognised = self._recognised(decoded, search)
            listed = [each for each in recognised.faces if each.matches or unknown]
            with stage("draw"):
                names = [(each.face.box, self._label(each, number)) for number, each in enumerate(listed, 1)]
                jpeg = drawing.draw(decoded.pixels, names, self.write)
            return Drawing(jpeg, recognised.left_out, recognised.remarks)

    def _label(self, recognition: Recognition, number: int) -> str | None:
        """Return what is drawn at a face: its name, or where no font has that, what finds it in the JSON."""
        if not recognition.matches:
            return None
        sample = recognition.matches[0].sample
        return drawing.legible((sample.name, sample.id, f"#{number}"), self.write)

    def _recognised(self, picture: Picture, search: Search) -> Largest[Recognition]:
        """Do the work of `recognise` on a decoded picture."""
        picture, every = self._all_faces(picture, search.small_faces)
        largest = self._largest(picture, every[: search.limit or None])
        faces = largest.faces
        if not faces:
            self.audit("search", [])
            return Largest([], 0, largest.remarks)
        model = self._model()
        threshold = model.threshold if search.max_distance is None else search.max_distance
        cut = self._cut(picture, faces, model.input_size)
        qualities = self._assessed(picture, faces, cut)
        vectors = self._embed(cut, model)
        with stage("search"):
            nearest = self.gallery.nearest(
                vectors,
                search.top_k,
                _fingerprint(model),
                max_distance=threshold,
                per_person=search.per_person,
            )
        recognitions = [
            _recognition(face, matches, threshold if self._tells(quality) else 0.0, model, quality)
            for face, matches, quality in zip(faces, nearest, qualities, strict=True)
        ]
        self.audit("search", [match.sample.id for each in recognitions for match in each.matches])
        known = sum(bool(each.matches) for each in recognitions)
        count("matches", known)
        count("unknowns", len(recognitions) - known)
        return Largest(recognitions, largest.left_out, largest.remarks)

    def enrol(self, enrolments: Sequence[Enrolment]) -> EnrolmentReport:
        """Store one face of each picture as a sample; an id sent again replaces its sample.

        A sample is of the person that it names by id, else of the one person of its name, who is made if need
        be; it fails where there is no such person, or several have the name. Of equal ids the last one
        counts. What fails leaves what was stored under its id untouched: a picture, an `expires_at` that has
        passed, a person who is not clear.
        All samples that succeed are on disk when this returns; on an exception none are stored.
        Between its pictures others may go first, so that a long enrolment does not hold up short requests.

        Raises:
            Overloaded, EmbeddingUnavailable, GalleryUnavailable, GalleryModelMismatch, ClientGone.
        """
        by_id: dict[str, Enrolment] = {}
        for enrolment in enrolments:
            by_id.pop(enrolment.id, None)  # the last of equal ids counts, in its place
            by_id[enrolment.id] = enrolment
        with self.admission():
            return self._enrol(list(by_id.values()))

    def correct(self, enrolment: Enrolment, mistaken: Mistaken | None) -> EnrolledPicture:
        """Store a face that was taken for somebody else's as a sample, and put right what it was taken for.

        All of it is on disk when this returns; on an exception none is.

        mistaken: the sample that it was taken for; None: that stays as it is.

        Raises:
            NoFace, SeveralFaces, LowQuality, InvalidImage, ImageTooLarge, InvalidRequest: as `enrol` tells
            them; NotFound: of a person or a sample; AmbiguousName, ChangedMeanwhile; what `enrol` raises.
        """
        with self.admission():
            report = self._enrol([enrolment], mistaken)
        for failure in report.failed.values():
            raise failure
        return report.enrolled[enrolment.id]

    def _enrol(self, enrolments: list[Enrolment], mistaken: Mistaken | None = None) -> EnrolmentReport:
        """Do the work of `enrol`; the ids differ from each other."""
        if not enrolments:
            return EnrolmentReport({}, {})
        model = self._model()
        now = self.clock()
        new: list[Sample] = []
        enrolled: dict[str, EnrolledPicture] = {}
        failed: dict[str, Failure] = {}
        vectors: list[NDArray[np.float32]] = []
        waiting: list[NDArray[np.uint8]] = []
        # Faces are found in threads of their own while this one waits for the vectors of those before.
        cut = partial(self._face_of, side=model.input_size, now=now)
        with closing(_ahead(self.enrolment, cut, enrolments)) as outcomes:
            for number, (enrolment, outcome) in enumerate(zip(enrolments, outcomes, strict=True), 1):
                check_client()
                if number % PICTURES_PER_TURN == 0 or self._at_full_size(enrolment.small_faces):
                    self.admission.give_way()
                if isinstance(outcome, Failure):
                    failed[enrolment.id] = outcome
                    continue
                crop, sample, enrolled[sample.id] = outcome
                new.append(sample)
                waiting.append(crop)
                if len(waiting) == CROPS_PER_CALL:
                    vectors.append(self._embed(np.stack(waiting), model))
                    waiting.clear()
        if waiting:
            vectors.append(self._embed(np.stack(waiting), model))
        strict = {each.id for each in enrolments if each.strict}
        stored = self._store(new, vectors, strict, model, mistaken)
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
        doubted = self._doubted(new, together, strict, model)
        kept = [place for place, sample in enumerate(new) if not (doubted[sample.id] and sample.id in strict)]
        with stage("store"):
            stored = self.gallery.upsert(
                [new[place] for place in kept], together[kept], _fingerprint(model), mistaken=mistaken
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
        self, new: Sequence[Sample], vectors: NDArray[np.float32], strict: Collection[str], model: Model
    ) -> dict[str, list[Doubt]]:
        """Compare samples, by id, with the gallery and with each other; the vectors are float32 (n, d)."""
        ids = {sample.id for sample in new}
        around: list[Around] = []
        for start in range(0, len(new), COMPARED_AT_ONCE):
            check_client()
            if start:
                self.admission.give_way()
            places = slice(start, start + COMPARED_AT_ONCE)
            with stage("search"):
                around += self.gallery.around(
                    new[places],
                    vectors[places],
                    _fingerprint(model),
                    ids,
                    reach=model.threshold,
                    double=DOUBLE * model.threshold,
                )
        found = doubts(new, vectors, around, [sample.id in strict for sample in new], model.threshold)
        return {sample.id: some for sample, some in zip(new, found, strict=True)}

    def detect(self, picture: Encoded, *, small_faces: bool | None = None) -> Largest[Detection]:
        """Find the faces of an encoded picture, largest first, and tell how good they are.

        small_faces: as in Search.

        Raises:
            InvalidImage, ImageTooLarge, Overloaded, ClientGone.
        """
        with self.admission():
            decoded, every = self._all_faces(self._decode(picture), small_faces)
            largest = self._largest(decoded, every)
            cut = self._cut(decoded, largest.faces, SIDE_PX)
            qualities = self._assessed(decoded, largest.faces, cut)
            detections = list(map(Detection, largest.faces, qualities))
            return Largest(detections, largest.left_out, largest.remarks)

    def verify(
        self,
        image1: Encoded,
        image2: Encoded,
        *,
        max_distance: float | None = None,
        small_faces: bool | None = None,
    ) -> Verification:
        """Compare the largest faces of two encoded pictures.

        max_distance: one person's faces are nearer than this; None takes the model's own threshold.
        small_faces: as in Search.

        Raises:
            InvalidImage, ImageTooLarge, NoFace: and which of the two; Overloaded, EmbeddingUnavailable,
            ClientGone.
        """
        with self.admission():
            model = self._model()
            with at("image1"):
                one = self._one_face(
                    self._decode(image1), model.input_size, small_faces, self.admission.give_way
                )
            with at("image2"):
                two = self._one_face(
                    self._decode(image2), model.input_size, small_faces, self.admission.give_way
                )
            vectors = self._embed(np.stack([one.crop, two.crop]), model)
        self.audit("verify", [])
        distance = float(np.linalg.norm(np.subtract(*vectors.astype(np.float64))))
        threshold = model.threshold if max_distance is None else max_distance
        return Verification(
            (Detection(one.face, one.quality), Detection(two.face, two.quality)),
            distance < threshold and self._tells(one.quality) and self._tells(two.quality),
            distance,
            threshold,
            model,
            one.remarks + two.remarks,
        )

    def ready(self) -> Readiness:
        """Recognise a bundled face, which shows whether detector, embedder and gallery work together.

        It takes no turn in the queue, so that an overloaded service is still ready. One face that was found
        and embedded serves all callers meanwhile and shortly after; each has its own gallery searched.

        Raises:
            NoFace, EmbeddingUnavailable, GalleryUnavailable, GalleryModelMismatch, DiskFull.
        """
        model, vectors = self.rehearsal(self._rehearse)
        self.gallery.nearest(vectors, 1, _fingerprint(model))
        self.gallery.check_room()
        return Readiness(model, self.gallery.count(), self.gallery.damaged())

    def _rehearse(self) -> tuple[Model, NDArray[np.float32]]:
        faces = self.detector(self.ready_picture)
        if not faces:
            raise NoFace("The detector finds no face in the bundled picture.")
        model = self._model()
        crop = crops.crop_faces(self.ready_picture, faces[:1], model.input_size)
        return model, self.embedder.embed(crop, model)

    def scale(self) -> Scale:
        """Tell what a check of the gallery goes by.

        Raises:
            EmbeddingUnavailable.
        """
        model = self._model()
        return Scale(_fingerprint(model), model.dimension, model.threshold, self.min_quality)

    def check_comparable(self, fingerprint: str, dimension: int) -> None:
        """Make sure that vectors made elsewhere can be compared with those that are made here.

        Raises:
            GalleryModelMismatch: they are of another model; EmbeddingUnavailable.
        """
        model = self._model()
        if (fingerprint, dimension) != (_fingerprint(model), model.dimension):
            raise GalleryModelMismatch("The vectors were made with another embedding model.")

    def samples(
        self, *, limit: int, after: str | None, name: str | None, person: str | None = None
    ) -> SamplePage:
        """Return one page of the samples, or of those with this name, or of the person with this id.

        Raises:
            GalleryUnavailable, AuditUnavailable.
        """
        page = self.gallery.page(limit=limit + 1, after=after, name=name, person=person)
        total = self.gallery.count(name, person)
        self.read("list", [sample.id for sample in page[:limit]])
        return SamplePage(page[:limit], total, page[limit - 1].id if len(page) > limit else None)

    def sample(self, sample_id: str) -> Sample:
        """Return one sample.

        Raises:
            NotFound, GalleryUnavailable, AuditUnavailable.
        """
        sample = self.gallery.get(sample_id)
        if sample is None:
            raise NotFound("There is no sample with this id.")
        self.read("show", [sample.id])
        return sample

    def delete(self, sample_id: str) -> None:
        """Remove one sample.

        Raises:
            NotFound, GalleryUnavailable.
        """
        if not self.gallery.delete(sample_id):
            raise NotFound("There is no sample with this id.")

    def _face_of(
        self, enrolment: Enrolment, side: int, now: datetime
    ) -> tuple[NDArray[np.uint8], Sample, EnrolledPicture] | Failure:
        expires_at = moment_of(enrolment.expires_at, now, self.kept_for)
        if expires_at is not None and expires_at <= now:
            return InvalidRequest("expires_at is in the past.")
        try:
            picture = self._decode(enrolment.image)
            one = self._one_face(
                picture, side, enrolment.small_faces, choice=enrolment.face, keep=self.keep_faces
            )
        except (InvalidImage, ImageTooLarge, NoFace, SeveralFaces) as e:
            return type(e)(e.detail)  # a new one: what was raised keeps frames, and they keep the pixels
        remarks = list(one.remarks)
        if one.of > 1 and enrolment.face == "largest":
            if enrolment.strict:
                return SeveralFaces(f"The picture has {one.of} faces.")
            detail = f"The picture has {one.of} faces; the largest was taken."
            remarks.append(Remark("several_faces", detail, {"faces": one.of}))
        if not self._tells(one.quality):
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

    def _one_face(
        self,
        picture: Picture,
        side: int,
        small_faces: bool | None,
        give_way: Callable[[], None] = lambda: None,
        *,
        choice: Choice = "largest",
        keep: bool = False,
    ) -> _OneFace:
        """Find the one face that is meant.

        keep: make the picture of it that is kept.

        Raises:
            ClientGone; NoFace, SeveralFaces: see `chosen`.
        """
        found = self._found(picture, small_faces, give_way)
        if not found.faces and found.shrunk:
            raise NoFace(f"No face was found in the picture. {found.shrunk.detail}")
        face = chosen(found.faces, choice)
        cut = self._cut(picture, [face], side)
        quality = self._assessed(picture, [face], cut)[0]
        with stage("crop"):
            kept = keep_face(picture.pixels, face) if keep else None
        return _OneFace(face, cut[0], quality, len(found.faces), picture.remarks + found.remarks, kept)

    def _assessed(self, picture: Picture, faces: Sequence[Face], cut: NDArray[np.uint8]) -> list[Quality]:
        """Tell how good faces are. `cut`: their crops for the model, used here if they have the size."""
        with stage("assess"):
            if cut.shape[1] != SIDE_PX:
                cut = crops.crop_faces(picture.pixels, faces, SIDE_PX)
            return assess(picture.pixels.shape[:2], faces, cut)

    def _tells(self, quality: Quality) -> bool:
        """Whether a face is good enough to tell people apart."""
        return quality.value >= self.min_quality

    def _model(self) -> Model:
        model = self.embedder.model()
        used(model.name, model.fingerprint)
        return model

    def _largest(self, picture: Picture, faces: list[Face]) -> Largest[Face]:
        return Largest(faces[: self.max_faces], max(0, len(faces) - self.max_faces), picture.remarks)

    def _decode(self, picture: Encoded) -> Picture:
        check_client()
        with stage("decode"):
            return self.decode(from_base64(picture) if isinstance(picture, str) else picture)

    def _all_faces(self, picture: Picture, small_faces: bool | None) -> tuple[Picture, list[Face]]:
        """Find the faces, largest first, and remark on the picture what is worth knowing of the search."""
        found = self._found(picture, small_faces, self.admission.give_way)
        remarks = (*found.remarks, *((found.shrunk,) if found.shrunk else ()))
        return replace(picture, remarks=picture.remarks + remarks), found.faces

    def _found(self, picture: Picture, small_faces: bool | None, give_way: Callable[[], None]) -> Found:
        """Find the faces, largest first.

        give_way: lets others go first; called in between where a picture takes many searches.
        """
        searches = counting()

        def search(pixels: NDArray[np.uint8]) -> list[Face]:
            check_client()
            if (number := next(searches)) and number % PICTURES_PER_TURN == 0:
                give_way()
            return self.detector(pixels)

        with stage("detect"):
            found = self.find(search, picture.pixels, small_faces=self._at_full_size(small_faces))
        count("faces", len(found.faces))
        return replace(found, faces=by_size(found.faces))

    def _at_full_size(self, small_faces: bool | None) -> bool:
        return self.small_faces if small_faces is None else small_faces

    def _cut(self, picture: Picture, faces: Sequence[Face], side: int) -> NDArray[np.uint8]:
        with stage("crop"):
            return crops.crop_faces(picture.pixels, faces, side)

    def _embed(self, cut: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn crops, one or more, into vectors: float32 (n, d)."""
        vectors = []
        for start in range(0, len(cut), CROPS_PER_CALL):
            check_client()
            with stage("embed"):
                vectors.append(self.embedder.embed(cut[start : start + CROPS_PER_CALL], model))
        return np.concatenate(vectors)


def _ahead(
    pool: Executor, work: Callable[[Enrolment], Outcome], enrolments: Iterable[Enrolment]
) -> Generator[Outcome, None, None]:
    """Do work in a pool, little of it ahead of the caller, and yield the outcomes in order."""
    under_way: deque[Future[Outcome]] = deque()
    try:
        for enrolment in enrolments:
            if len(under_way) == PICTURES_AHEAD:
                yield under_way.popleft().result()
            under_way.append(pool.submit(copy_context().run, work, enrolment))
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def _recognition(
    face: Face, nearest: Sequence[Match], threshold: float, model: Model, quality: Quality
) -> Recognition:
    matches = [match for match in nearest if match.distance < threshold]
    return Recognition(face, matches, nearest[0].distance if nearest else None, model, quality)


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


def _fingerprint(model: Model) -> str:
    """Name what makes a vector of a picture: the model, and how its crops were cut."""
    return f"{model.fingerprint}-{crops.VERSION}"
