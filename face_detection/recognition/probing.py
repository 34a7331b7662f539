"""The use cases that clients of CompreFace have beside those of service.py: probes, however near or poor.

Whatever a face is compared with is told with its distance; whether that is near enough, whoever asks decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from recognition.admission import Admission
from recognition.enrolling import Enroller, with_its_model
from recognition.errors import AmbiguousName, NoFace, SeveralFaces
from recognition.faces import Box, Encoded, Enrolment, Face, Match
from recognition.gallery import Gallery, subjects
from recognition.results import Compared, Example, Probe, Probed
from recognition.seeing import Sight, fingerprint_of
from serving.errors import InvalidRequest
from serving.model import Model
from serving.remarks import Picture
from serving.stages import count, stage

# Of all faces of a request together: a match takes 0.5 kB, and its name 4 kB at most; more of them than that
# are for nobody to read.
MOST_MATCHES = 20_000

Outcome = TypeVar("Outcome")
Vectors = Sequence[Sequence[float]]  # of any length, n with d values each


@dataclass(frozen=True, slots=True)
class Look:
    """Which faces of a picture are looked for, and what is told of them.

    surer_than: the detector's confidence is above this.
    limit: the largest ones; 0 means all.
    vectors: make vectors; attributes: guess age and gender.
    whole: nothing is detected: the picture shows one face, from edge to edge.
    """

    surer_than: float
    limit: int = 0
    vectors: bool = True
    attributes: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Probing:
    """The use cases, in one gallery. `audit`: as in Service."""

    sight: Sight
    enroller: Enroller
    gallery: Gallery
    admission: Admission
    audit: Callable[[str, Sequence[str]], None]

    def detect(self, picture: Encoded, look: Look) -> Probed:
        """Find faces, largest first.

        Raises:
            NoFace, InvalidImage, ImageTooLarge, Overloaded, EmbeddingUnavailable, GalleryUnavailable,
            ClientGone.
        """
        with self.admission():
            decoded, faces = self._faces(picture, look)
            if not look.vectors:
                return Probed(None, self._probes(decoded, faces, look))

            def with_vectors(gallery: Gallery, model: Model) -> Probed:
                gallery.check_there()  # and so see whether the model is still its own
                return Probed(model, self._probes(decoded, faces, look, model))

            return self._by_model(with_vectors)

    def recognise(self, picture: Encoded, look: Look, k: int) -> Probed:
        """Find faces, largest first, and the k samples nearest to each; fewer, if that makes too many.

        Raises:
            what `detect` raises; AuditUnavailable, GalleryModelMismatch.
        """
        with self.admission():
            decoded, faces = self._faces(picture, look)

            def match(gallery: Gallery, model: Model) -> Probed:
                probes = self._probes(decoded, faces, look, model)
                return Probed(model, probes, self._nearest(gallery, _vectors_of(probes), k, model))

            return self._by_model(match)

    def nearest(self, vectors: Vectors, k: int) -> tuple[Model, list[list[Match]]]:
        """Find the k samples nearest to each vector of the gallery's model; fewer, if that makes too many.

        Raises:
            InvalidRequest: they are no such vectors.
            Overloaded, AuditUnavailable, EmbeddingUnavailable, GalleryUnavailable, GalleryModelMismatch.
        """
        with self.admission():
            return self._by_model(
                lambda gallery, model: (model, self._nearest(gallery, _scaled(vectors, model), k, model))
            )

    def compare(self, source: Encoded, target: Encoded, look: Look) -> Compared[Probe]:
        """Compare the only face of one picture with each face of another, largest first.

        Raises:
            SeveralFaces: of the first; AuditUnavailable; what `detect` raises.
        """
        with self.admission():
            first, (face, *others) = self._faces(source, look)
            if others:
                raise SeveralFaces(f"The picture has {1 + len(others)} faces.")
            second, faces = self._faces(target, look)

            def compared(gallery: Gallery, model: Model) -> Compared[Probe]:
                gallery.check_there()
                (one,) = self._probes(first, [face], look, model)
                probes = self._probes(second, faces, look, model)
                distances = _distances(_vectors_of(probes), _vectors_of([one])[0])
                return Compared(model, probes, distances, one)

            outcome = self._by_model(compared)
        self.audit("verify", [])
        return outcome

    def compare_with_sample(self, picture: Encoded, look: Look, sample_id: str) -> Compared[Example]:
        """Compare each face of a picture, largest first, with a sample.

        Raises:
            NotFound: there is no such sample; AuditUnavailable, GalleryModelMismatch, DamagedGallery; what
            `detect` raises.
        """
        with self.admission():
            decoded, faces = self._faces(picture, look)

            def compared(gallery: Gallery, model: Model) -> Compared[Example]:
                example, vector = subjects.example(gallery, sample_id, fingerprint_of(model))
                probes = self._probes(decoded, faces, look, model)
                return Compared(model, probes, _distances(_vectors_of(probes), vector), example)

            outcome = self._by_model(compared)
        self.audit("verify", [sample_id])
        return outcome

    def distances_to_sample(self, vectors: Vectors, sample_id: str) -> tuple[Model, list[float]]:
        """Tell how far vectors of the gallery's model are from a sample's.

        Raises:
            InvalidRequest: they are no such vectors.
            NotFound: there is no such sample; DamagedGallery; what `nearest` raises.
        """

        def compared(gallery: Gallery, model: Model) -> tuple[Model, list[float]]:
            _, vector = subjects.example(gallery, sample_id, fingerprint_of(model))
            return model, _distances(_scaled(vectors, model), vector)

        with self.admission():
            outcome = self._by_model(compared)
        self.audit("verify", [sample_id])
        return outcome

    def distances(self, vectors: Vectors, source: Sequence[float]) -> tuple[Model, list[float]]:
        """Tell how far vectors of the gallery's model are from another one.

        Raises:
            InvalidRequest: they are no such vectors.
            what `nearest` raises.
        """

        def compared(gallery: Gallery, model: Model) -> tuple[Model, list[float]]:
            gallery.check_there()
            return model, _distances(_scaled(vectors, model), _scaled([source], model)[0])

        with self.admission():
            outcome = self._by_model(compared)
        self.audit("verify", [])
        return outcome

    def enrol(self, enrolment: Enrolment) -> None:
        """Store a face as a sample of the person of a name; where several have it, of the oldest.

        It is on disk when this returns; on an exception it is not.

        Raises:
            NoFace, SeveralFaces, LowQuality, InvalidImage, ImageTooLarge, Overloaded, AuditUnavailable,
            EmbeddingUnavailable, GalleryUnavailable, GalleryModelMismatch, ClientGone.
        """
        with self.admission():
            failure = self._refusal(enrolment)
            if isinstance(failure, AmbiguousName):
                failure = self._refusal(replace(enrolment, name=None, person=failure.persons[0]))
        if failure is not None:
            raise failure

    def _refusal(self, enrolment: Enrolment) -> Exception | None:
        return self.enroller(self.gallery, [enrolment]).failed.get(enrolment.id)

    def _by_model(self, work: Callable[[Gallery, Model], Outcome]) -> Outcome:
        return with_its_model(self.gallery, self.sight.model, work)

    def _faces(self, picture: Encoded, look: Look) -> tuple[Picture, list[Face]]:
        decoded = self.sight.decoded(picture)
        if look.whole:
            height, width = decoded.pixels.shape[:2]
            return decoded, [Face(Box(0, 0, width, height), 1.0, np.full((5, 2), np.nan, np.float32))]
        decoded, every = self.sight.all_faces(decoded, None)
        surer = [face for face in every if face.confidence > look.surer_than]
        if not surer:
            raise NoFace("No face was found in the picture.")
        return decoded, self.sight.largest(decoded, surer[: look.limit or None]).faces

    def _probes(
        self, picture: Picture, faces: Sequence[Face], look: Look, model: Model | None = None
    ) -> list[Probe]:
        """Tell what is wanted of faces, one or more. `model`: of their vectors; None: they get none."""
        vectors: Sequence[NDArray[np.float32] | None] = [None] * len(faces)
        if model is not None:
            vectors = list(self.sight.embedded(self.sight.cut(picture, faces, model), model))
        guesses = self.sight.attributes(picture, faces) if look.attributes else [None] * len(faces)
        return list(map(Probe, faces, vectors, guesses))

    def _nearest(
        self, gallery: Gallery, vectors: NDArray[np.float32], k: int, model: Model
    ) -> list[list[Match]]:
        k = max(1, min(k, MOST_MATCHES // len(vectors))) if len(vectors) else k
        with stage("search"):
            found = gallery.nearest(vectors, k, fingerprint_of(model), near=model.threshold, rated=False)
        self.audit("search", [match.sample.id for some in found for match in some])
        known = sum(some[0].distance < model.threshold for some in found if some)
        count("matches", known)
        count("unknowns", len(found) - known)
        return found


def _vectors_of(probes: Sequence[Probe]) -> NDArray[np.float32]:
    """Return the vectors of probes, one or more, that have them: float32 (n, d)."""
    return np.stack([probe.vector for probe in probes if probe.vector is not None])


def _scaled(vectors: Vectors, model: Model) -> NDArray[np.float32]:
    """Give vectors that a caller sends the length that the model's have: float32 (n, d).

    Raises:
        InvalidRequest: they are not of as many finite numbers as the model's, or have no direction.
    """
    if any(len(vector) != model.dimension for vector in vectors):
        raise InvalidRequest(f"A vector of this model has {model.dimension} values.")
    values = np.array(vectors, np.float64).reshape(len(vectors), model.dimension)
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise InvalidRequest("A vector has values that are not finite, or all zero.")
    radius = model.distance_range[1] / 2  # the farthest two are opposite each other
    scaled: NDArray[np.float32] = (values / lengths * radius).astype(np.float32)
    return scaled


def _distances(vectors: NDArray[np.float32], other: NDArray[np.float32]) -> list[float]:
    """Measure the Euclidean distances of vectors, (n, d), to one, (d,)."""
    distances: list[float] = np.linalg.norm(vectors - other.astype(np.float64), axis=1).tolist()
    return distances
