"""The values that travel through the service: boxes, faces, samples, matches. Nothing here does IO."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright picture: upper left corner (x, y), width and height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.w * self.h


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face.

    confidence: the detector's probability in [0, 1].
    landmarks: float32 (5, 2), x and y in pixels of the upright picture: the eye that is left in the
        picture, the eye that is right in it, the tip of the nose, the left and the right mouth corner; NaN
        for those that the detector does not find.
    """

    box: Box
    confidence: float
    landmarks: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One sample as a caller sends it. `image` is base64 text, with or without a data URI in front."""

    id: str
    name: str
    image: str
    metadata: Any = None
    action: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One enrolled face without its vector. `metadata` is any JSON value; the times are in UTC.

    expires_at: from this moment on it is as if the sample had been deleted; None: never.
    """

    id: str
    name: str
    metadata: Any
    action: str | None
    created: datetime
    modified: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """A sample, and the Euclidean distance of its vector to a probe's."""

    sample: Sample
    distance: float


@dataclass(frozen=True, slots=True)
class Model:
    """The embedding model, as the embedding service reports it.

    input_size: side of the square crops it takes, in pixels.
    threshold: the largest distance, exclusive, that still counts as the same person.
    distance_range: smallest and largest possible distance.
    fingerprint: names model, weights and preprocessing; vectors of different fingerprints are not comparable.
    """

    name: str
    dimension: int
    input_size: int
    threshold: float
    distance_range: tuple[float, float]
    fingerprint: str

    def similarity(self, distance: float) -> float:
        """Map a distance to [0, 1], linearly over the model's range: 1 is equal, 0 as far apart as can be."""
        low, high = self.distance_range
        return min(1.0, max(0.0, 1.0 - (distance - low) / (high - low)))
