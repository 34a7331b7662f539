"""What an outlet is, how delivering to it fails, and how long to wait then."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

Say = Callable[[str], None]  # takes a message for whoever runs the program; it may not raise


class Refused(Exception):
    """The outlet does not want this event, and would not want it later either. Its text says why."""


class Failed(Exception):
    """The event could not be delivered now. Its text says why.

    after_s: how long the outlet asks to be left alone, in seconds; None: it does not say.
    """

    def __init__(self, reason: str, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits for an outlet.

    number: of its row; None: it is held in memory, since the disk did not take it.
    outlet: whom it waits for.
    id, person: the event's, and of whom it is, None of somebody unknown.
    body: the event as JSON, as `visits.as_json` renders it.
    picture: of the face, a JPEG; None: there is none, or the outlet wants none.
    """

    number: int | None
    outlet: str
    id: str
    person: str | None
    body: str
    picture: bytes | None


def line_of(value: object) -> str:
    """Render a value as JSON in one line that UTF-8 can have, whatever bytes a camera was called by."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")


class Outlet(Protocol):
    """Somewhere that events go to, one after the other."""

    @property
    def name(self) -> str:
        """Tell it from the others, over restarts, too. It is shown, so it has no passwords."""

    @property
    def with_pictures(self) -> bool:
        """Whether it can use pictures."""

    def deliver(self, waiting: Waiting) -> None:
        """Deliver an event; it may have been delivered before, by a program that was killed right after.

        Raises:
            Refused, Failed.
        """

    def close(self) -> None:
        """Let go of everything, and fail the delivery that another thread may be waiting for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait after failures in a row: twice as long each time, less up to a half by chance.

    Without the chance, all that failed together would come back together. A minute's outage costs some ten
    tries; five minutes are what Standard Webhooks takes for the third one.
    """

    first_s: float = 1.0
    longest_s: float = 300.0

    def delay_s(self, failures: int, after_s: float | None = None) -> float:
        """Return the seconds to wait after so many failures, at least 1; `after_s` is what was asked for."""
        delay = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        delay *= random.uniform(0.5, 1)
        return delay if after_s is None else max(delay, min(after_s, LONGEST_RETRY_AFTER_S))


LONGEST_RETRY_AFTER_S = 3600.0  # more than that is a mistake, and would keep everything else waiting
