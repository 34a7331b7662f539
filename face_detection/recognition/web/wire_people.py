"""Requests about people, and about whose a sample is, to values. Pure, as wire.py is."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from recognition.bounds import NO_NUL, Action, Id, Metadata, Moment, Name, NewExpiry, NewId, NewPersonId
from recognition.faces import NEVER, Enrolment, Mistaken, Person
from recognition.web.wire import (
    FACE,
    MAX_PAGE,
    DetectOptions,
    FaceChoice,
    InGallery,
    LowQualityToo,
    PageSize,
    Strict,
    Strictly,
    at_point,
    cursor,
    parse_text,
)
from serving.errors import InvalidRequest, NotFound

MAX_CURSOR = 6000  # characters of `next`: a search key, an id and a time, in base64

PersonId = Annotated[
    Id, Field(description="The person's id, percent-encoded, slashes, too.", examples=["eileen"])
]
PersonName = Annotated[Name, Field(description="Others may have it, too. Required.")]
PersonMetadata = Annotated[
    Metadata, Field(description="Any JSON of up to 64 KiB, such as consent and purpose. Default: null.")
]
Expiry = Annotated[
    NewExpiry | None,
    Field(
        description="From this time on the person is gone, with all samples: ISO 8601 with its offset from "
        "UTC, or `never`. Default: null, as the server's DEFAULT_EXPIRES_DAYS says, or never.",
        examples=["2036-12-31T23:59:59Z"],
    ),
]


class NewPerson(Strict):
    """A person to make."""

    id: Annotated[NewPersonId | None, Field(description="The caller's own. Default: null, a new UUID.")] = (
        None
    )
    name: PersonName
    metadata: PersonMetadata = None
    expires_at: Expiry = None


class _Changes(Strict):
    """Only what is sent is changed."""

    @field_validator("name", "person", check_fields=False)
    @classmethod
    def refuse_null(cls, sent: str | None) -> str | None:
        """Refuse null, which would mean nothing."""
        if sent is None:
            raise ValueError("must be text; leave it out to change nothing")
        return sent

    def changes(self) -> dict[str, Any]:
        """Return what was sent; `never` becomes None."""
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        return sent | {"expires_at": None} if sent.get("expires_at") == NEVER else sent


class PersonChanges(_Changes):
    """What to change of a person; what is not sent stays."""

    name: Annotated[Name | None, Field(description="Of all samples, too. Default: it stays.")] = None
    metadata: Annotated[
        Metadata, Field(description="Any JSON of up to 64 KiB; null removes it. Default: it stays.")
    ] = None
    expires_at: Annotated[
        NewExpiry | None,
        Field(
            description="From this time on the person is gone, with all samples; null or `never`: never. "
            "Default: it stays.",
            examples=["2036-12-31T23:59:59Z"],
        ),
    ] = None


class SampleChanges(_Changes):
    """What to change of a sample; what is not sent stays. No picture is needed."""

    person: Annotated[
        Id | None, Field(description="The id of the person to whom it moves. Default: it stays.")
    ] = None
    name: Annotated[
        Name | None,
        Field(description="It moves to the person of this name, made if need be. Default: it stays."),
    ] = None
    metadata: Annotated[
        Metadata, Field(description="Any JSON of up to 64 KiB; null removes it. Default: it stays.")
    ] = None
    action: Annotated[Action | None, Field(description="Free text; null removes it. Default: it stays.")] = (
        None
    )
    expires_at: Annotated[
        NewExpiry | None,
        Field(
            description="From this time on the sample is gone; null or `never`: never. Default: it stays.",
            examples=["2036-12-31T23:59:59Z"],
        ),
    ] = None

    @model_validator(mode="after")
    def refuse_both(self) -> SampleChanges:
        """Refuse a person and a name together: nobody knows which was meant."""
        if {"person", "name"} <= self.model_fields_set:
            raise ValueError("name, person: send one of them")
        return self


class Merge(Strict):
    """Whose the samples become."""

    into: Annotated[Id, Field(description="The id of the person who gets all samples. Required.")]


class Unmerge(Strict):
    """`merged` of the answer to a merge, as it is: who went with it, and what the merge was."""

    id: Annotated[Id, Field(description="Of the person who went. Required.")]
    name: PersonName
    metadata: PersonMetadata = None
    samples: Annotated[
        int, Field(ge=0, lt=2**63, description="How many the person had. Default: 0.", examples=[3])
    ] = 0
    created: Annotated[Moment, Field(description="When the person was made. Required.")]
    expires_at: Annotated[
        Moment | None,
        Field(
            description="When the person expires: ISO 8601 with its offset from UTC. Default: null, never.",
            examples=["2036-12-31T23:59:59Z"],
        ),
    ] = None
    by_hand: Annotated[
        bool, Field(description="Whether the person stays without samples. Default: false.", examples=[True])
    ] = False
    revision: Annotated[
        int, Field(ge=0, lt=2**63, description="Of the gallery, from the merge. Required.", examples=[17])
    ]

    def emptied(self) -> Person:
        """Say the same in the service's words."""
        return Person(
            self.id,
            self.name,
            self.metadata,
            self.created,
            self.created,
            self.expires_at,
            self.samples,
            self.by_hand,
        )


class PersonsQuery(InGallery):
    """Which people to list."""

    q: Annotated[
        str | None,
        Field(
            max_length=1000,
            pattern=NO_NUL,
            description="Only people with this part in their names, whatever its case and accents. "
            "Default: everybody.",
            examples=["eil"],
        ),
    ] = None
    limit: PageSize = 100
    after: Annotated[str | None, cursor(MAX_CURSOR)] = None


class DoctorQuery(InGallery):
    """Which samples to look at."""

    limit: Annotated[
        int,
        Field(ge=1, le=MAX_PAGE, description="How many samples in one part. Default: 100.", examples=[100]),
    ] = 100
    after: Annotated[
        str | None, cursor(MAX_CURSOR, "`next` of the part before. Default: the first part.")
    ] = None


class ErasureQuery(InGallery):
    """How to answer."""

    receipt: Annotated[
        bool, Field(description="Say what was erased, and when. Default: false.", examples=[True])
    ] = False


def _json(text: Any) -> Any:
    return from_json(text) if isinstance(text, str) else text


def _choice(text: str) -> FaceChoice:
    try:
        return FACE_CHOICE.validate_python(from_json(text) if text.startswith("{") else text)
    except ValueError as e:
        raise ValueError("neither `largest` nor `only`, nor JSON with `x` and `y`") from e


class UploadOptions(DetectOptions):
    """Whose faces are in the pictures, and what goes with each sample."""

    name: Annotated[
        Name | None,
        Field(
            description="Of the one person who has it, made if need be. Default: none, if `person` is sent.",
            examples=["Eileen Collins"],
        ),
    ] = None
    person: Annotated[
        Id | None, Field(description="The id of a person. Default: none, if `name` is sent.")
    ] = None
    metadata: Annotated[
        Metadata, BeforeValidator(_json), Field(description="JSON of up to 64 KiB. Default: null.")
    ] = None
    expires_at: Annotated[
        NewExpiry | None,
        Field(
            description="From this time on the samples are gone: ISO 8601 with its offset from UTC, or "
            "`never`. Default: as the server's DEFAULT_EXPIRES_DAYS says, or never.",
            examples=["2036-12-31T23:59:59Z"],
        ),
    ] = None
    face: Annotated[str, FACE] = "largest"
    accept_low_quality: LowQualityToo = False
    strict: Strictly = False

    @field_validator("face")
    @classmethod
    def check_face(cls, sent: str) -> str:
        """Refuse what says nothing about a face."""
        _choice(sent)
        return sent


class CorrectionOptions(UploadOptions):
    """Whose face it is, and what becomes of the sample that it was taken for."""

    id: Annotated[
        NewId | None, Field(description="Of the new sample. Default: a new UUID.", examples=["astronaut/2"])
    ] = None
    wrong_sample: Annotated[
        Id | None,
        Field(description="The id of the sample that the face was taken for. Default: none is put right."),
    ] = None
    wrong_person: Annotated[
        Id | None,
        Field(
            description="The id of the person whose `wrong_sample` was. If it is another's by now, nothing "
            "is done (`changed_meanwhile`). Default: whosever it is."
        ),
    ] = None
    then: Annotated[
        Literal["keep", "move", "remove"],
        Field(
            description="What becomes of `wrong_sample`: it stays, moves to the person whose face this is, "
            "or is removed. Default: keep.",
            examples=["keep"],
        ),
    ] = "keep"

    @model_validator(mode="after")
    def refuse_half_a_correction(self) -> CorrectionOptions:
        """Refuse what says what to do, and not with which sample, or that the new sample is the wrong one."""
        if self.wrong_sample is None and (self.then != "keep" or self.wrong_person is not None):
            raise ValueError("wrong_sample: Field required, with wrong_person and then")
        if self.wrong_sample is not None and self.wrong_sample == self.id:
            raise ValueError("id, wrong_sample: these are two samples")
        return self


_ID: TypeAdapter[str] = TypeAdapter(Id)
FACE_CHOICE: TypeAdapter[FaceChoice] = TypeAdapter(FaceChoice)


def parse_person_id(text: str) -> str:
    """Read the id of a person.

    Raises:
        NotFound: nobody can have it, and a database may not even compare it.
    """
    try:
        return _ID.validate_python(text)
    except ValidationError as e:
        raise NotFound("There is no person with this id.") from e


def parse_upload(form: Mapping[str, str], pictures: Sequence[bytes]) -> list[Enrolment]:
    """Read an upload: a sample of each picture, with a new id.

    Raises:
        InvalidRequest: also where neither a person nor a name is told, or both.
    """
    options = parse_text(UploadOptions, form)
    return [_enrolment(options, str(uuid.uuid4()), picture) for picture in pictures]


def parse_correction(form: Mapping[str, str], picture: bytes) -> tuple[Enrolment, Mistaken | None]:
    """Read a correction: the sample to enrol, and the one that its face was taken for, if it is to change.

    Raises:
        InvalidRequest: also where neither a person nor a name is told, or both.
    """
    options = parse_text(CorrectionOptions, form)
    enrolment = _enrolment(options, options.id or str(uuid.uuid4()), picture)
    if options.wrong_sample is None or options.then == "keep":
        return enrolment, None
    return enrolment, Mistaken(options.wrong_sample, options.then, options.wrong_person)


def _enrolment(options: UploadOptions, sample_id: str, picture: bytes) -> Enrolment:
    if (options.name is None) == (options.person is None):
        raise InvalidRequest("name, person: send one of them.")
    sent = {name: getattr(options, name) for name in UploadOptions.model_fields}
    return Enrolment(sample_id, image=picture, **{**sent, "face": at_point(_choice(options.face))})
