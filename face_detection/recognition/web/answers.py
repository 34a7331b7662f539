"""The JSON of the answers, as types: render.py is held to them by mypy, and /openapi.json is made of them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

Bbox = Annotated[
    str, Field(pattern=r"^\d+, \d+, \d+, \d+$", description='"x, y, w, h" in pixels of the upright picture')
]
Similarity = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Point = Annotated[list[float], Field(min_length=2, max_length=2, description="x, y in pixels")]
Total = Annotated[int, Field(ge=0)]


class Fault(TypedDict):
    """Why one picture of an enrolment failed."""

    code: str
    detail: str


class Enrolled(TypedDict):
    """Each id sent is in `success` or in `fail`, and then also in `errors`."""

    success: list[str]
    fail: list[str]
    errors: dict[str, Fault]


class Candidate(TypedDict):
    """One of the nearest samples of a face."""

    id: str
    name: str
    metadata: JsonValue
    distance: float
    similarity: Similarity


class RecognisedFace(TypedDict):
    """A face and its nearest sample; id, name and metadata are empty for an unknown face."""

    bbox: Bbox
    id: str
    metadata: JsonValue
    name: str
    distance: float | None
    similarity: Similarity | None
    confidence: Probability
    candidates: NotRequired[list[Candidate]]


class Landmarks(TypedDict):
    """Left and right as seen in the picture; null where the detector does not find one."""

    left_eye: Point | None
    right_eye: Point | None
    nose: Point | None
    mouth_left: Point | None
    mouth_right: Point | None


class DetectedFace(TypedDict):
    """A face and where it is."""

    bbox: Bbox
    confidence: Probability
    landmarks: Landmarks


class Verified(TypedDict):
    """Whether the largest faces of two pictures are one person's: distance < threshold."""

    verified: bool
    distance: float
    threshold: float
    similarity: Similarity
    bbox1: Bbox
    bbox2: Bbox


class StoredSample(TypedDict):
    """A sample without its vector; times in ISO 8601, UTC."""

    id: str
    name: str
    metadata: JsonValue
    action: str | None
    created: str
    modified: str
    expires_at: str | None


class Samples(TypedDict):
    """One page of samples; `next` is what to send as `after` for the following one, null on the last."""

    samples: list[StoredSample]
    total: Total
    next: str | None


class Count(TypedDict):
    """How many samples there are."""

    count: Total


class Cleared(TypedDict):
    """Every sample was removed, or `deleted` of them, those of the name asked for."""

    success: str
    deleted: NotRequired[Total]


class Deleted(TypedDict):
    """The id of the sample that was removed."""

    success: list[str]


class Imported(TypedDict):
    """How many samples of a file were stored, and how many were there already."""

    imported: Total
    unchanged: Total


class Ready(TypedDict):
    """A recognition from end to end has just worked."""

    status: Literal["ready"]
    version: str
    model: str
    threshold: float
    distance_range: tuple[float, float]
    gallery: GallerySize
    authentication: bool


class GallerySize(TypedDict):
    """How many samples are enrolled."""

    samples: Total
