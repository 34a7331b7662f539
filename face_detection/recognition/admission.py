"""How much work one process takes on: some requests run, some wait, the next one is refused at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from serving.errors import Failure, Overloaded
from serving.stages import stage

Value = TypeVar("Value")


class Admission:
    """A bounded queue. `running` requests work at a time, at most `waiting` more wait for their turn.

    changed: is told how many run and how many wait, whenever that changes.
    """

    def __init__(
        self, running: int, waiting: int, changed: Callable[[int, int], None] = lambda running, waiting: None
    ) -> None:
        self._may_run, self._may_wait = running, waiting
        self._running = self._waiting = 0
        self._changed = changed
        self._turns = threading.Condition()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for a turn and hold it.

        Raises:
            Overloaded: as many as may wait are waiting; this takes no time.
        """
        with stage("queue"), self._turns:
            self._refuse_if_full()
            self._move(waiting=1)
            self._turns.wait_for(lambda: self._running < self._may_run)
            self._move(waiting=-1, running=1)
        try:
            yield
        finally:
            with self._turns:
                self._move(running=-1)
                self._turns.notify()

    def check(self) -> None:
        """Refuse now what would be refused later, before work goes into it. Holds no turn.

        Raises:
            Overloaded: as many as may wait are waiting.
        """
        with self._turns:
            self._refuse_if_full()

    def _refuse_if_full(self) -> None:
        if self._running + self._waiting >= self._may_run + self._may_wait:
            raise Overloaded("More requests are waiting than this process can take on; try again soon.")

    def _move(self, *, running: int = 0, waiting: int = 0) -> None:
        self._running += running
        self._waiting += waiting
        self._changed(self._running, self._waiting)


class Shared(Generic[Value]):
    """One run at a time of something that many ask for, whose result they share for a while.

    Who asks while it runs gets what comes of that run, be it a failure; who asks later, within `kept_s`
    seconds, gets its result, but not its failure: what is well again shall be known at once.
    """

    def __init__(self, kept_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept_s, self._clock = kept_s, clock
        self._running = threading.Lock()
        self._last: tuple[float, Value | Failure] | None = None  # when a run ended, and with what

    def __call__(self, run: Callable[[], Value]) -> Value:
        """Return the result of `run`, of now or of a moment ago.

        Raises:
            Failure: what `run` raises.
        """
        asked = self._clock()
        with self._running:
            outcome = self._known(asked)
            if outcome is None:
                try:
                    outcome = run()
                except Failure as e:
                    outcome = e
                self._last = self._clock(), outcome
        if isinstance(outcome, Failure):
            raise type(outcome)(outcome.detail) from outcome.__cause__
        return outcome

    def _known(self, asked: float) -> Value | Failure | None:
        if self._last is None:
            return None
        ended, outcome = self._last
        kept_until = ended + (0 if isinstance(outcome, Failure) else self._kept_s)
        return outcome if asked <= kept_until else None
