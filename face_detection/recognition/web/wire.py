"""Requests to values: JSON, form fields and query parameters, all bounded. Pure: no Flask, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from recognition.bounds import (
    MAX_METADATA_BYTES,
    NO_NUL,
    Action,
    GalleryName,
    Id,
    Metadata,
    Name,
    NewExpiry,
    NewId,
)
from recognition.faces import Choice, Enrolment, Search
from recognition.results import WithoutFace
from serving.errors import NotFound
from serving.json_size import check_size
from serving.validation import faults_told

MAX_TOP_K = 100
MAX_PAGE = 1000
MAX_SAMPLES = 10_000  # in one request
# In a body without pictures: as many as the largest metadata have bytes, of which two in three are marks.
MAX_SMALL_MARKS = MAX_METADATA_BYTES
MAX_FIELDS = 100  # in one object that is sent; there are fewer to know

Distance = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MinDistance = Annotated[
    Distance | None,
    Field(
        description="The largest distance, exclusive, at which two faces still count as one person's: "
        "a maximum, in spite of its historical name. Default: the model's own threshold, 9 for Facenet."
    ),
]
MaxFalseMatch = Annotated[
    float | None,
    Field(
        gt=0,
        le=0.5,
        allow_inf_nan=False,
        description="Decide by all samples of each person together, so that of strangers at most about this "
        "share gets a name in this gallery as it is now; in place of `min_distance`. Default: null, as the "
        "server's MAX_FALSE_MATCH says, or by `min_distance`.",
        examples=[0.01],
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


class Strict(BaseModel):
    """Unknown fields are refused: a misspelt option must never be taken for its default."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def refuse_many_fields(cls, sent: Any) -> Any:
        """Refuse millions of unknown fields at once: noting a fault for each would take gigabytes."""
        if isinstance(sent, dict) and len(sent) > MAX_FIELDS:
            raise ValueError(f"more than {MAX_FIELDS} fields")
        return sent


class Lax(BaseModel):
    """The same for queries, where numbers are text."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InGallery(Lax):
    """Which gallery a call is about."""

    gallery: Annotated[
        GalleryName | None,
        Field(
            description="The gallery that is searched or changed. A key may be for one alone. "
            "Default: that of the key, or `default`."
        ),
    ] = None


class NewGallery(Strict):
    """A gallery to make."""

    name: Annotated[
        GalleryName,
        Field(description="Up to 64 letters, digits and . _ -, of which the first is no . or -. Required."),
    ]


class NewModel(Strict):
    """The model that a gallery is to change to."""

    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=100,
            pattern=NO_NUL,
            description="As EMBEDDING_MODEL has it; the embedding service must have it prepared. Required.",
        ),
    ]
    without_face: Annotated[
        WithoutFace,
        Field(
            description="What becomes of samples of which no face is kept that can be read: the gallery does "
            "not change before they have been enrolled anew (`wait`); it changes, and they are not found "
            "before then (`leave`); or they are deleted once it has changed (`drop`). Default: `wait`."
        ),
    ] = "wait"


class FacePoint(Strict):
    """A place in the picture, in pixels after its EXIF orientation is applied."""

    x: Annotated[float, Field(ge=0, allow_inf_nan=False, description="From the left edge.", examples=[121])]
    y: Annotated[float, Field(ge=0, allow_inf_nan=False, description="From the upper edge.", examples=[117])]


FaceChoice = Literal["largest", "only"] | FacePoint | None
FACE: Any = Field(
    description="Which face of the picture: `only` refuses a picture with several (`several_faces`), "
    'and `{"x": ..., "y": ...}` takes the face at that point. Default: largest.',
    examples=["largest"],
)
LowQualityToo = Annotated[
    bool,
    Field(
        description="Enrol a face even if it is too poor to tell people apart. Default: false.",
        examples=[False],
    ),
]
Strictly = Annotated[
    bool,
    Field(
        description="Refuse what would be enrolled with a warning: `several_faces`, `low_quality`, "
        "`same_picture`, `looks_like` or `unlike_own`. Default: false.",
        examples=[False],
    ),
]


def at_point(face: FaceChoice) -> Choice:
    """Say which face is meant in the service's words."""
    return (face.x, face.y) if isinstance(face, FacePoint) else face or "largest"


class NewSample(Strict):
    """One sample to enrol: the largest face of the picture counts, unless `face` says otherwise."""

    id: Annotated[
        NewId,
        Field(
            description="The caller's own, but not `.` or `..`; sent again it replaces the sample. Required."
        ),
    ]
    person: Annotated[
        Id | None,
        Field(description="The id of the person whose face it is, in place of the name. Default: null."),
    ] = None
    name: Annotated[
        Name | None,
        Field(
            validate_default=True,
            description="Whose face it is: the one person of this name, made if need be. White space at the "
            "ends, and what cannot be seen, is left out; something must be left. Default: null, "
            "if `person` is sent.",
        ),
    ] = None
    image: Image
    metadata: Annotated[
        Metadata, Field(description="Any JSON of up to 64 KiB, given back with a match. Default: null.")
    ] = None
    action: Annotated[
        Action | None, Field(description="Free text that is kept with the sample. Default: null.")
    ] = None
    expires_at: Annotated[
        NewExpiry | None,
        Field(
            description="From this time on the sample is gone: ISO 8601 with its offset from UTC, or "
            "`never`. Default: null, as the server's DEFAULT_EXPIRES_DAYS says, or never.",
            examples=["2036-12-31T23:59:59Z"],
        ),
    ] = None
    face: Annotated[FaceChoice, FACE] = None
    accept_low_quality: LowQualityToo = False
    strict: Strictly = False
    small_faces: SmallFaces = None

    @field_validator("name")
    @classmethod
    def need_a_person(cls, name: str | None, info: ValidationInfo) -> str | None:
        """Refuse a sample of nobody."""
        if name is None and info.data.get("person") is None:
            raise PydanticCustomError("missing", "Field required")
        return name

    def enrolment(self) -> Enrolment:
        """Say the same in the service's words."""
        return Enrolment(**{**dict(self), "face": at_point(self.face)})


class DetectOptions(Strict):
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
            description="Whether candidates are different people, whatever they are called, the nearest "
            "sample of each, or simply the nearest samples. Default: name, different people.",
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
    max_false_match: MaxFalseMatch = None

    @model_validator(mode="after")
    def refuse_both(self) -> RecogniseOptions:
        """Refuse two rules together: nobody knows which was meant."""
        if self.min_distance is not None and self.max_false_match is not None:
            raise ValueError("min_distance, max_false_match: send one of them")
        return self

    def search(self) -> Search:
        """Say the same in the service's words."""
        return Search(
            self.min_distance,
            self.top_k or 1,
            self.per == "name",
            self.limit,
            self.small_faces,
            self.max_false_match,
        )


class RecogniseRequest(RecogniseOptions):
    """A picture, and how to look for its faces."""

    image: Image


class DrawQuery(InGallery):
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


class NameQuery(InGallery):
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


PageSize = Annotated[
    int, Field(ge=1, le=MAX_PAGE, description="How many on one page. Default: 100.", examples=[100])
]


def cursor(longest: int, description: str = "`next` of the page before. Default: the first page.") -> Any:
    """Describe what `next` of a page was, which is opaque: base64 of at most so many characters."""
    return Field(max_length=longest, pattern=r"^[A-Za-z0-9_=-]*$", description=description)


class CountQuery(NameQuery):
    """Which samples to count."""

    person: Annotated[
        Id | None, Field(description="Only the samples of the person with this id. Default: all samples.")
    ] = None

    @model_validator(mode="after")
    def refuse_both(self) -> CountQuery:
        """Refuse a person and a name together: nobody knows which was meant."""
        if self.person is not None and self.name is not None:
            raise ValueError("person, name: send one of them")
        return self


class SamplesQuery(CountQuery):
    """Which samples to list."""

    limit: PageSize = 100
    after: Annotated[
        str | None,
        Field(
            max_length=500,
            pattern=NO_NUL,
            description="The id after which the page starts, `next` of the page before. Default: the first.",
        ),
    ] = None


class ExportQuery(InGallery):
    """What the file has."""

    faces: Annotated[
        bool,
        Field(
            description="With the pictures that are kept of the faces. Default: false, without.",
            examples=[True],
        ),
    ] = False


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
    return _read(kind, body)


def parse_small(kind: type[Kind], body: bytes) -> Kind:
    """Read a JSON body without pictures, for which nobody waits for a turn.

    Raises:
        InvalidRequest.
    """
    check_size(body, MAX_SMALL_MARKS)
    return _read(kind, body)


def _read(kind: type[Kind], body: bytes) -> Kind:
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
