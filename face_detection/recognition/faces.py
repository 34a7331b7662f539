"""The values that travel through the service: boxes, faces, samples, matches. Nothing here does IO."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from serving.errors import Failure

# Which face of a picture: the largest, the only one, or the one at a point (x, y).
Choice = Literal["largest", "only"] | tuple[float, float]

# When what is enrolled goes, as a caller sends it; None: when the service is set to let it go.
Never = Literal["never"]
NEVER: Never = "never"
Expiry = datetime | Never | None

# An encoded picture: its bytes, or base64 text, with or without a data URI in front.
Encoded = bytes | str


def moment_of(expiry: Expiry, now: datetime, kept_for: timedelta | None) -> datetime | None:
    """Return when what is enrolled now goes; None: never.

    kept_for: what a caller does not say a time for; None: for ever.
    """
    if expiry is None:
        return None if kept_for is None else now + kept_for
    return expiry if isinstance(expiry, datetime) else None


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in pixels of the upright picture: upper left corner (x, y), width and height."""

    x: float
    y: float
    w: float
    h: float

    @property
    def area(self) -> float:
        """Square pixels."""
        return self.w * self.h


def bbox(box: Box) -> str:
    """Render a box as "x, y, w, h" in whole pixels, at least 1 x 1."""
    x, y = round(box.x), round(box.y)
    w, h = round(box.x + box.w) - x, round(box.y + box.h) - y
    return f"{x}, {y}, {max(w, 1)}, {max(h, 1)}"


def box_of(text: str) -> Box:
    """Read what `bbox` has rendered.

    Raises:
        ValueError: it is no box.
    """
    x, y, w, h = map(int, text.split(","))
    return Box(x, y, w, h)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """One detected face.

    confidence: the detector's probability in [0, 1].
    landmarks: float32 (5, 2), x and y in pixels of the upright picture: the eye that is left in the
        picture, the eye that is right in it, the tip of the nose, the left and the right mouth corner; NaN
        for those that the detector does not find. Left and right are those of the picture turned so that
        the face stands upright: the order is always that of the same five places of a face.
    quarters: how many quarter turns, counterclockwise, the picture takes for that, 0 to 3.
    """

    box: Box
    confidence: float
    landmarks: NDArray[np.float32]
    quarters: int = 0


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that is wrong with a face.

    code: `blurred`, `covered`, ...; `recognition.pictures.quality` has them all.
    value: as measured; limit: what it would have to reach, from below or from above.
    """

    code: str
    value: float
    limit: float


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face can be told from others.

    value: in [0, 1]; that of its worst side.
    reasons: what is wrong with it, the worst first; usually nothing.
    """

    value: float
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """How to look for the people of a picture.

    max_distance: a match is nearer than this; None takes the model's own threshold.
    max_false_match: decide by all samples of each person instead, so that of strangers at most this share
        gets a name, in (0, 0.5]; None: as the service is set, if there is no max_distance.
    top_k: how many matches a face may have, at least 1.
    per_person: the matches of one face are of different people: the nearest sample of each counts.
    limit: how many faces to look at, the largest ones; 0 means all.
    small_faces: search large pictures at full size; None: as the service is set.
    """

    max_distance: float | None = None
    top_k: int = 1
    per_person: bool = True
    limit: int = 0
    small_faces: bool | None = None
    max_false_match: float | None = None


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One sample as a caller sends it: of the person with an id, or of the one person of a name.

    face: the largest of the picture, the only one it may have, or the one at a point: x, y in pixels of the
        upright picture.
    accept_low_quality: enrol even a face that is too poor to tell people apart.
    strict: enrol nothing of which there is anything to warn.
    small_faces: as in Search.
    surer_than: faces count of which the detector is surer than this; None: all that it finds.
    """

    id: str
    name: str | None
    image: Encoded
    metadata: Any = None
    action: str | None = None
    expires_at: Expiry = None
    face: Choice = "largest"
    accept_low_quality: bool = False
    small_faces: bool | None = None
    person: str | None = None
    strict: bool = False
    surer_than: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class KeptFace:
    """The picture of a face that is kept of a sample, and where the face is in it.

    jpeg: upright to within an eighth of a turn, with a margin; at most 256 px high and wide.
    face: in pixels of this picture.
    """

    jpeg: bytes = field(repr=False)
    face: Face


@dataclass(frozen=True, slots=True)
class Mistaken:
    """The sample that somebody's face was taken for, though it is another person's.

    sample: its id.
    then: it moves to the person whose face it was, or is removed.
    person: the id of the person whose it was; if it is another's by now, nothing is done. None: whosever.
    """

    sample: str
    then: Literal["move", "remove"]
    person: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One enrolled face without its vector. `metadata` is any JSON value; the times are in UTC.

    name: the person's; of a new sample the one that it comes with.
    expires_at: from this moment on it is as if the sample had been deleted; None: never.
    person: the person's id; None, of a new sample: the one person of that name.
    spelling: of the name that it came with, where the person's is spelt otherwise.
    quality: of the face, in [0, 1]; None: not known.
    picture: the digest of the picture; None: not known, or not asked for.
    face: what is kept of its picture. It comes along on the way into the gallery, and into a file and out of
        it; of a sample that is read otherwise nobody has looked for it.
    """

    id: str
    name: str
    metadata: Any
    action: str | None
    created: datetime
    modified: datetime
    expires_at: datetime | None = None
    person: str | None = None
    spelling: str | None = None
    quality: float | None = None
    picture: bytes | None = None
    face: KeptFace | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Whose samples some are. `metadata` is any JSON value; the times are in UTC.

    expires_at: from this moment on it is as if the person had been deleted, with all samples; None: never.
    samples: how many there are.
    by_hand: stays without samples; others go with their last one.
    sample: the id of the first of them, to show who it is; None: there is none, or nobody has looked.
    """

    id: str
    name: str
    metadata: Any
    created: datetime
    modified: datetime
    expires_at: datetime | None = None
    samples: int = 0
    by_hand: bool = True
    sample: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of new samples, by id.

    people: whose those are that are stored now: the ids of their people.
    failed: why the others are not.
    """

    people: dict[str, str]
    failed: dict[str, Failure]


@dataclass(frozen=True, slots=True)
class Match:
    """A sample, and the Euclidean distance of its vector to a probe's.

    false_match: which share of strangers would come as near to somebody in the gallery as the probe comes to
        the sample's person; None: that cannot be told.
    """

    sample: Sample
    distance: float
    false_match: float | None = None


@dataclass(frozen=True, slots=True)
class Around:
    """What a gallery has around a sample that is about to be stored.

    whose: what all samples of its person have in common; None: it is not clear whose it is.
    name: the person's.
    own: the distance to the nearest other sample of its person; None: there is none.
    other: the nearest sample of somebody else; None: none is within reach.
    doubles: samples so near, with the digests of their pictures, that they may be of the same picture.
    """

    whose: str | None = None
    name: str = ""
    own: float | None = None
    other: Match | None = None
    doubles: tuple[Match, ...] = ()
