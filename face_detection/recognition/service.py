"""The use cases: enrol, recognise, detect, verify, list. Neither HTTP nor SQL is known here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from recognition import enrolling
from recognition.admission import Admission, Shared
from recognition.changing import Changer
from recognition.enrolling import Enroller, with_its_model
from recognition.errors import GalleryModelMismatch, NoFace
from recognition.faces import Encoded, Enrolment, Face, Match, Mistaken, Quality, Sample, Search
from recognition.matching import decision
from recognition.matching.decision import Calibration
from recognition.pictures import crops, drawing
from recognition.results import (
    Detection,
    Drawing,
    EnrolledPicture,
    EnrolmentReport,
    Largest,
    Readiness,
    Recognition,
    SamplePage,
    Scale,
    Verification,
)
from recognition.seeing import Sight, fingerprint_of
from recognition.visits import Visit
from serving.errors import NotFound, at
from serving.model import Model
from serving.remarks import Picture, Remark
from serving.stages import count, stage

Part = TypeVar("Part")
REHEARSAL_KEPT_S = 2.0  # an orchestrator asks every few seconds, and from several places


class Keep(Protocol):
    """Keeps the faces of unknown people in a gallery; see keeping.py."""

    def __call__(
        self,
        gallery: Any,
        picture: Picture,
        recognitions: Sequence[Recognition],
        vectors: NDArray[np.float32],
        model: Model,
    ) -> None:
        """Keep those of a picture."""
        ...

    def visit(
        self,
        gallery: Any,
        visit: Visit,
        picture: Picture | None,
        recognition: Recognition,
        vector: NDArray[np.float32],
        model: Model,
    ) -> str | None:
        """Keep that of a visit."""
        ...


class Gallery(enrolling.Gallery, Protocol):
    """Keeps samples and finds the nearest ones."""

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

    def likeliest(
        self,
        probes: NDArray[np.float32],
        k: int,
        fingerprint: str,
        *,
        per_person: bool,
        wish: float | None = None,
    ) -> list[list[Match]]:
        """Find the samples of those who each probe is likeliest, by all samples of a person together."""
        ...

    def calibration(self, fingerprint: str) -> Calibration | None:
        """Tell what scores mean in the gallery; None: that cannot be told."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """Faces seen, samples stored and found.

    sight: sees faces in pictures.
    enroller: makes samples of them.
    ready_picture: uint8 (H, W, 3), RGB, one face: what `ready` recognises.
    max_false_match: decides where a search says nothing; None: the model's threshold does.
    admission: bounds how many requests work and wait; the use cases below raise Overloaded beyond it. What
        reads a large request holds its turn already.
    events_kept_for: how long what cameras saw is kept.
    audit: records who was recognised, before the answer; the gallery itself records its changes.
    read: records which samples are shown, before the answer, where that is wanted.
    keep: keeps the faces of unknown people, where that is wanted; None: it is not.
    write: draws names on pictures, where OpenCV's own fonts do not do.
    changer: changes galleries to other models.
    rehearsals: each shares the vector of one trial recognition between all that call `ready`, by the name of
        the model.
    """

    sight: Sight
    enroller: Enroller
    gallery: Gallery
    ready_picture: NDArray[np.uint8]
    admission: Admission
    changer: Changer
    max_false_match: float | None = None
    events_kept_for: timedelta = timedelta(days=30)
    audit: Callable[[str, Sequence[str]], None] = lambda what, ids: None
    read: Callable[[str, Sequence[str]], None] = lambda what, ids: None
    keep: Keep | None = None
    write: drawing.Write = drawing.no_fonts
    rehearsals: dict[str | None, Shared[tuple[Model, NDArray[np.float32]]]] = field(default_factory=dict)

    def recognise(self, picture: Encoded, search: Search) -> Largest[Recognition]:
        """Find the faces of a picture and the samples they match, largest face first.

        Raises:
            InvalidImage, ImageTooLarge, Overloaded, AuditUnavailable, EmbeddingUnavailable,
            GalleryUnavailable, GalleryModelMismatch, NotCalibrated, ClientGone.
        """
        with self.admission():
            return self._recognised(self.sight.decoded(picture), search)

    def draw(self, picture: Encoded, search: Search, *, unknown: bool) -> Drawing:
        """Recognise the faces of a picture, and draw boxes and names on it.

        unknown: faces like no sample's get a box, too.

        Raises:
            what `recognise` raises.
        """
        with self.admission():
            decoded = self.sight.decoded(picture)
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
        picture, every = self.sight.all_faces(picture, search.small_faces)
        largest = self.sight.largest(picture, every[: search.limit or None])
        if not largest.faces:
            self.audit("search", [])
            return Largest([], 0, largest.remarks)

        def match(gallery: Gallery, model: Model) -> Largest[Recognition]:
            return self._matched(picture, largest, search, gallery, model)

        return with_its_model(self.gallery, self.sight.model, match)

    def _matched(
        self, picture: Picture, largest: Largest[Face], search: Search, gallery: Gallery, model: Model
    ) -> Largest[Recognition]:
        """Find the samples that faces match, by the gallery's model."""
        faces = largest.faces
        search = self.decided(search, model)
        cut = self.sight.cut(picture, faces, model)
        qualities = self.sight.assessed(picture, faces, cut, model)
        vectors = self.sight.embedded(cut, model)
        seen = list(map(Detection, faces, qualities))
        recognitions = self.identified(seen, vectors, search, gallery, model)
        if self.keep is not None:
            self.keep(gallery, picture, recognitions, vectors, model)
        return Largest(recognitions, largest.left_out, largest.remarks + self._told_of(search, model))

    def identified(
        self,
        seen: Sequence[Detection],
        vectors: NDArray[np.float32],
        search: Search,
        gallery: Gallery,
        model: Model,
    ) -> list[Recognition]:
        """Tell whose faces are whose vectors are known already.

        vectors: float32 (n, d), of the gallery's model.
        search: says what decides, as what `decided` returns does.

        Raises:
            GalleryUnavailable, GalleryModelMismatch, NotCalibrated, AuditUnavailable.
        """
        with stage("search"):
            found = _found(gallery, vectors, search, model)
        recognitions = [
            _recognition(
                each.face, some, search if self.sight.tells(each.quality) else None, model, each.quality
            )
            for each, some in zip(seen, found, strict=True)
        ]
        self.audit("search", [match.sample.id for each in recognitions for match in each.matches])
        known = sum(bool(each.matches) for each in recognitions)
        count("matches", known)
        count("unknowns", len(recognitions) - known)
        return recognitions

    def decided(self, search: Search, model: Model) -> Search:
        """Say what decides: one of `max_distance` and `max_false_match`, and not the other."""
        if search.max_distance is not None or search.max_false_match is not None:
            return search
        if self.max_false_match is not None:
            return replace(search, max_false_match=self.max_false_match)
        return replace(search, max_distance=model.threshold)

    def _told_of(self, search: Search, model: Model) -> tuple[Remark, ...]:
        """Remark on a wish that the gallery and the model do not allow."""
        if search.max_false_match is None:
            return ()
        known = self.gallery.calibration(fingerprint_of(model))
        least = decision.least(known) if known else None
        if least is None or least <= search.max_false_match:
            return ()
        return (
            Remark(
                "wish_out_of_reach",
                f"With max_false_match {search.max_false_match:g}, more than one in ten faces of people "
                f"enrolled here get no name; {least:.2g} is the least with which they do.",
                {"least": least},
            ),
        )

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
            return self.enroller(self.gallery, list(by_id.values()))

    def correct(self, enrolment: Enrolment, mistaken: Mistaken | None) -> EnrolledPicture:
        """Store a face that was taken for somebody else's as a sample, and put right what it was taken for.

        All of it is on disk when this returns; on an exception none is.

        mistaken: the sample that it was taken for; None: that stays as it is.

        Raises:
            NoFace, SeveralFaces, LowQuality, InvalidImage, ImageTooLarge, InvalidRequest: as `enrol` tells
            them; NotFound: of a person or a sample; AmbiguousName, ChangedMeanwhile; what `enrol` raises.
        """
        with self.admission():
            report = self.enroller(self.gallery, [enrolment], mistaken)
        for failure in report.failed.values():
            raise failure
        return report.enrolled[enrolment.id]

    def detect(self, picture: Encoded, *, small_faces: bool | None = None) -> Largest[Detection]:
        """Find the faces of an encoded picture, largest first, and tell how good they are.

        small_faces: as in Search.

        Raises:
            InvalidImage, ImageTooLarge, Overloaded, ClientGone.
        """
        with self.admission():
            decoded, every = self.sight.all_faces(self.sight.decoded(picture), small_faces)
            largest = self.sight.largest(decoded, every)
            qualities = self.sight.assessed(decoded, largest.faces)
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
                one = self.sight.one_face(
                    self.sight.decoded(image1), model, small_faces, self.admission.give_way
                )
            with at("image2"):
                two = self.sight.one_face(
                    self.sight.decoded(image2), model, small_faces, self.admission.give_way
                )
            vectors = self.sight.embedded(np.stack([one.crop, two.crop]), model)
        self.audit("verify", [])
        distance = float(np.linalg.norm(np.subtract(*vectors.astype(np.float64))))
        threshold = model.threshold if max_distance is None else max_distance
        return Verification(
            (Detection(one.face, one.quality), Detection(two.face, two.quality)),
            distance < threshold and self.sight.tells(one.quality) and self.sight.tells(two.quality),
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
        return with_its_model(self.gallery, self._rehearsed, lambda own, made: self._ready(own, *made))

    def _ready(self, gallery: Gallery, model: Model, vectors: NDArray[np.float32]) -> Readiness:
        gallery.nearest(vectors, 1, fingerprint_of(model))
        gallery.check_room()
        known = gallery.calibration(fingerprint_of(model))
        wishes = {*decision.WISHES, self.max_false_match or decision.WISHES[0]}
        decisions = decision.decisions(known, sorted(wishes, reverse=True)) if known else None
        return Readiness(model, gallery.count(), gallery.damaged(), self.max_false_match, decisions)

    def _rehearsed(self, name: str | None) -> tuple[Model, NDArray[np.float32]]:
        shared = self.rehearsals.get(name) or self.rehearsals.setdefault(name, Shared(REHEARSAL_KEPT_S))
        return shared(partial(self._rehearse, name))

    def _rehearse(self, name: str | None) -> tuple[Model, NDArray[np.float32]]:
        faces = self.sight.detector(self.ready_picture)
        if not faces:
            raise NoFace("The detector finds no face in the bundled picture.")
        model = self.sight.model(name)
        crop = crops.crop_faces(self.ready_picture, faces[:1], model.input_size, model.template)
        return model, self.sight.embedder.embed(crop, model)

    def examine(self, work: Callable[[Gallery, Scale], Part]) -> Part:
        """Do a check of the gallery, which is told what to go by.

        Raises:
            EmbeddingUnavailable, ModelUnknown; what the work raises.
        """
        return with_its_model(self.gallery, self._scale, work)

    def _scale(self, name: str | None) -> Scale:
        model = self.sight.model(name)
        length = model.distance_range[1] / 2
        return Scale(fingerprint_of(model), model.dimension, model.threshold, self.sight.min_quality, length)

    def _model(self) -> Model:
        """Describe the model that the gallery has now."""

        def confirmed(gallery: Gallery, model: Model) -> Model:
            gallery.check_there()
            return model

        return with_its_model(self.gallery, self.sight.model, confirmed)

    def check_comparable(self, fingerprint: str, dimension: int) -> None:
        """Make sure that vectors made elsewhere can be compared with those that are made here.

        Raises:
            GalleryModelMismatch: they are of another model; EmbeddingUnavailable.
        """
        model = self._model()
        if (fingerprint, dimension) != (fingerprint_of(model), model.dimension):
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


def _found(gallery: Gallery, vectors: NDArray[np.float32], search: Search, model: Model) -> list[list[Match]]:
    fingerprint, per_person = fingerprint_of(model), search.per_person
    if search.max_distance is None:
        wish = search.max_false_match
        return gallery.likeliest(vectors, search.top_k, fingerprint, per_person=per_person, wish=wish)
    return gallery.nearest(
        vectors, search.top_k, fingerprint, max_distance=search.max_distance, per_person=per_person
    )


def _recognition(
    face: Face, found: Sequence[Match], search: Search | None, model: Model, quality: Quality
) -> Recognition:
    """Tell who a face is. `search`: None for a face that is too poor to be given a name."""
    best = found[0] if found else None
    matches = [match for match in found if search is not None and _accepts(search, match)]
    return Recognition(
        face, matches, best.distance if best else None, best.false_match if best else None, model, quality
    )


def _accepts(search: Search, match: Match) -> bool:
    if search.max_false_match is not None:
        return match.false_match is not None and match.false_match <= search.max_false_match
    return search.max_distance is not None and match.distance < search.max_distance
