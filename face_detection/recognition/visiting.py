"""The use cases of whatever watches cameras: the vectors of the faces in a frame, and who a visit was of."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from recognition.enrolling import with_its_model
from recognition.errors import ModelChanged
from recognition.faces import Encoded, Face, Quality, Search
from recognition.gallery import Gallery, events
from recognition.matching.people import template
from recognition.pictures.keeping import small_jpeg
from recognition.results import Described, Detection, Largest, Recognition
from recognition.seeing import fingerprint_of
from recognition.service import Gallery as Searched
from recognition.service import Service
from recognition.visits import Event, Visit
from serving.errors import InvalidRequest
from serving.model import Model
from serving.stages import stage

# By which a camera's clock may be ahead of the service's; see clock.py.
AHEAD = timedelta(days=1)


def describe(
    service: Service, picture: Encoded, *, limit: int = 0, small_faces: bool | None = None
) -> Described:
    """Find the faces of a picture, largest first, and make their vectors, by the gallery's model.

    Args:
        service: in whose gallery.
        picture: encoded.
        limit: how many of the largest; 0 means all.
        small_faces: as in Search.

    Raises:
        InvalidImage, ImageTooLarge, Overloaded, AuditUnavailable, EmbeddingUnavailable, ModelUnknown,
        NotFound, GalleryUnavailable, ClientGone.
    """
    sight = service.sight
    with service.admission():
        decoded, every = sight.all_faces(sight.decoded(picture), small_faces)
        largest = sight.largest(decoded, every[: limit or None])

        def made(gallery: Searched, model: Model) -> Described:
            gallery.check_there()  # and so see whether the model is still its own
            vectors, qualities = np.empty((0, model.dimension), np.float32), list[Quality]()
            if faces := largest.faces:
                cut = sight.cut(decoded, faces, model)
                qualities = sight.assessed(decoded, faces, cut, model)
                vectors = sight.embedded(cut, model)
            seen = Largest(list(map(Detection, faces, qualities)), largest.left_out, largest.remarks)
            return Described(model, fingerprint_of(model), seen, vectors)

        described = with_its_model(service.gallery, sight.model, made)
    service.audit("embed", [])
    return described


def record(service: Service, gallery: Gallery, visit: Visit, fingerprint: str, search: Search) -> Event:
    """Tell who a visit was of, as recognition tells it of the mean of its vectors, and store it.

    It is on disk when this returns; one of the same id is replaced. Of its picture a small one is kept, as a
    face is kept of samples, if the service keeps faces of people like this one. A visit without vectors says
    only until when one of the same id went on: whose that was, and its picture, stay.

    Args:
        service: in whose gallery.
        gallery: the same.
        visit: to be stored.
        fingerprint: of its vectors; of none it does not matter.
        search: says what decides.

    Raises:
        InvalidRequest: it lies in the future, or its vectors cannot be the model's.
        ModelChanged: the gallery has another model.
        NotFound: it has no vectors, and none of this id is recorded.
        InvalidImage, ImageTooLarge, Overloaded, AuditUnavailable, EmbeddingUnavailable, ModelUnknown,
        GalleryUnavailable, GalleryModelMismatch, NotCalibrated, DiskFull, ClientGone.
    """
    if max(visit.since, visit.until or visit.since) > gallery.now() + AHEAD:
        raise InvalidRequest("since, until: more than a day from now; the camera's clock is wrong.")
    if not len(visit.vectors):
        return events.go_on(gallery, visit, service.events_kept_for)
    with service.admission():
        gallery.check_room()
        picture = None
        if visit.picture is not None:
            picture = service.sight.decoded(visit.picture)
            with stage("crop"):
                visit = replace(visit, picture=small_jpeg(picture.pixels))

        def recognised(own: Searched, model: Model) -> tuple[Recognition, str | None]:
            if fingerprint != fingerprint_of(model):
                own.check_there()  # where this process has missed a change
                raise ModelChanged("The vectors are of another model than the gallery's; make them anew.")
            probe = _mean(visit.vectors, model)
            unseen = np.full((5, 2), np.nan, np.float32)
            seen = Detection(Face(visit.box, 1.0, unseen), Quality(visit.quality))
            decided = service.decided(search, model)
            (recognition,) = service.identified([seen], probe[None], decided, own, model)
            if service.keep is None:
                return recognition, None
            return recognition, service.keep.visit(gallery, visit, picture, recognition, probe, model)

        recognition, unknown = with_its_model(service.gallery, service.sight.model, recognised)
        event = events.record(
            gallery,
            visit,
            recognition.matches[0] if recognition.matches else None,
            recognition.distance,
            recognition.false_match,
            unknown,
            keep_known=service.enroller.keep_faces,
            keep_unknown=service.keep is not None,
        )
        # The upkeep of a service does so, too, but not every process that watches cameras is one. Some at a
        # time: whoever sends a visit does not wait for all that a shorter EVENTS_EXPIRE_DAYS has made old.
        events.remove_some_expired(gallery, service.events_kept_for)
        return event


def _mean(vectors: NDArray[np.float32], model: Model) -> NDArray[np.float32]:
    """Return the mean of the directions of vectors, (n, d), as long as the model's vectors are: (d,).

    Raises:
        InvalidRequest: they have another length than the model's, or no direction.
    """
    if vectors.shape[1] != model.dimension:
        raise InvalidRequest(f"embeddings: a vector of this model has {model.dimension} values.")
    mean = template(vectors)
    if not mean.any():
        raise InvalidRequest("embeddings: they have no direction: all are zero, or they cancel out.")
    radius = model.distance_range[1] / 2  # the farthest two are opposite each other
    return (mean * radius).astype(np.float32)
