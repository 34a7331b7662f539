"""The JSON of the answers about what cameras see, as types, as in answers.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from recognition.visits import EventJson
from recognition.web.answers import DetectedFace


class DescribedFace(DetectedFace):
    """A face and its vector."""

    embedding: Annotated[list[float], Field(description="Its vector, by the model of the gallery.")]


class Described(TypedDict):
    """The faces of a picture, largest first, and what made their vectors."""

    model: Annotated[str, Field(description="The name of the gallery's embedding model.")]
    fingerprint: Annotated[
        str, Field(description="Names what made the vectors; those of different ones cannot be compared.")
    ]
    faces: Annotated[list[DescribedFace], Field(description="The largest first; none where there is none.")]


class Event(EventJson):
    """A visit that a camera saw, and who it was; times in ISO 8601, UTC."""


class Events(TypedDict):
    """One page of events."""

    events: Annotated[list[Event], Field(description="The newest first, by when they began.")]
    total: Annotated[int, Field(ge=0, description="How many there are on all pages.")]
    next: Annotated[
        str | None, Field(description="What to send as `after` for the next page; null on the last.")
    ]
    cameras: Annotated[
        list[str], Field(description="The names of the cameras that have events, at most 1,000.")
    ]


class EventsRemoved(TypedDict):
    """The events that were asked for are gone."""

    success: Annotated[str, Field(description="Says that they are gone.")]
    deleted: Annotated[int, Field(ge=0, description="How many there were.")]
