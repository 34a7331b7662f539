"""The service as cameras know it: what they ask of it, how it fails, and whether it can be asked now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Face
from recognition.visits import Event, Visit

Answer = TypeVar("Answer")
Kind = Literal["see", "record"]

FIRST_S, LONGEST_S = 1.0, 30.0  # between two tries of a service that is away


class ServiceAway(Exception):
    """The service cannot be asked now. What it says says why."""


class ServiceBusy(Exception):
    """The service has too much to do for this question; others, and this one a moment later, it answers."""


class FrameRefused(Exception):
    """The service cannot look at a frame, and will not do so later. What it says says why."""


class VisitRefused(Exception):
    """The service does not take a visit, and will not take it later. What it says says why."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceSeen:
    """A face of a frame, its quality in [0, 1], and its vector, float32 (d,)."""

    face: Face
    quality: float
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sight:
    """What is seen in a frame.

    fingerprint: of the model of the vectors; cosine: of two vectors at its threshold.
    """

    fingerprint: str
    cosine: float
    faces: Sequence[FaceSeen]


class Service(Protocol):
    """What knows people. Both raise ServiceAway and ServiceBusy; what else they raise ends the watching."""

    def see(self, jpeg: bytes) -> Sight:
        """Find the faces of a frame. Raises FrameRefused, too."""
        ...

    def record(self, visit: Visit, fingerprint: str) -> Event:
        """Say who a visitor was, and keep the visit; the same id again replaces it.

        A visit without vectors is still the same person's as before.

        Raises:
            ModelChanged: the vectors are not of the gallery's model.
            NotFound: it has no vectors, and none of its id is kept.
            VisitRefused.
        """
        ...


class Reach:
    """Whether the service can be reached: for all cameras together, so that it is said, and tried, once.

    It may answer some questions and not others: each kind of question is tried on its own.
    """

    def __init__(self, clock: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._clock, self._tell = clock, tell
        self._lock = threading.Lock()
        self._failures: dict[Kind, int] = {}
        self._again_at: dict[Kind, float] = {}

    def wait_s(self, kind: Kind) -> float:
        """Return the seconds until it is tried again; 0: it can be asked."""
        return max(0.0, self._again_at.get(kind, 0.0) - self._clock())

    def ask(self, kind: Kind, question: Callable[[], Answer], *, now: bool = False) -> Answer | None:
        """Ask, if it is not away; returns None if it is. `now`: try it, even so."""
        with self._lock:
            if self.wait_s(kind) and not now:
                return None
            if kind in self._failures:  # others wait until this one knows
                self._again_at[kind] = self._clock() + LONGEST_S
        try:
            answer = question()
        except ServiceAway as e:
            with self._lock:
                if not self._failures:
                    self._tell(f"The service is away: {e} Frames are dropped, and visits wait.")
                failures = self._failures[kind] = self._failures.get(kind, 0) + 1
                delay_s = min(LONGEST_S, FIRST_S * 2 ** min(failures - 1, 10))
                self._again_at[kind] = self._clock() + delay_s
            return None
        except ServiceBusy:
            with self._lock:
                self._again_at.pop(kind, None)
            return None
        except FrameRefused:
            with self._lock:
                self._again_at.pop(kind, None)
            raise
        with self._lock:
            self._again_at.pop(kind, None)
            if self._failures.pop(kind, None) and not self._failures:
                self._tell("The service is back.")
        return answer
