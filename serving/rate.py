"""How often one caller may ask, in one process. The clock is an argument; nothing here sleeps."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from serving.errors import RateLimited

WINDOW_S = 60.0


class RateLimit:
    """Takes at most `per_minute` requests, at least 1, of each caller within any 60 seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._lock = threading.Lock()
        # The times of each caller's last requests that were taken; the caller of the latest is the last one.
        self._taken: dict[str, deque[float]] = {}

    def take(self, caller: str) -> None:
        """Count a request of this caller; one that is refused does not count.

        Raises:
            RateLimited: with the time after which the next one is taken.
        """
        with self._lock:
            now = self._clock()
            self._forget(now - WINDOW_S)
            times = self._taken.get(caller) or deque(maxlen=self._per_minute)
            if len(times) == self._per_minute and now < times[0] + WINDOW_S:
                raise RateLimited(
                    f"More than {self._per_minute} requests in a minute; try again after the time given.",
                    math.ceil(times[0] + WINDOW_S - now),
                )
            times.append(now)
            self._taken.pop(caller, None)
            self._taken[caller] = times

    def _forget(self, until: float) -> None:
        """Drop the callers who have asked nothing since: only those of one minute take memory."""
        while self._taken:
            caller = next(iter(self._taken))
            if self._taken[caller][-1] > until:
                return
            del self._taken[caller]
