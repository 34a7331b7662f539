"""Visits that cameras see, and the events that the service makes of them. Nothing here does IO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from typing_extensions import TypedDict

from recognition.faces import Box, Encoded, bbox, box_of


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """One face before one camera from when it came until it went, before anybody knows whose it is.

    id: a UUID, as text; the same visit that is sent again has the same.
    camera: its name, as it is stored.
    since, until: in UTC; until is None while the face is still there.
    frames: in how many it was seen, at least 1.
    box: of the face in its best frame, in pixels of the upright frame.
    quality: of the face in its best frame, in [0, 1].
    vectors: float32 (n, d), of its n best frames, n in 1 to 32, all of one model; none, (0, 0), of a visit
        that is recorded already, and only goes on or ends.
    picture: the face with a margin, a picture in any format, or in base64; None: there is none.
    """

    id: str
    camera: str
    since: datetime
    until: datetime | None
    frames: int
    box: Box
    quality: float
    vectors: NDArray[np.float32]
    picture: Encoded | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Event:
    """A visit, and who it was.

    id, camera, since, until, frames, box, quality: as in `Visit`.
    name, person, sample: of whose face it is: the name, the person's id, and the id of the nearest sample;
        None of somebody unknown. `sample` is None, too, once that sample is gone.
    distance: of the visit's mean vector to the nearest sample, to two decimals; None of somebody unknown.
    false_match: the share of strangers that would come as near to somebody here, to two digits; None of
        somebody unknown, and where it cannot be told.
    unknown: the id of the group of unknown faces that it is in; None: in none.
    picture: whether a picture of the face is kept.
    """

    id: str
    camera: str
    since: datetime
    until: datetime | None
    frames: int
    name: str | None
    person: str | None
    sample: str | None
    distance: float | None
    false_match: float | None
    box: Box
    quality: float
    unknown: str | None = None
    picture: bool = False


class EventJson(TypedDict):
    """An event as HTTP, webhooks, MQTT and JSON lines have it; times in ISO 8601, UTC."""

    id: Annotated[str, Field(description="The UUID that the caller gave the visit.")]
    camera: Annotated[str, Field(description="The camera's name.")]
    since: Annotated[str, Field(description="When the face came, by the camera's clock: ISO 8601, UTC.")]
    until: Annotated[str | None, Field(description="When it went: ISO 8601, UTC; null: it is still there.")]
    frames: Annotated[int, Field(ge=1, description="In how many frames it was seen.")]
    name: Annotated[str | None, Field(description="Whose face it was; null: somebody unknown.")]
    person: Annotated[str | None, Field(description="The id of whose face it was; null: somebody unknown.")]
    sample: Annotated[
        str | None, Field(description="The id of the nearest sample; null: of somebody unknown, or gone.")
    ]
    distance: Annotated[
        float | None,
        Field(
            description="Of the mean vector to the nearest sample, to two decimals; null: somebody unknown."
        ),
    ]
    false_match: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="The share of strangers that would come as near to somebody here, an estimate; null "
            "where it cannot be told.",
        ),
    ]
    bbox: Annotated[
        str,
        Field(
            pattern=r"^\d+, \d+, \d+, \d+$",
            description='In the best frame: "x, y, w, h" in pixels of the upright picture.',
        ),
    ]
    quality: Annotated[float, Field(ge=0, le=1, description="Of the face in its best frame.")]
    unknown: Annotated[
        str | None, Field(description="The id of its group of unknown faces; null: it is in none.")
    ]
    picture: Annotated[bool, Field(description="Whether `GET /events/<id>/picture` has a picture of it.")]


def as_json(event: Event) -> EventJson:
    """Render an event: times in ISO 8601, UTC; the box as "x, y, w, h" in whole pixels."""
    return {
        "id": event.id,
        "camera": event.camera,
        "since": event.since.isoformat(),
        "until": event.until.isoformat() if event.until else None,
        "frames": event.frames,
        "name": event.name,
        "person": event.person,
        "sample": event.sample,
        "distance": event.distance,
        "false_match": event.false_match,
        "bbox": bbox(event.box),
        "quality": event.quality,
        "unknown": event.unknown,
        "picture": event.picture,
    }


def from_json(answer: Mapping[str, Any]) -> Event:
    """Read what `as_json` has made; what a newer service says beside it is passed over.

    Raises:
        KeyError, TypeError, ValueError: it is no event.
    """
    fields = {name: answer[name] for name in EventJson.__annotations__ if name != "bbox"}
    return Event(
        **{
            **fields,
            "since": _moment(answer["since"]),
            "until": None if answer["until"] is None else _moment(answer["until"]),
            "box": box_of(answer["bbox"]),
        }
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
