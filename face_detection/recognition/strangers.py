"""Unknown people as values: faces like no sample's, in groups of which each is probably one person.

Nothing here does IO.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from recognition.faces import KeptFace, Match


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A face that may be kept, without its vector.

    quality: in [0, 1].
    mark: what it has in common with the same face of the same picture, whenever that comes again; bytes.
    face: the picture of it that is kept; None: none is to be.
    camera: where it was seen; None: not known.
    """

    quality: float
    mark: bytes
    face: KeptFace | None = None
    camera: str | None = None


@dataclass(frozen=True, slots=True)
class UnknownFace:
    """One face of an unknown person; the time is in UTC.

    picture: whether a picture of it is kept.
    """

    id: str
    quality: float
    seen: datetime
    camera: str | None
    picture: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """Somebody whom nobody has named; the times are in UTC.

    ignored: is not to be kept again: there is a vector to know them by, and no face.
    since, until: when they were first and last seen, as far as that is known.
    expires_at: when the last of the faces goes; None: never, of somebody ignored.
    faces: those that are kept, the best first.
    like: the nearest sample of whoever this probably is; None: nobody who is enrolled.
    """

    id: str
    ignored: bool
    since: datetime
    until: datetime
    expires_at: datetime | None
    faces: tuple[UnknownFace, ...]
    like: Match | None = None


@dataclass(frozen=True, slots=True)
class UnknownPage:
    """Some unknown people, those with the most faces first.

    total: how many there are on all pages.
    next: what tells where the next page starts; None on the last one.
    """

    unknowns: list[Unknown]
    total: int
    next: str | None


@dataclass(frozen=True, slots=True)
class Deed:
    """What to do with an unknown person; of the others that which the action takes.

    name, person: who they are. into: the id of the unknown person whose the faces become.
    """

    action: Literal["name", "merge", "ignore", "forget"]
    name: str | None = None
    person: str | None = None
    into: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """Who an unknown person is now, and the ids of the samples that their best faces have become."""

    person: str
    samples: list[str]
