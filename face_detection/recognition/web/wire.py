"""Requests to values: JSON, form fields and query parameters, all bounded. Pure: no Flask, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.json_schema import SkipJsonSchema

from recognition.bounds import NO_NUL, Action, Id, Metadata, Moment, Name, NewId
from recognition.faces import Enrolment, Search
from recognition.web.json_size import check_size
from serving.errors import NotFound
from serving.validation import faults_told

MAX_TOP_K = 100
MAX_PAGE = 1000
MAX_SAMPLES = 10_000  # in one request
MAX_FIELDS = 100  # in one object that is sent; there are fewer to know

Distance = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MinDistance = Annotated[
    Distance | None,
    Field(
        description="The largest distance, exclusive, at which two faces still count as one person's: "
        "a maximum, in spite of its historical name. Default: the model's own threshold, 9 for Facenet."
    ),
]
Image = Annotated[
    str, Field(description="The picture in base64, bare or behind `data:image/...;base64,`. Required.")
]
SmallFaces = Annotated[
    bool | None,
    Field(
        description="Search a large picture at full size, in parts, instead of shrinking it first. This "
        "finds small faces, and takes longer. Default: null, as the server's SMALL_FACES says.",
        examples=[True],
    ),
]

SampleId = Annotated[
    Id, Field(description="The sample's own id, percent-encoded, slashes, too.", examples=["astronaut/1"])
]


class _Strict(BaseModel):
    """Unknown fields are refused: a misspelt option must never be taken for its default."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def refuse_many_fields(cls, sent: Any) -> Any:
        """Refuse millions of unknown fields at once: noting a fault for each would take gigabytes."""
        if isinstance(sent, dict) and len(sent) > MAX_FIELDS:
            raise ValueError(f"more than {MAX_FIELDS} fields")
        return sent


class _Lax(BaseModel):
    """The same for queries, where numbers are text."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FacePoint(_Strict):
    """A place in the picture, in pixels after its EXIF orientation is applied."""

    x: Annotated[float, Field(ge=0, allow_inf_nan=False, description="From the left edge.", examples=[121])]
    y: Annotated[float, Field(ge=0, allow_inf_nan=False, description="From the upper edge.", examples=[117])]


class NewSample(_Strict):
    """One sample to enrol: the largest face of the picture counts, unless `face` says otherwise."""

    id: Annotated[
        NewId,
        Field(
            description="The caller's own, but not `.` or `..`; sent again it replaces the sample. Required."
        ),
    ]
    name: Annotated[
        Name,
        Field(
            description="Whose face it is. White space at the ends, and what cannot be seen, is left out; "
            "something must be left. Required."
        ),
    ]
    image: Image
    metadata: Annotated[
        Metadata, Field(description="Any JSON of up to 64 KiB, given back with a match. Default: null.")
    ] = None
    action: Annotated[
        Action | None, Field(description="Free text that is kept with the sample. Default: null.")
    ] = None
    expires_at: Annotated[
        Moment | None,
        Field(
            description="From this time on the sample is gone: ISO 8601 with its offset from UTC. "
            "Default: null, never.",
            examples=["2036-12-31T23:59:59Z"],
        ),
    ] = None
    face: Annotated[
        Literal["largest", "only"] | FacePoint | None,
        Field(
            description="Which face of the picture: `only` refuses a picture with several (`several_faces`), "
            'and `{"x": ..., "y": ...}` takes the face at that point. Default: largest.',
            examples=["largest"],
        ),
    ] = None
    accept_low_quality: Annotated[
        bool,
        Field(
            description="Enrol a face even if it is too poor to tell people apart. Default: false.",
            examples=[False],
        ),
    ] = False
    small_faces: SmallFaces = None

    def enrolment(self) -> Enrolment:
        """Say the same in the service's words."""
        at = (self.face.x, self.face.y) if isinstance(self.face, FacePoint) else self.face
        return Enrolment(**{**dict(self), "face": at or "largest"})


class DetectOptions(_Strict):
    """How to look for faces."""

    small_faces: SmallFaces = None


class RecogniseOptions(DetectOptions):
    """What a caller can set in addition to the picture; the defaults are the historical behaviour."""

    min_distance: MinDistance = None
    include_unknown: Annotated[
        bool, Field(description="List the faces like no sample's, too. Default: false.", examples=[True])
    ] = False
    top_k: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_TOP_K,
            description="Give each face up to so many `candidates`, the nearest first. Default: none.",
            examples=[3],
        ),
    ] = None
    per: Annotated[
        Literal["name", "sample"],
        Field(
            description="Whether candidates have different names, the nearest sample of each, or are "
            "simply the nearest samples. Default: name.",
            examples=["name"],
        ),
    ] = "name"
    limit: Annotated[
        int,
        Field(
            ge=0,
            description="Look only at so many faces, the largest. Default: 0, all of them.",
            examples=[0],
        ),
    ] = 0

    def search(self) -> Search:
        """Say the same in the service's words."""
        return Search(self.min_distance, self.top_k or 1, self.per == "name", self.limit, self.small_faces)


class RecogniseRequest(RecogniseOptions):
    """A picture, and how to look for its faces."""

    image: Image


class DrawQuery(_Lax):
    """Whether to answer with the picture itself, boxes and names drawn on it.

    Not in /openapi.json, where each call has one kind of answer, and POST /draw stands for it.
    """

    draw: SkipJsonSchema[bool] = False


class DetectRequest(DetectOptions):
    """A picture, and how to look for its faces."""

    image: Image


class VerifyOptions(DetectOptions):
    """How to look for faces, and from which distance on two are two people's."""

    min_distance: MinDistance = None


class VerifyRequest(VerifyOptions):
    """Two pictures, of which the largest faces are compared."""

    image1: Image
    image2: Image


class NameQuery(_Lax):
    """Whose samples are meant."""

    name: Annotated[
        Name | None,
        Field(description="Only the samples of this name, in whatever case. Default: all samples."),
    ] = None


class DeleteQuery(NameQuery):
    """Which samples to remove."""

    id: Annotated[
        Id | None,
        Field(
            description="Only the sample of this id, which may be `.` or `..`: paths lose these. "
            "Default: all samples."
        ),
    ] = None

    @model_validator(mode="after")
    def refuse_both(self) -> DeleteQuery:
        """Refuse an id and a name together: nobody knows which was meant."""
        if self.id is not None and self.name is not None:
            raise ValueError("id, name: send one of them")
        return self


class SamplesQuery(NameQuery):
    """Which samples to list."""

    limit: Annotated[
        int, Field(ge=1, le=MAX_PAGE, description="How many on one page. Default: 100.", examples=[100])
    ] = 100
    after: Annotated[
        str | None,
        Field(
            max_length=500,
            pattern=NO_NUL,
            description="The id after which the page starts, `next` of the page before. Default: the first.",
        ),
    ] = None


Kind = TypeVar("Kind", bound=BaseModel)
NewSamples = Annotated[list[NewSample], Field(max_length=MAX_SAMPLES)]
_ID: TypeAdapter[str] = TypeAdapter(Id)
_SAMPLES: TypeAdapter[list[NewSample]] = TypeAdapter(NewSamples)


def parse_enrolments(body: bytes) -> list[Enrolment]:
    """Read the body of /update-samples.

    Raises:
        InvalidRequest: it is not a JSON array of samples.
    """
    check_size(body)
    with faults_told(*NewSample.model_fields, *FacePoint.model_fields):
        return [sample.enrolment() for sample in _SAMPLES.validate_json(body)]


def parse_json(kind: type[Kind], body: bytes) -> Kind:
    """Read a JSON body that is one of the objects above.

    Raises:
        InvalidRequest.
    """
    check_size(body)
    with faults_told(*kind.model_fields):
        return kind.model_validate_json(body)


def parse_text(kind: type[Kind], sent: Mapping[str, str]) -> Kind:
    """Read form fields or the parameters of a query, where numbers are text.

    Raises:
        InvalidRequest.
    """
    with faults_told(*kind.model_fields):
        return kind.model_validate(dict(sent), strict=False)


def parse_id(text: str) -> str:
    """Read the id of a sample.

    Raises:
        NotFound: no sample can have it, and a database may not even compare it.
    """
    try:
        return _ID.validate_python(text)
    except ValidationError as e:
        raise NotFound("There is no sample with this id.") from e
