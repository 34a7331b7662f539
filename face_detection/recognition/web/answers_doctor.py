"""The JSON of the answers about what may be wrong in a gallery, as types; as answers.py has the others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from recognition.results import Action, What
from recognition.web.answers import PersonId, PersonName, Quality, SampleId, Total


class Suspect(TypedDict):
    """A sample that shows a finding."""

    id: SampleId
    person: PersonId
    name: PersonName
    quality: Annotated[Quality | None, Field(description="Of the face; null: not known.")]


class Advice(TypedDict):
    """Something that can be done about a finding."""

    action: Annotated[Action, Field(description="What to do.")]
    person: PersonId
    sample: Annotated[str | None, Field(description="The id of the sample to move or delete, or null.")]
    into: Annotated[
        str | None, Field(description="The id of the person to whom samples go: all, or this one; or null.")
    ]


class Finding(TypedDict):
    """Something that may be wrong."""

    id: Annotated[str, Field(description="The same wherever the same thing is found again.")]
    what: Annotated[What, Field(description="What is wrong; the documentation explains each.")]
    sure: Annotated[float, Field(ge=0, le=1, description="How sure it is that something is wrong.")]
    detail: Annotated[str, Field(description="For people.")]
    samples: Annotated[
        list[Suspect], Field(description="One or two that show it; the first is the one in question.")
    ]
    distance: Annotated[float | None, Field(description="Between the two samples; null if there is one.")]
    own: Annotated[
        float | None,
        Field(description="From the first sample to the nearest of its own person, or null."),
    ]
    advice: Annotated[list[Advice], Field(description="What can be done, the likeliest first.")]


class Examined(TypedDict):
    """What a part of the check has found."""

    findings: Annotated[list[Finding], Field(description="The surest first.")]
    examined: Annotated[int, Field(ge=0, description="How many samples this part has looked at.")]
    total: Total
    next: Annotated[
        str | None, Field(description="What to send as `after` for the next part; null after the last.")
    ]
