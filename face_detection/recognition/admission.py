"""How much work one process takes on: some requests run, some wait, the next one is refused at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Generic, TypeVar

from serving.errors import Failure, Overloaded
from serving.stages import stage

Value = TypeVar("Value")

_holds_a_turn: ContextVar[bool] = ContextVar("holds_a_turn", default=False)  # the request under way


class Admission:
    """A bounded queue, first come, first served: `running` requests work at a time, `waiting` more may wait.

    changed: called with how many run and how many wait, whenever that changes.
    """

    def __init__(
        self, running: int, waiting: int, changed: Callable[[int, int], None] = lambda running, waiting: None
    ) -> None:
        self._may_run, self._may_wait = running, waiting
        self._running = 0
        self._queue: deque[object] = deque()
        self._changed = changed
        self._turns = threading.Condition()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for a turn and hold it. A request that holds one keeps it, and waits for no second one.

        Raises:
            Overloaded: as many as may wait are waiting; this takes no time.
        """
        if _holds_a_turn.get():
            yield
            return
        with stage("queue"), self._turns:
            self._refuse_if_full()
            self._wait()
        held = _holds_a_turn.set(True)
        try:
            yield
        finally:
            _holds_a_turn.reset(held)
            with self._turns:
                self._end()

    def give_way(self) -> None:
        """Let those go first who wait by now; for whoever holds a turn, between the parts of long work."""
        with self._turns:
            if not self._queue:
                return
            self._end()
            with stage("queue"):
                self._wait()

    def check(self) -> None:
        """Refuse now what would be refused later, before work goes into it. Holds no turn.

        Raises:
            Overloaded: as many as may wait are waiting.
        """
        with self._turns:
            self._refuse_if_full()

    def _refuse_if_full(self) -> None:
        if self._running + len(self._queue) >= self._may_run + self._may_wait:
            raise Overloaded("More requests are waiting than this process can take on; try again soon.")

    def _wait(self) -> None:
        ticket = object()
        self._queue.append(ticket)
        self._tell()
        self._turns.wait_for(lambda: self._running < self._may_run and self._queue[0] is ticket)
        self._queue.popleft()
        self._running += 1
        self._tell()

    def _end(self) -> None:
        self._running -= 1
        self._tell()

    def _tell(self) -> None:
        self._changed(self._running, len(self._queue))
        self._turns.notify_all()  # each looks whether it is the first, and may run


class Shared(Generic[Value]):
    """One run at a time of something that many ask for, whose result they share for a while.

    Whoever asks during a run gets its outcome, even a failure. For `kept_s` seconds after it others get its
    result, but never its failure: a recovery must show at once.
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
