"""The JSON of the answers about unknown people, as types; as answers.py has the others."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from recognition.web.answers import Distance, FalseMatch, PersonId, PersonName, Quality, Time

UnknownId = Annotated[str, Field(description="Of this unknown person, as long as there is any face.")]


class Likeness(TypedDict):
    """Somebody who is enrolled, and is probably meant: enrolled since, perhaps, or by other pictures."""

    person: PersonId
    name: PersonName
    sample: Annotated[str, Field(description="The id of the nearest sample.")]
    distance: Annotated[Distance, Field(description="From it to the mean of the faces: small is similar.")]
    false_match: FalseMatch


class Unknown(TypedDict):
    """Faces like no sample's, which are probably one person's; times in ISO 8601, UTC."""

    id: UnknownId
    faces: Annotated[int, Field(ge=0, description="How many are kept, at most 100; 0 of somebody ignored.")]
    best: Annotated[
        list[str],
        Field(
            description="The ids of up to four faces that have pictures, the best first; none: none is kept."
        ),
    ]
    cameras: Annotated[list[str], Field(description="Where they were seen, as far as that is known.")]
    first_seen: Time
    last_seen: Time
    expires_at: Annotated[
        str | None,
        Field(description="When the last face goes: ISO 8601, UTC; null: never, of somebody ignored."),
    ]
    ignored: Annotated[bool, Field(description="Whether no face of them is kept any more.")]
    looks_like: Annotated[Likeness | None, Field(description="Who this probably is; null: nobody enrolled.")]


class Unknowns(TypedDict):
    """One page of unknown people."""

    unknowns: Annotated[list[Unknown], Field(description="Those with the most faces first.")]
    total: Annotated[int, Field(ge=0, description="How many there are on all pages.")]
    next: Annotated[
        str | None, Field(description="What to send as `after` for the next page; null on the last.")
    ]
    keeping: Annotated[bool, Field(description="Whether faces are kept now: KEEP_UNKNOWN.")]


class UnknownFace(TypedDict):
    """One face of an unknown person."""

    id: Annotated[str, Field(description="Of this face.")]
    quality: Quality
    seen: Time
    camera: Annotated[str | None, Field(description="Where it was seen; null: not known.")]
    picture: Annotated[bool, Field(description="Whether a picture of it is kept.")]


class UnknownShown(Unknown):
    """An unknown person with all faces."""

    seen: Annotated[
        list[UnknownFace], Field(description="Those with pictures first, the best of them first.")
    ]


class Acted(TypedDict):
    """What has become of an unknown person."""

    success: Annotated[list[str], Field(description="The id of the unknown person.")]
    person: NotRequired[Annotated[str, Field(description="Of `name`: the id of who this is.")]]
    samples: NotRequired[
        Annotated[list[str], Field(description="Of `name`: the ids of the samples that faces have become.")]
    ]


class Forgotten(TypedDict):
    """All unknown people were removed."""

    success: Annotated[str, Field(description="Says that they are gone.")]
    deleted: Annotated[int, Field(ge=0, description="How many there were.")]
