"""What is read from CompreFace, wherever that has it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from recognition.client_keys import Kind

KINDS: dict[str, Kind] = {"R": "recognition", "D": "detection", "V": "verification"}  # of its column `type`
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class SourceFailure(Exception):
    """The source cannot be read, or not any further: `detail` says why, without keys and passwords."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Service:
    """A service of CompreFace. app: the name of the application that it is in, if that is known."""

    name: str
    kind: Kind
    key: str = field(repr=False)
    app: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A picture of a subject: a row of `embedding`. id: its UUID, in small letters."""

    id: str
    subject: str
    service: Service


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something cannot be had. code: for programs; detail: in words."""

    code: str
    detail: str


NO_PICTURE = Trouble("no_picture", "The source has no picture of it (save_images_to_db was off).")
TOO_LARGE = Trouble("image_too_large", "The picture has more bytes than MAX_BODY_BYTES.")

# Takes examples, and returns the ids of those whose pictures are to be read.
Choose = Callable[[Sequence[Example]], Collection[str]]
Read = tuple[Example, bytes | Trouble]


class Source(Protocol):
    """A CompreFace. Every method raises SourceFailure where it cannot be read."""

    troubles: list[Trouble]  # what cannot be taken over and belongs to no example: known once all is read

    def services(self) -> list[Service]:
        """Return its services."""
        ...

    def subjects(self, service: Service) -> Iterator[str]:
        """Return the names of a recognition service's subjects, also of those without examples."""
        ...

    def count(self, services: Sequence[Service]) -> int:
        """Return how many examples these recognition services have."""
        ...

    def examples(self, services: Sequence[Service], choose: Choose) -> Iterator[Read]:
        """Show all examples of these services to `choose`, and give those that it chooses, each once.

        No more than a few pictures are in memory at a time.
        """
        ...

    def close(self) -> None:
        """Let go of the source."""
        ...
