"""Age and gender as they look to the embedding service, which tells them, and the other asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

SIDE = 224  # of the crops, in pixels: what deepface's networks take
PER_CALL = 4  # faces that are asked about at a time: about as much work as 32 vectors of FaceNet


@dataclass(frozen=True, slots=True)
class AgeRange:
    """Years, both ends included, and how probable they are together."""

    low: Annotated[int, Field(ge=0, le=100, description="The youngest age in years.")]
    high: Annotated[int, Field(ge=0, le=100, description="The oldest age in years.")]
    probability: Annotated[
        float, Field(ge=0, le=1, allow_inf_nan=False, description="Of all ages from low to high together.")
    ]


@dataclass(frozen=True, slots=True)
class Gender:
    """The more probable of the two that the network knows."""

    value: Annotated[Literal["female", "male"], Field(description="What the face is taken for.")]
    probability: Annotated[
        float, Field(ge=0, le=1, allow_inf_nan=False, description="How sure the network is; 0.5 and more.")
    ]


@dataclass(frozen=True, slots=True)
class Attributes:
    """What networks take a face for. It is a guess, and often wrong."""

    age: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            allow_inf_nan=False,
            description="Apparent age in years: the mean of what the network holds possible.",
        ),
    ]
    age_range: Annotated[
        AgeRange, Field(description="The narrowest years around it that have half of the probability.")
    ]
    gender: Annotated[Gender, Field(description="What gender the face looks like.")]
