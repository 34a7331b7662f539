"""What a watcher asks the service: whose faces are in a frame, and who a visitor was."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from recognition.cameras.reach import FaceSeen, FrameRefused, ServiceAway, ServiceBusy, Sight, VisitRefused
from recognition.cli.recognise import ONE_PICTURES_FAULT
from recognition.client import Client, ServiceError
from recognition.errors import ModelChanged
from recognition.faces import Face, bbox, box_of
from recognition.visits import Event, Visit, from_json
from serving.errors import NotFound

# What ends the watching: it would be the same for each frame, until somebody changes the command or the key.
LASTING = {"unauthorized", "forbidden", "not_found", "misdirected_request", "invalid_request"}
BUSY = {"overloaded", "rate_limited"}
# Of one frame or visit, at which others would wait for ever if it were tried again and again.
REFUSED = {"internal_error", "unexpected_answer", *ONE_PICTURES_FAULT}

Answer = TypeVar("Answer")


@dataclass(slots=True)
class Asked:
    """The service as watchers want it. Several threads may ask at the same time.

    min_distance, max_false_match, small_faces: as in /face-recognition.
    """

    client: Client
    min_distance: float | None = None
    max_false_match: float | None = None
    small_faces: bool | None = None
    _cosines: dict[str, float] = field(default_factory=dict)

    def see(self, jpeg: bytes) -> Sight:
        """Find the faces of a frame, largest first."""
        answer = asked(lambda: self.client.embeddings(jpeg, small_faces=self.small_faces))
        fingerprint = answer["fingerprint"]
        if fingerprint not in self._cosines:
            self._cosines = {fingerprint: _cosine(asked(self.client.ready))}
        return Sight(fingerprint, self._cosines[fingerprint], [_face(each) for each in answer["faces"]])

    def record(self, visit: Visit, fingerprint: str) -> Event:
        """Say who a visitor was."""
        picture = visit.picture if isinstance(visit.picture, bytes) else None
        body = {
            "id": visit.id,
            "camera": visit.camera,
            "since": visit.since.isoformat(),
            "until": visit.until.isoformat() if visit.until else None,
            "frames": visit.frames,
            "bbox": bbox(visit.box),
            "quality": visit.quality,
            "fingerprint": fingerprint,
            "embeddings": visit.vectors.tolist(),
            "min_distance": self.min_distance,
            "max_false_match": self.max_false_match,
        }
        try:
            return from_json(self.client.record(body, picture))
        except ServiceError as e:
            if e.code == ModelChanged.code:
                raise ModelChanged(e.detail) from e
            if e.code == NotFound.code and not len(visit.vectors):
                raise NotFound(e.detail) from e
            if e.code in REFUSED or e.code == "invalid_request":
                raise VisitRefused(e.detail) from e
            raise _translated(e) from e


def asked(question: Callable[[], Answer]) -> Answer:
    """Ask the service.

    Raises:
        ServiceAway, ServiceBusy: it will answer later; FrameRefused: others; ServiceError: nothing.
    """
    try:
        return question()
    except ServiceError as e:
        raise _translated(e) from e


def _translated(error: ServiceError) -> Exception:
    if error.code in LASTING:
        return error
    if error.code in REFUSED:
        return FrameRefused(error.detail)
    return ServiceBusy(error.detail) if error.code in BUSY else ServiceAway(error.detail)


def _cosine(ready: Mapping[str, Any]) -> float:
    """Return the cosine at the model's threshold; vectors are half as long as the largest distance."""
    of_length_1: float = 2 * ready["threshold"] / ready["distance_range"][1]
    return 1 - of_length_1**2 / 2


def _face(answer: Mapping[str, Any]) -> FaceSeen:
    landmarks = [point or (math.nan, math.nan) for point in answer["landmarks"].values()]
    face = Face(box_of(answer["bbox"]), answer["confidence"], np.array(landmarks, np.float32))
    return FaceSeen(face, answer["quality"], np.array(answer["embedding"], np.float32))
