"""Requests about unknown people to values. Pure, as wire.py is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic.type_adapter import TypeAdapter

from recognition.bounds import Id, Name
from recognition.strangers import Deed
from recognition.web.wire import InGallery, Strict, cursor
from serving.errors import NotFound

MAX_PAGE = 100  # unknown people, of each of whom up to 100 faces are read
MAX_CURSOR = 1000  # characters of `next`: a number and an id, in base64

UnknownId = Annotated[
    Id,
    Field(
        description="The id of the unknown person, and behind `faces` that of the face.",
        examples=["0b7f5b0e-7a4b-4c36-9f6c-0f1f1f0f7a11"],
    ),
]
# What each action needs beside it, one of these; and what it takes.
NEEDS: dict[str, tuple[str, ...]] = {
    "name": ("name", "person"),
    "merge": ("into",),
    "ignore": (),
    "forget": (),
}


class UnknownAction(Strict):
    """What to do with an unknown person."""

    action: Annotated[
        Literal["name", "merge", "ignore", "forget"],
        Field(
            description="`name`: up to 10 of the best and most varied faces become samples of whoever "
            "`name` or `person` tells, and the others are removed. `merge`: all faces go to `into`. "
            "`ignore`: all faces are removed, and none is kept again of this person, who is told by the sum "
            "of their vectors. `forget`: all is removed, also of somebody who is ignored. Required."
        ),
    ]
    name: Annotated[
        Name | None,
        Field(
            description="With `name`: that of the one person who has it, made if need be. "
            "Default: null, if `person` is sent."
        ),
    ] = None
    person: Annotated[
        Id | None,
        Field(description="With `name`: the id of a person. Default: null, if `name` is sent."),
    ] = None
    into: Annotated[
        Id | None,
        Field(description="With `merge`: the id of another unknown person, who stays. Default: null."),
    ] = None

    @model_validator(mode="after")
    def refuse_what_the_action_does_not_take(self) -> UnknownAction:
        """Refuse an action without what it needs, or with what it does not take."""
        sent = {field for field in ("name", "person", "into") if getattr(self, field) is not None}
        needs = NEEDS[self.action]
        if strange := sorted(sent - set(needs)):
            raise ValueError(f"{', '.join(strange)}: {self.action} does not take this")
        if needs and len(sent) != 1:
            raise ValueError(
                f"{', '.join(needs)}: {self.action} needs {'one of them' if needs[1:] else 'this'}"
            )
        return self

    def deed(self) -> Deed:
        """Say the same in the service's words."""
        return Deed(self.action, self.name, self.person, self.into)


class UnknownsQuery(InGallery):
    """Which unknown people to list."""

    ignored: Annotated[
        bool,
        Field(description="Those who are ignored, in place of the others. Default: false.", examples=[False]),
    ] = False
    limit: Annotated[
        int, Field(ge=1, le=MAX_PAGE, description="How many on one page. Default: 100.", examples=[100])
    ] = 100
    after: Annotated[str | None, cursor(MAX_CURSOR)] = None


class ForgetQuery(InGallery):
    """Which unknown people to remove."""

    keep_ignored: Annotated[
        bool,
        Field(
            description="Let those who are ignored stay so, instead of forgetting them, too. Default: false.",
            examples=[False],
        ),
    ] = False


_ID: TypeAdapter[str] = TypeAdapter(Id)


def parse_unknown_id(text: str) -> str:
    """Read the id of an unknown person, or of a face.

    Raises:
        NotFound: nobody can have it, and a database may not even compare it.
    """
    try:
        return _ID.validate_python(text)
    except ValidationError as e:
        raise NotFound("There is no unknown person with this id.") from e
