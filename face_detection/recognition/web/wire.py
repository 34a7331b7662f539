"""Requests to values: JSON, form fields and query parameters, all bounded. Pure: no Flask, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from recognition.bounds import NO_NUL, Action, Id, Metadata, Moment, Name, faults_of
from recognition.errors import InvalidRequest, NotFound, at
from recognition.faces import Enrolment
from serving import pictures as images

MAX_TOP_K = 100
MAX_PAGE = 1000
MAX_SAMPLES = 10_000  # in one request

Distance = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Image = Annotated[str, Field(description="the picture in base64, bare or behind data:image/...;base64,")]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class NewSample(_Strict):
    """One sample to enrol: the largest face of the picture counts."""

    id: Id
    name: Name
    image: Image
    metadata: Metadata = None
    action: Action | None = None
    expires_at: Moment | None = None


class RecogniseOptions(_Strict):
    """What a caller can set beside the picture; the defaults are the historical behaviour."""

    min_distance: Distance | None = None
    include_unknown: bool = False
    top_k: Annotated[int, Field(ge=1, le=MAX_TOP_K)] | None = None
    per: Literal["name", "sample"] = "name"
    limit: Annotated[int, Field(ge=0)] = 0


class RecogniseRequest(RecogniseOptions):
    """A picture, and how to look for its faces."""

    image: Image


class DrawQuery(BaseModel):
    """Whether the picture itself is wanted back, with boxes and names."""

    draw: bool = False


class DetectRequest(_Strict):
    """A picture."""

    image: Image


class VerifyOptions(_Strict):
    """From which distance on two faces are two people's."""

    min_distance: Distance | None = None


class VerifyRequest(VerifyOptions):
    """Two pictures, of which the largest faces are compared."""

    image1: Image
    image2: Image


class NameQuery(BaseModel):
    """Whose samples are meant.

    Unknown parameters are refused: DELETE /samples with a misspelt `name` would remove everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name | None = None


class SamplesQuery(NameQuery):
    """Which samples to list; `after` is the id after which they start."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    after: Annotated[str, Field(max_length=500, pattern=NO_NUL)] | None = None


NewSamples = Annotated[list[NewSample], Field(max_length=MAX_SAMPLES)]
_ID: TypeAdapter[str] = TypeAdapter(Id)
_SAMPLES: TypeAdapter[list[NewSample]] = TypeAdapter(NewSamples)


def parse_enrolments(body: bytes) -> list[Enrolment]:
    """Read the body of /update-samples.

    Raises:
        InvalidRequest: it is not a JSON array of samples.
    """
    with _faults_told():
        return [Enrolment(**dict(sample)) for sample in _SAMPLES.validate_json(body)]


def parse_recognise(body: bytes) -> tuple[bytes, RecogniseOptions]:
    """Read the JSON body of /face-recognition: the encoded picture and the options.

    Raises:
        InvalidRequest, InvalidImage.
    """
    with _faults_told():
        request = RecogniseRequest.model_validate_json(body)
    return images.from_base64(request.image), request


def parse_recognise_form(form: Mapping[str, str]) -> RecogniseOptions:
    """Read the options of /face-recognition from form fields, where numbers are text.

    Raises:
        InvalidRequest.
    """
    with _faults_told():
        return RecogniseOptions.model_validate(dict(form), strict=False)


def parse_draw_query(query: Mapping[str, str]) -> bool:
    """Read whether the picture is wanted back, with boxes and names.

    Raises:
        InvalidRequest.
    """
    with _faults_told():
        return DrawQuery.model_validate(dict(query)).draw


def parse_detect(body: bytes) -> bytes:
    """Read the JSON body of /detect: the encoded picture.

    Raises:
        InvalidRequest, InvalidImage.
    """
    with _faults_told():
        request = DetectRequest.model_validate_json(body)
    return images.from_base64(request.image)


def parse_verify(body: bytes) -> tuple[bytes, bytes, float | None]:
    """Read the JSON body of /verify: both encoded pictures and min_distance.

    Raises:
        InvalidRequest, InvalidImage.
    """
    with _faults_told():
        request = VerifyRequest.model_validate_json(body)
    with at("image1"):
        first = images.from_base64(request.image1)
    with at("image2"):
        second = images.from_base64(request.image2)
    return first, second, request.min_distance


def parse_verify_form(form: Mapping[str, str]) -> float | None:
    """Read the min_distance of /verify from form fields.

    Raises:
        InvalidRequest.
    """
    with _faults_told():
        return VerifyOptions.model_validate(dict(form), strict=False).min_distance


def parse_id(text: str) -> str:
    """Read the id of a sample.

    Raises:
        NotFound: no sample can have it, and a database may not even compare it.
    """
    try:
        return _ID.validate_python(text)
    except ValidationError as e:
        raise NotFound("There is no sample with this id.") from e


def parse_samples_query(query: Mapping[str, str]) -> SamplesQuery:
    """Read which samples GET /samples is to list.

    Raises:
        InvalidRequest.
    """
    with _faults_told():
        return SamplesQuery.model_validate(dict(query))


def parse_name_query(query: Mapping[str, str]) -> str | None:
    """Read the name whose samples are meant, None for all.

    Raises:
        InvalidRequest: a parameter other than `name`, or an empty one.
    """
    with _faults_told():
        return NameQuery.model_validate(dict(query)).name


@contextmanager
def _faults_told() -> Iterator[None]:
    """Say what is wrong and where, for the first few faults, without repeating what was sent."""
    try:
        yield
    except ValidationError as e:
        raise InvalidRequest(faults_of(e)) from e
