"""The use cases: enrol, recognise, detect, verify, list. Neither HTTP nor SQL is known here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recognition.admission import Admission
from recognition.errors import (
    GalleryModelMismatch,
    GalleryUnavailable,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    NoFace,
    NotFound,
    RecognitionError,
    at,
)
from recognition.faces import Box, Enrolment, Face, Match, Model, Sample
from recognition.pictures import crops, drawing
from recognition.results import EnrolmentReport, Readiness, Recognition, SamplePage, Verification
from serving import pictures as images
from serving.stages import count, notes, stage, used

CROPS_PER_CALL = 32  # of the embedding service, during an enrolment of many pictures

Decode = Callable[[bytes], NDArray[np.uint8]]
Detector = Callable[[NDArray[np.uint8]], list[Face]]
NOW = partial(datetime.now, UTC)


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

    def upsert(self, new: Sequence[Sample], vectors: NDArray[np.float32], fingerprint: str) -> int:
        """Store samples with their vectors, all or none; returns how many."""
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

    def count(self, name: str | None = None) -> int:
        """Count the samples, or those with this name."""
        ...

    def page(self, *, limit: int, after: str | None = None, name: str | None = None) -> list[Sample]:
        """Return the first samples by id, after this id and with this name."""
        ...

    def nearest(
        self,
        probes: NDArray[np.float32],
        k: int,
        fingerprint: str,
        *,
        max_distance: float = math.inf,
        per_name: bool = False,
    ) -> list[list[Match]]:
        """Find the k nearest samples of each probe; only the first may lie beyond max_distance."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """Detector, embedder and gallery put to use.

    ready_picture: uint8 (H, W, 3), RGB, one face: what `ready` recognises.
    enrolment_threads: how many pictures of one enrolment are decoded and searched for faces at once.
    admission: bounds how many requests work and wait; the use cases below raise Overloaded beyond it.
    clock: returns the time, in UTC.
    audit: is told of what is found, before it is answered; the gallery itself tells of its changes.
    """

    decode: Decode
    detector: Detector
    embedder: Embedder
    gallery: Gallery
    ready_picture: NDArray[np.uint8]
    enrolment_threads: int
    admission: Admission
    clock: Callable[[], datetime] = NOW
    audit: Callable[[str, Sequence[str]], None] = lambda what, ids: None

    def recognise(
        self,
        picture: bytes,
        *,
        max_distance: float | None = None,
        top_k: int = 1,
        per_name: bool = True,
        limit: int = 0,
    ) -> list[Recognition]:
        """Find the faces of a picture and the samples they match, largest face first.

        Args:
            picture: an encoded picture.
            max_distance: a match is nearer than this; None takes the model's own threshold.
            top_k: how many matches a face may have, at least 1.
            per_name: the matches of one face have different names: the nearest sample of each counts.
            limit: how many faces to look at, the largest ones; 0 means all.

        Raises:
            InvalidImage, ImageTooLarge, EmbeddingUnavailable, GalleryUnavailable, GalleryModelMismatch.
        """
        with self.admission():
            pixels = self._decode(picture)
            faces = self._detect(pixels)[: limit or None]
            if not faces:
                self.audit("search", [])
                return []
            model = self._model()
            threshold = model.threshold if max_distance is None else max_distance
            vectors = self._embed(self._cut(pixels, faces, model.input_size), model)
            with stage("search"):
                found = self.gallery.nearest(
                    vectors, top_k, _fingerprint(model), max_distance=threshold, per_name=per_name
                )
        recognitions = [
            _recognition(face, nearest, threshold, model) for face, nearest in zip(faces, found, strict=True)
        ]
        self.audit("search", [match.sample.id for found in recognitions for match in found.matches])
        matches = sum(bool(recognition.matches) for recognition in recognitions)
        count("matches", matches)
        count("unknowns", len(recognitions) - matches)
        return recognitions

    def draw(self, picture: bytes, faces: Sequence[tuple[Box, str | None]]) -> bytes:
        """Draw boxes and names on an encoded picture, as drawing.draw does; returns a JPEG.

        Raises:
            InvalidImage, ImageTooLarge.
        """
        with self.admission():
            pixels = self._decode(picture)
            with stage("draw"):
                return drawing.draw(pixels, faces)

    def enrol(self, enrolments: Sequence[Enrolment]) -> EnrolmentReport:
        """Store the largest face of each picture as a sample; an id sent again replaces its sample.

        Of equal ids the last one counts. A picture that fails leaves what was stored under its id untouched,
        and so does an `expires_at` that has passed.
        All samples that succeed are on disk when this returns; on an exception none are stored.

        Raises:
            EmbeddingUnavailable, GalleryUnavailable, GalleryModelMismatch.
        """
        wanted: dict[str, Enrolment] = {}
        for enrolment in enrolments:
            wanted.pop(enrolment.id, None)  # the last of equal ids counts, in its place
            wanted[enrolment.id] = enrolment
        with self.admission():
            return self._enrol(list(wanted.values()))

    def _enrol(self, wanted: list[Enrolment]) -> EnrolmentReport:
        """Do the work of `enrol`; the ids differ from each other."""
        if not wanted:
            return EnrolmentReport([], {})
        model = self._model()
        now = self.clock()
        new: list[Sample] = []
        failed: dict[str, RecognitionError] = {}
        vectors: list[NDArray[np.float32]] = []
        waiting: list[NDArray[np.uint8]] = []
        # Faces are found in threads of their own while this one waits for the vectors of those before.
        pool = ThreadPoolExecutor(self.enrolment_threads, initializer=notes.set, initargs=(notes.get(),))
        try:
            cut = partial(self._crop_of, side=model.input_size, now=now)
            for enrolment, crop in zip(wanted, pool.map(cut, wanted), strict=True):
                if isinstance(crop, RecognitionError):
                    failed[enrolment.id] = crop
                    continue
                new.append(_sample(enrolment, now))
                waiting.append(crop)
                if len(waiting) == CROPS_PER_CALL:
                    vectors.append(self._embed(np.stack(waiting), model))
                    waiting.clear()
        finally:
            pool.shutdown(cancel_futures=True)
        if waiting:
            vectors.append(self._embed(np.stack(waiting), model))
        if new:
            with stage("store"):
                self.gallery.upsert(new, np.concatenate(vectors), _fingerprint(model))
        return EnrolmentReport([sample.id for sample in new], failed)

    def detect(self, picture: bytes) -> list[Face]:
        """Find the faces of an encoded picture, largest first.

        Raises:
            InvalidImage, ImageTooLarge.
        """
        with self.admission():
            return self._detect(self._decode(picture))

    def verify(self, image1: bytes, image2: bytes, *, max_distance: float | None = None) -> Verification:
        """Compare the largest faces of two encoded pictures.

        max_distance: one person's faces are nearer than this; None takes the model's own threshold.

        Raises:
            InvalidImage, ImageTooLarge, NoFace: and which of the two; EmbeddingUnavailable.
        """
        with self.admission():
            model = self._model()
            with at("image1"):
                face1, crop1 = self._largest_face(image1, model.input_size)
            with at("image2"):
                face2, crop2 = self._largest_face(image2, model.input_size)
            vectors = self._embed(np.stack([crop1, crop2]), model)
        self.audit("verify", [])
        distance = float(np.linalg.norm(np.subtract(*vectors.astype(np.float64))))
        threshold = model.threshold if max_distance is None else max_distance
        return Verification((face1, face2), distance, threshold, model)

    def ready(self) -> Readiness:
        """Recognise a bundled face: finds out whether detector, embedding service and gallery work together.

        Raises:
            NoFace, EmbeddingUnavailable, GalleryUnavailable, GalleryModelMismatch.
        """
        with self.admission():
            faces = self.detector(self.ready_picture)
            if not faces:
                raise NoFace("The detector finds no face in the bundled picture.")
            model = self._model()
            crop = crops.crop_faces(self.ready_picture, faces[:1], model.input_size)
            self.gallery.nearest(self.embedder.embed(crop, model), 1, _fingerprint(model))
            return Readiness(model, self.gallery.count())

    def check_comparable(self, fingerprint: str, dimension: int) -> None:
        """See to it that vectors made elsewhere can be compared with those that are made here.

        Raises:
            GalleryModelMismatch: they are of another model; EmbeddingUnavailable.
        """
        model = self._model()
        if (fingerprint, dimension) != (_fingerprint(model), model.dimension):
            raise GalleryModelMismatch("The vectors were made with another embedding model.")

    def size(self) -> int | None:
        """Return how many samples are enrolled; None while the gallery cannot be reached."""
        try:
            return self.gallery.count()
        except GalleryUnavailable:
            return None

    def samples(self, *, limit: int, after: str | None, name: str | None) -> SamplePage:
        """Return one page of the samples, or of those with this name.

        Raises:
            GalleryUnavailable.
        """
        found = self.gallery.page(limit=limit + 1, after=after, name=name)
        more = len(found) > limit
        return SamplePage(found[:limit], self.gallery.count(name), found[limit - 1].id if more else None)

    def sample(self, sample_id: str) -> Sample:
        """Return one sample.

        Raises:
            NotFound, GalleryUnavailable.
        """
        found = self.gallery.get(sample_id)
        if found is None:
            raise NotFound("There is no sample with this id.")
        return found

    def delete(self, sample_id: str) -> None:
        """Remove one sample.

        Raises:
            NotFound, GalleryUnavailable.
        """
        if not self.gallery.delete(sample_id):
            raise NotFound("There is no sample with this id.")

    def _crop_of(
        self, enrolment: Enrolment, side: int, now: datetime
    ) -> NDArray[np.uint8] | RecognitionError:
        if enrolment.expires_at is not None and enrolment.expires_at <= now:
            return InvalidRequest("expires_at is in the past.")
        try:
            return self._largest_face(images.from_base64(enrolment.image), side)[1]
        except (InvalidImage, ImageTooLarge, NoFace) as e:
            return e

    def _largest_face(self, picture: bytes, side: int) -> tuple[Face, NDArray[np.uint8]]:
        pixels = self._decode(picture)
        faces = self._detect(pixels)
        if not faces:
            raise NoFace("No face was found in the picture.")
        crop: NDArray[np.uint8] = self._cut(pixels, faces[:1], side)[0]
        return faces[0], crop

    def _model(self) -> Model:
        model = self.embedder.model()
        used(model)
        return model

    def _decode(self, picture: bytes) -> NDArray[np.uint8]:
        with stage("decode"):
            return self.decode(picture)

    def _detect(self, pixels: NDArray[np.uint8]) -> list[Face]:
        """Find the faces, largest first."""
        with stage("detect"):
            faces = by_size(self.detector(pixels))
        count("faces", len(faces))
        return faces

    def _cut(self, pixels: NDArray[np.uint8], faces: Sequence[Face], side: int) -> NDArray[np.uint8]:
        with stage("crop"):
            return crops.crop_faces(pixels, faces, side)

    def _embed(self, cut: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        with stage("embed"):
            return self.embedder.embed(cut, model)


def by_size(faces: Sequence[Face]) -> list[Face]:
    """Sort faces by the area of their boxes, largest first; equal ones by confidence."""
    return sorted(faces, key=lambda face: (face.box.area, face.confidence), reverse=True)


def _recognition(face: Face, nearest: Sequence[Match], threshold: float, model: Model) -> Recognition:
    matches = [match for match in nearest if match.distance < threshold]
    return Recognition(face, matches, nearest[0].distance if nearest else None, model)


def _sample(enrolment: Enrolment, now: datetime) -> Sample:
    return Sample(
        enrolment.id,
        enrolment.name,
        enrolment.metadata,
        enrolment.action,
        created=now,
        modified=now,
        expires_at=enrolment.expires_at,
    )


def _fingerprint(model: Model) -> str:
    """Name what makes a vector of a picture: the model, and how its crops were cut."""
    return f"{model.fingerprint}-{crops.VERSION}"
