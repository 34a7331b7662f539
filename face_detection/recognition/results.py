"""What the use cases return. Nothing here does IO."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box, Face, Match, Person, Quality, Sample
from recognition.visits import Event
from serving.attributes import Attributes
from serving.errors import Failure
from serving.model import Model
from serving.remarks import Remark

Item = TypeVar("Item")

What = Literal["unlike_own", "looks_like", "same_picture", "poor_samples", "few_samples"]
WithoutFace = Literal["wait", "leave", "drop"]
Action = Literal["move_sample", "delete_sample", "merge_persons", "enrol_more"]


@dataclass(frozen=True, slots=True)
class Found:
    """The faces of a picture, in no order that matters.

    remarks: on how the picture had to be looked at for them.
    shrunk: the picture was searched smaller than it is, so smaller faces may be missing; else None.
    """

    faces: list[Face]
    remarks: tuple[Remark, ...] = ()
    shrunk: Remark | None = None


@dataclass(frozen=True, slots=True)
class Largest(Generic[Item]):
    """The largest faces of a picture, largest first.

    left_out: how many more there are than MAX_FACES.
    remarks: on the picture.
    """

    faces: list[Item]
    left_out: int
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture with boxes and names drawn on it, as a JPEG; the rest as in `Largest`."""

    jpeg: bytes
    left_out: int
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """One face of a picture, and how well it can be told from others."""

    face: Face
    quality: Quality


@dataclass(frozen=True, slots=True)
class Recognition:
    """One face of a picture, and what the gallery says of it.

    matches: the nearest samples, at most top_k, all nearer than the threshold; empty for an unknown face, and
        for one that is too poor to be given a name.
    distance: to the nearest sample of whoever comes first, matching or not; None if the gallery is empty.
    false_match: which share of strangers would come as near to somebody here; None: that cannot be told.
    model: the scale of these distances.
    """

    face: Face
    matches: list[Match]
    distance: float | None
    false_match: float | None
    model: Model
    quality: Quality


@dataclass(frozen=True, slots=True)
class EnrolledPicture:
    """What was seen in the picture of a sample that is stored now.

    faces: how many there are.
    box, quality: of the one that was taken.
    remarks: on the picture and on this face.
    person: the id of whose it is.
    """

    faces: int
    box: Box
    quality: Quality
    remarks: tuple[Remark, ...] = ()
    person: str = ""


@dataclass(frozen=True, slots=True)
class EnrolmentReport:
    """By id, in the order sent: each is a key of `enrolled` or of `failed`, never of both."""

    enrolled: dict[str, EnrolledPicture]
    failed: dict[str, Failure]


@dataclass(frozen=True, slots=True)
class Verification:
    """The largest face of each of two pictures, and whether they are one person.

    verified: distance < threshold, and neither face is too poor to tell.
    model: the scale of the distance.
    remarks: on the two pictures.
    """

    faces: tuple[Detection, Detection]
    verified: bool
    distance: float
    threshold: float
    model: Model
    remarks: tuple[Remark, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A face of a picture that is compared with others.

    vector: float32 (d,); None: none was wanted.
    attributes: a guess at its age and gender; None: none was wanted, or none is made.
    """

    face: Face
    vector: NDArray[np.float32] | None = None
    attributes: Attributes | None = None


@dataclass(frozen=True, slots=True)
class Probed:
    """The faces of a picture, largest first.

    model: of their vectors and distances; None: there are none.
    matches: the samples nearest to each, nearest first, however far; empty where none were looked for.
    """

    model: Model | None
    probes: list[Probe]
    matches: list[list[Match]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Example:
    """A sample as clients of CompreFace know it: its id, and the name of its person."""

    id: str
    subject: str


@dataclass(frozen=True, slots=True)
class Compared(Generic[Item]):
    """The faces of a picture, largest first, and how far each is from one face.

    other: that face, of another picture or of a sample.
    """

    model: Model
    probes: list[Probe]
    distances: list[float]
    other: Item


@dataclass(frozen=True, slots=True)
class SamplePage:
    """Some samples in ascending order of their ids.

    total: how many there are on all pages.
    next: the id after which the next page starts; None on the last one.
    """

    samples: list[Sample]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class PersonPage:
    """Some people in the order of their names.

    total: how many there are on all pages.
    next: what tells where the next page starts; None on the last one.
    """

    persons: list[Person]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, the newest first.

    total: how many there are on all pages.
    next: what tells where the next page starts; None on the last one.
    cameras: the names of all that have events, in the order of code points.
    """

    events: list[Event]
    total: int
    next: str | None
    cameras: list[str]


@dataclass(frozen=True, slots=True)
class Described:
    """The faces of a picture, and their vectors.

    model: of the vectors.
    fingerprint: of the vectors, as the gallery has it.
    vectors: float32 (n, d), row i for face i.
    """

    model: Model
    fingerprint: str
    faces: Largest[Detection]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Merged:
    """Two people who are one now, and what takes that back.

    person: who has all samples now.
    emptied: who is gone, and how many samples they had.
    revision: of the merge, which the samples that have moved keep until somebody changes them.
    """

    person: Person
    emptied: Person
    revision: int


@dataclass(frozen=True, slots=True)
class Unmerged:
    """Who is back after a merge, and how many samples stay, since somebody has changed them meanwhile."""

    person: Person
    left: int


@dataclass(frozen=True, slots=True)
class GallerySummary:
    """How many samples and persons a gallery has, and when it was made."""

    name: str
    samples: int
    persons: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Application:
    """What CompreFace's administrators put services in. Its id is a UUID, and `created` in UTC."""

    id: str
    name: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Administrator:
    """Who may make applications and services by CompreFace's admin calls; the id is a UUID."""

    id: str
    email: str
    first_name: str
    last_name: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased of a person: their own row, and the samples with these ids.

    gallery: out of which.
    database: of which kind, `sqlite` or `postgresql`.
    log_emptied: the database's own log is without them, too; else later.
    audited: there is an audit log, which has the ids.
    events: how many visits to cameras went with them.
    """

    person: str
    samples: list[str]
    erased_at: datetime
    gallery: str
    database: str
    log_emptied: bool
    audited: bool
    events: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """What a check of a gallery goes by.

    fingerprint: of the model that its vectors must be of; dimension, threshold: the model's.
    min_quality: a face below it is too poor to tell people apart.
    """

    fingerprint: str
    dimension: int
    threshold: float
    min_quality: float


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about a finding.

    sample, person: ids of what it is done to, None where it is done to no sample.
    into: the id of the person to whom samples go; None: they go to nobody.
    """

    action: Action
    person: str
    sample: str | None = None
    into: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a gallery that may be wrong.

    sure: how likely it is that something is wrong, in [0, 1].
    samples: that show it; the first one is in question.
    distance: between the first two; own: from the first to the nearest of its person; None: there is none.
    advice: what can be done, the likeliest first.
    """

    what: What
    sure: float
    samples: tuple[Sample, ...]
    distance: float | None
    own: float | None
    advice: tuple[Advice, ...]

    @property
    def id(self) -> str:
        """Tell findings apart; one that two parts of a check come upon has the same in both."""
        about = (
            sorted({str(each.person) for each in self.samples})
            if self.what == "looks_like"
            else sorted(each.id for each in self.samples[: 1 if self.what == "unlike_own" else None])
        )
        return json.dumps([self.what, *about], ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Examination:
    """What a part of a check has found, the surest first.

    examined: how many samples this part has looked at; total: how many there are.
    next: what tells where the next part starts; None after the last one.
    """

    findings: list[Finding]
    examined: int
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a wish amounts to in a gallery.

    false_match: the share of strangers that was wished.
    score: a person's, from which on a face is given their name.
    cosine: of an ordinary face with the template of a person that comes to this score.
    missed: the share of faces of people enrolled that get no name; None: that is not known.
    """

    false_match: float
    score: float
    cosine: float
    missed: float | None


@dataclass(frozen=True, slots=True)
class Decisions:
    """What decisions mean in a gallery.

    people: in it.
    meanings: of usual wishes, the easiest first.
    least: the smallest wish at which nine of ten faces of people enrolled get their name; None: not known.
    """

    people: int
    meanings: list[Meaning]
    least: float | None


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a recognition from end to end has just shown to work.

    samples: how many are enrolled; damaged: how many of them have a vector that cannot be used.
    max_false_match: what decides where a caller says nothing; None: the model's threshold does.
    decisions: what wishes mean; None: that cannot be told.
    """

    model: Model
    samples: int
    damaged: int
    max_false_match: float | None
    decisions: Decisions | None


@dataclass(frozen=True, slots=True)
class ModelChange:
    """Which models a gallery has vectors of, and how far a change from one to the other is.

    model: the name of the one that is searched; None: the embedding service's own.
    other: the name of the other, None where that is not known; has_other: whether there is any.
    samples: how many there are; done: how many of them have a vector of the other model.
    waiting: how many have none of the model that the gallery changes to, or has changed to.
    to: the name of the model that it is to change to; None: no change is under way.
    without_face: what is to become of samples of which no face is kept.
    running: whether somebody is at it; resumes: whether services go on with it by themselves otherwise.
    trouble: the code of what holds it up; None: nothing.
    """

    model: str | None
    other: str | None
    has_other: bool
    samples: int
    done: int
    waiting: int
    to: str | None
    without_face: WithoutFace | None
    running: bool
    resumes: bool
    trouble: str | None
