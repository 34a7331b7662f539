"""How much work one process takes on: some requests run, some wait, the next one is refused at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from recognition.errors import Overloaded


class Admission:
    """A bounded queue. `running` requests work at a time, at most `waiting` more wait for their turn."""

    def __init__(self, running: int, waiting: int) -> None:
        self._places = threading.BoundedSemaphore(running + waiting)
        self._turns = threading.BoundedSemaphore(running)

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Wait for a turn and hold it.

        Raises:
            Overloaded: as many as may wait are waiting; this takes no time.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded("More requests are waiting than this process can take on; try again soon.")
        try:
            with self._turns:
                yield
        finally:
            self._places.release()
