"""Requests about what cameras see, to values. Pure, as wire.py is."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from recognition.bounds import CameraName, EventId, Id, Moment
from recognition.faces import Search, box_of
from recognition.visits import Visit
from recognition.web.wire import (
    DetectOptions,
    Image,
    InGallery,
    MaxFalseMatch,
    MinDistance,
    PageSize,
    Strict,
    cursor,
)
from serving.errors import NotFound

MAX_VECTORS = 32  # of one visit: the mean of more differs too little to matter
MAX_DIMENSION = 10_000  # no known model has more than 4,096
MAX_PX = 10**6
LARGEST = 1e15  # as in portable.py
MAX_CURSOR = 200  # characters of `next`: a time and an id, in base64

EventPath = Annotated[
    str, Field(description="The event's own id, a UUID.", examples=["0b4cba0e-6f37-4f0c-9b5a-7a2f6d1e8c11"])
]
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST, allow_inf_nan=False)]
Vector = Annotated[list[Number], Field(min_length=1, max_length=MAX_DIMENSION)]


def _bbox(text: str) -> str:
    box = box_of(text)
    if max(box.x, box.y, box.w, box.h) > MAX_PX or min(box.w, box.h) < 1:
        raise ValueError(f"a side below 1, or a number above {MAX_PX}")
    return text


class DescribeOptions(DetectOptions):
    """Whose vectors are wanted."""

    limit: Annotated[
        int,
        Field(
            ge=0,
            description="Look only at so many faces, the largest. Default: 0, all of them.",
            examples=[0],
        ),
    ] = 0


class DescribeRequest(DescribeOptions):
    """A picture, and whose vectors are wanted."""

    image: Image


class NewVisit(Strict):
    """One face before one camera, from when it came until it went."""

    id: Annotated[
        EventId,
        Field(description="A UUID of the caller's own; sent again it replaces the event. Required."),
    ]
    camera: Annotated[
        CameraName,
        Field(description="Its name. White space and what cannot be seen is treated as in names. Required."),
    ]
    since: Annotated[
        Moment, Field(description="When the face came: ISO 8601 with its offset from UTC. Required.")
    ]
    until: Annotated[Moment | None, Field(description="When it went. Default: null, it is still there.")] = (
        None
    )
    frames: Annotated[
        int, Field(ge=1, lt=2**31, description="In how many frames it was seen. Required.", examples=[31])
    ]
    bbox: Annotated[
        str,
        Field(
            pattern=r"^\d{1,7}, ?\d{1,7}, ?\d{1,7}, ?\d{1,7}$",
            description='Of the face in its best frame: "x, y, w, h" in pixels. Required.',
        ),
        AfterValidator(_bbox),
    ]
    quality: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            allow_inf_nan=False,
            description="Of the face in its best frame, as POST /embeddings tells it; below MIN_QUALITY it "
            "is given no name. Required.",
        ),
    ]
    fingerprint: Annotated[
        str,
        Field(
            min_length=1,
            max_length=200,
            description="Of the vectors, as POST /embeddings tells it; where the gallery has another one by "
            "now, the answer is `model_changed`. Required.",
        ),
    ]
    embeddings: Annotated[
        list[Vector],
        Field(
            max_length=MAX_VECTORS,
            description="The vectors of the face in its best frames. Their mean decides. None, of a visit "
            "that is recorded already: only its times and frames change. Required.",
        ),
    ]
    picture: Annotated[
        str | None,
        Field(
            description="The face with a margin, a picture in base64. It is made small, and kept if the "
            "server keeps such pictures: of somebody known with KEEP_FACES, of somebody unknown only with "
            "KEEP_UNKNOWN. Default: null, none."
        ),
    ] = None
    min_distance: MinDistance = None
    max_false_match: MaxFalseMatch = None

    @model_validator(mode="after")
    def refuse_contradictions(self) -> NewVisit:
        """Refuse two rules together, and a visit that ends before it begins."""
        if self.min_distance is not None and self.max_false_match is not None:
            raise ValueError("min_distance, max_false_match: send one of them")
        if self.until is not None and self.until < self.since:
            raise ValueError("until: before since")
        if len({len(vector) for vector in self.embeddings}) > 1:
            raise ValueError("embeddings: must all have the same length")
        return self

    def visit(self) -> Visit:
        """Say the same in the service's words."""
        return Visit(
            self.id,
            self.camera,
            self.since,
            self.until,
            self.frames,
            box_of(self.bbox),
            self.quality,
            np.array(self.embeddings, np.float32) if self.embeddings else np.empty((0, 0), np.float32),
            self.picture,
        )

    def search(self) -> Search:
        """Say what decides."""
        return Search(self.min_distance, max_false_match=self.max_false_match)


class WhichEvents(InGallery):
    """Which events are meant."""

    camera: Annotated[
        CameraName | None, Field(description="Only those of the camera of this name. Default: of all.")
    ] = None
    person: Annotated[
        Id | None, Field(description="Only those of the person with this id. Default: everybody's.")
    ] = None
    since: Annotated[
        Moment | None,
        Field(
            description="Only visits that began at this time or later: ISO 8601 with its offset from UTC. "
            "Default: from the first on.",
            examples=["2026-11-24T00:00:00Z"],
        ),
    ] = None
    until: Annotated[
        Moment | None,
        Field(
            description="Only visits that began before this time. Default: to the last.",
            examples=["2100-01-01T00:00:00Z"],
        ),
    ] = None


class EventsQuery(WhichEvents):
    """Which events to list."""

    limit: PageSize = 100
    after: Annotated[
        str | None, cursor(MAX_CURSOR, "`next` of the page before. Default: the newest ones.")
    ] = None


_ID: TypeAdapter[str] = TypeAdapter(EventId)


def parse_event_id(text: str) -> str:
    """Read the id of an event.

    Raises:
        NotFound: none can have it.
    """
    try:
        return _ID.validate_python(text)
    except ValidationError as e:
        raise NotFound("There is no event with this id.") from e
