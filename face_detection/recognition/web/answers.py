"""The JSON of the answers, as types: render.py is held to them by mypy, and /openapi.json is made of them."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import ConfigDict, Field, JsonValue, with_config
from typing_extensions import TypedDict

from serving.model import Range
from serving.notices import Notice

SampleId = Annotated[str, Field(description="The sample's own id, as the caller chose it.")]
PersonName = Annotated[str, Field(description="Whose face it is.")]
PersonId = Annotated[str, Field(description="The id of whose face it is.")]
Metadata = Annotated[JsonValue, Field(description="What was stored with the sample; null if nothing was.")]
Bbox = Annotated[
    str, Field(pattern=r"^\d+, \d+, \d+, \d+$", description='"x, y, w, h" in pixels of the upright picture.')
]
Distance = Annotated[float, Field(description="Between the vectors of two faces: small is similar.")]
Similarity = Annotated[
    float, Field(ge=0, le=1, description="1 for the same picture; falls as the distance grows.")
]
FalseMatch = Annotated[
    float | None,
    Field(
        ge=0,
        le=1,
        description="The share of strangers that would come as near to somebody here, an estimate; "
        "null where it cannot be told.",
    ),
]
Probability = Annotated[float, Field(ge=0, le=1, description="The detector's, that this is a face.")]
Point = Annotated[list[float], Field(min_length=2, max_length=2, description="x, y in pixels.")]
Time = Annotated[str, Field(description="ISO 8601, UTC.")]
Success = Annotated[str, Field(description="Says that they are gone.")]
Total = Annotated[int, Field(ge=0, description="How many samples.")]


FileName = Annotated[str, Field(description="Of an uploaded picture, as it was sent.")]
Quality = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="How well the face can be told from others; below MIN_QUALITY it is too poor for a name.",
    ),
]


class Reason(TypedDict):
    """One thing that is wrong with a face."""

    code: Annotated[str, Field(description="For programs: `blurred`, `small`, `dark`, `covered`, ...")]
    value: Annotated[float, Field(description="As measured; the documentation has the units.")]
    limit: Annotated[float, Field(description="What the value does not reach, or goes beyond.")]


Reasons = Annotated[
    list[Reason], Field(description="What is wrong with the face, the worst first; usually nothing.")
]


@with_config(ConfigDict(extra="allow"))  # what goes with a code
class PictureWarning(TypedDict):
    """Something worth knowing of a picture that was processed nevertheless."""

    code: Annotated[str, Field(description="For programs: `several_faces`, `looks_like`, `truncated`, ...")]
    detail: Annotated[str, Field(description="For people.")]


class Fault(TypedDict):
    """Why one picture of an enrolment failed."""

    code: Annotated[str, Field(description="For programs: `no_face`, `invalid_image`, ...")]
    detail: Annotated[str, Field(description="For people.")]
    persons: NotRequired[
        Annotated[list[str], Field(description="With `ambiguous_name`: the ids of all who have the name.")]
    ]
    file: NotRequired[FileName]
    quality: NotRequired[Quality]
    reasons: NotRequired[Reasons]
    warnings: NotRequired[
        Annotated[list[PictureWarning], Field(description="With `strict`: what would have been warned of.")]
    ]


class SampleSeen(TypedDict):
    """What was seen in the picture of a sample that is stored now."""

    person: PersonId
    faces: Annotated[int, Field(ge=1, description="How many the picture has.")]
    bbox: Bbox
    quality: Quality
    reasons: Reasons
    warnings: Annotated[
        list[PictureWarning], Field(description="What is worth knowing of it; usually nothing.")
    ]
    file: NotRequired[FileName]


class Enrolled(TypedDict):
    """Each id sent is in `success`, and then also in `samples`, or in `fail`, and then also in `errors`."""

    success: Annotated[list[str], Field(description="Ids of the samples that are stored now.")]
    fail: Annotated[list[str], Field(description="Ids for which nothing was stored or changed.")]
    errors: Annotated[dict[str, Fault], Field(description="Why, for each id in `fail`.")]
    samples: Annotated[
        dict[str, SampleSeen], Field(description="What was seen in the picture, for each id in `success`.")
    ]


class Corrected(SampleSeen):
    """The new sample, and what became of the one that its face was taken for."""

    id: Annotated[str, Field(description="Of the new sample.")]
    moved: Annotated[
        list[str], Field(description="The id of the wrong sample, if it is the right person's now.")
    ]
    removed: Annotated[list[str], Field(description="The id of the wrong sample, if it is removed.")]


class Candidate(TypedDict):
    """One of the nearest samples of a face."""

    id: SampleId
    name: PersonName
    person: PersonId
    metadata: Metadata
    distance: Distance
    similarity: Similarity
    false_match: FalseMatch


class RecognisedFace(TypedDict):
    """A face and its nearest sample; id, name, person and metadata are empty for an unknown face."""

    bbox: Bbox
    id: SampleId
    metadata: Metadata
    name: PersonName
    person: PersonId
    distance: Annotated[
        float | None, Field(description="To the nearest sample: small is similar. Null in an empty gallery.")
    ]
    similarity: Annotated[
        Similarity | None,
        Field(description="1 for the same picture. Null in an empty gallery."),
    ]
    false_match: FalseMatch
    confidence: Probability
    quality: Quality
    reasons: Reasons
    candidates: NotRequired[
        Annotated[
            list[Candidate],
            Field(description="The best samples, if `top_k` was sent; the nearest or the likeliest first."),
        ]
    ]


Landmark = Annotated[Point | None, Field(description="x, y in pixels; null where it was not found.")]


class Landmarks(TypedDict):
    """Left and right as seen in the picture; null where the detector does not find one."""

    left_eye: Landmark
    right_eye: Landmark
    nose: Landmark
    mouth_left: Landmark
    mouth_right: Landmark


class DetectedFace(TypedDict):
    """A face and where it is."""

    bbox: Bbox
    confidence: Probability
    landmarks: Annotated[Landmarks, Field(description="Eyes, nose and corners of the mouth.")]
    quality: Quality
    reasons: Reasons


class Verified(TypedDict):
    """Whether the largest faces of two pictures are one person's: distance < threshold, neither too poor."""

    verified: Annotated[
        bool,
        Field(description="Whether `distance` is below `threshold`, and neither face too poor to tell."),
    ]
    distance: Distance
    threshold: Annotated[float, Field(description="`min_distance`, or the model's own threshold.")]
    similarity: Similarity
    bbox1: Bbox
    bbox2: Bbox
    quality1: Quality
    quality2: Quality
    reasons1: Reasons
    reasons2: Reasons


class StoredSample(TypedDict):
    """A sample without its vector; times in ISO 8601, UTC."""

    id: SampleId
    name: PersonName
    person: PersonId
    metadata: Metadata
    action: Annotated[str | None, Field(description="The text that was stored with it.")]
    created: Time
    modified: Time
    expires_at: Annotated[str | None, Field(description="ISO 8601, UTC; null: never.")]
    quality: Annotated[Quality | None, Field(description="Of the face; null: not known.")]


class Samples(TypedDict):
    """One page of samples."""

    samples: Annotated[list[StoredSample], Field(description="In the order of their ids.")]
    total: Annotated[Total, Field(description="How many there are on all pages.")]
    next: Annotated[
        str | None, Field(description="What to send as `after` for the next page; null on the last.")
    ]


class Person(TypedDict):
    """Somebody whose samples some are; times in ISO 8601, UTC."""

    id: Annotated[str, Field(description="The person's own id.")]
    name: Annotated[str, Field(description="Others may have it, too.")]
    metadata: Annotated[JsonValue, Field(description="What was stored with the person; null: nothing.")]
    samples: Total
    sample: Annotated[
        str | None, Field(description="The id of the first of them, to show the person; null: none.")
    ]
    created: Time
    modified: Time
    expires_at: Annotated[str | None, Field(description="ISO 8601, UTC; null: never.")]


class Emptied(TypedDict):
    """Who went with a merge, and what the merge was."""

    id: Annotated[str, Field(description="The person's own id.")]
    name: Annotated[str, Field(description="Others may have it, too.")]
    metadata: Annotated[JsonValue, Field(description="What was stored with the person; null: nothing.")]
    samples: Annotated[int, Field(ge=0, description="How many samples have moved.")]
    created: Time
    expires_at: Annotated[str | None, Field(description="ISO 8601, UTC; null: never.")]
    by_hand: Annotated[bool, Field(description="Whether the person would have stayed without samples.")]
    revision: Annotated[int, Field(ge=0, description="Of the gallery, from the merge.")]


class Merged(Person):
    """Who has all samples now."""

    merged: Annotated[
        Emptied, Field(description="Who is gone: what `/unmerge` takes to take the merge back.")
    ]


class Unmerged(Person):
    """Who is back after a merge."""

    left: Annotated[
        int,
        Field(
            ge=0,
            description="How many samples have been changed since, and stay with whoever has them now.",
        ),
    ]


class Persons(TypedDict):
    """One page of people."""

    persons: Annotated[list[Person], Field(description="In the order of their names.")]
    total: Annotated[int, Field(ge=0, description="How many there are on all pages.")]
    next: Annotated[
        str | None, Field(description="What to send as `after` for the next page; null on the last.")
    ]


class Place(TypedDict):
    """Where something was, and what has become of it there."""

    place: Annotated[str, Field(description="Which part of the gallery, in words.")]
    state: Annotated[str, Field(description="What has become of it, in words.")]


class Gallery(TypedDict):
    """A gallery, and how much is in it."""

    name: Annotated[str, Field(description="What `gallery` in a query asks for.")]
    samples: Total
    persons: Annotated[int, Field(ge=0, description="How many people.")]
    created: Time


class Galleries(TypedDict):
    """The galleries that the caller may see."""

    galleries: Annotated[list[Gallery], Field(description="In the order of their names.")]


class Receipt(TypedDict):
    """What was erased, where and when, and what this service cannot erase."""

    person: PersonId
    samples: Annotated[list[str], Field(description="The ids of the samples that were erased.")]
    events: Annotated[int, Field(ge=0, description="How many visits to cameras were erased.")]
    erased: Annotated[list[str], Field(description="What was stored of the person and of each sample.")]
    erased_at: Time
    gallery: Annotated[str, Field(description="Out of which gallery.")]
    database: Annotated[str, Field(description="Its kind: sqlite or postgresql.")]
    places: Annotated[list[Place], Field(description="From where it was erased, and how.")]
    remains: Annotated[list[str], Field(description="What may still hold some of it, in words.")]
    after_restoring: Annotated[
        str, Field(description="How to erase it again after a backup has brought it back, in words.")
    ]


class Erased(TypedDict):
    """The person that was removed, with all samples."""

    success: Annotated[list[str], Field(description="The id of the person.")]
    receipt: NotRequired[Annotated[Receipt, Field(description="If `receipt` was sent.")]]


class Count(TypedDict):
    """How many samples there are."""

    count: Total


class Cleared(TypedDict):
    """Every sample was removed, or those of the name asked for."""

    success: Success
    deleted: NotRequired[Annotated[Total, Field(description="How many had the name asked for.")]]


class Deleted(TypedDict):
    """The id of the sample, or the name of the gallery, that was removed."""

    success: Annotated[list[str], Field(description="The id of the sample, or the name of the gallery.")]


class Imported(TypedDict):
    """How many samples of a file were stored, and how many were there already."""

    imported: Annotated[Total, Field(description="How many were stored.")]
    unchanged: Annotated[Total, Field(description="How many stay as they were: the gallery's own are newer.")]
    unnamed: NotRequired[
        Annotated[
            Total, Field(description="How many have a name that cannot be seen, and become `unnamed (ID)`.")
        ]
    ]


class GallerySize(TypedDict):
    """How many samples are enrolled, and how many of them have a damaged vector and are found by nobody."""

    samples: Total
    damaged: Annotated[
        Total, Field(description="How many of them have a damaged vector and are never found.")
    ]


class WishMeaning(TypedDict):
    """What a `max_false_match` amounts to now."""

    max_false_match: Annotated[float, Field(description="The share of strangers that may get a name.")]
    score: Annotated[float, Field(description="A person's, from which on a face is given their name.")]
    distance: Annotated[
        float, Field(description="About what distance to the mean of a person's samples that comes to.")
    ]
    missed: Annotated[
        float | None,
        Field(
            ge=0, le=1, description="The share of faces of people enrolled that get no name; null: not known."
        ),
    ]


class ReadyDecisions(TypedDict):
    """How faces are decided on, and what else could be had."""

    max_false_match: Annotated[
        float | None,
        Field(description="Decides if neither it nor `min_distance` is sent; null: `threshold` does."),
    ]
    people: Annotated[int | None, Field(ge=0, description="How many are in the gallery.")]
    wishes: Annotated[
        list[WishMeaning],
        Field(description="What usual wishes amount to in this gallery; none where that cannot be told."),
    ]
    least: Annotated[
        float | None,
        Field(
            description="The smallest wish at which nine of ten faces of people enrolled get their name; "
            "null: not known."
        ),
    ]


class Ready(TypedDict):
    """A recognition from end to end has just worked."""

    status: Annotated[Literal["ready"], Field(description="Always `ready`; else the status is 503.")]
    version: Annotated[str, Field(description="Of this service.")]
    model: Annotated[str, Field(description="The embedding model.")]
    threshold: Annotated[float, Field(description="What `min_distance` is if it is not sent.")]
    distance_range: Annotated[Range, Field(description="The smallest and the largest distance there can be.")]
    gallery: Annotated[GallerySize, Field(description="What is enrolled.")]
    decisions: Annotated[ReadyDecisions, Field(description="What decisions mean.")]
    authentication: Annotated[bool, Field(description="Whether keys are asked for.")]
    warnings: Annotated[list[Notice], Field(description="What is wrong though the service is ready.")]
