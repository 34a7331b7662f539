"""The JSON of the answers about a gallery's models, as types; as answers.py has the others."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from recognition.results import WithoutFace
from recognition.web.answers import Total


class ModelChange(TypedDict):
    """Which models a gallery has vectors of, and how far a change is."""

    model: Annotated[
        str | None,
        Field(description="The model that is searched; null: the embedding service's own, whichever it is."),
    ]
    other: Annotated[
        str | None,
        Field(description="The model of the other vectors; null: none, or not known."),
    ]
    has_other: Annotated[bool, Field(description="Whether samples have vectors of another model, too.")]
    samples: Total
    done: Annotated[int, Field(ge=0, description="How many samples have a vector of the other model.")]
    waiting: Annotated[
        int,
        Field(
            ge=0,
            description="How many have none of the model that the gallery changes to, or has changed to; "
            "of these no face is kept that could be read, unless the change is still running.",
        ),
    ]
    waiting_samples: Annotated[list[str], Field(description="The ids of the first of these, ascending.")]
    to: Annotated[str | None, Field(description="The model of a change that is not complete, or null.")]
    without_face: Annotated[
        WithoutFace | None, Field(description="What becomes of samples without a face, or null.")
    ]
    running: Annotated[bool, Field(description="Whether somebody is at work on it.")]
    resumes: Annotated[
        bool,
        Field(
            description="Whether services go on with it by themselves while nobody is at work on it; "
            "otherwise it waits for the same call."
        ),
    ]
    trouble: Annotated[
        str | None,
        Field(description="The code of what holds it up: `without_face`, or that of an error; or null."),
    ]
