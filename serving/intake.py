"""How many bytes of bodies one process takes in at a time. Work on a body takes several times its size."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import IO

from flask import Flask, g, request

from serving.errors import Overloaded


class Intake:
    """The bound of one process, which several applications in it may share.

    A body counts as it comes, so that announcing one takes nobody's room, until its request is answered. The
    oldest one always has room, so that of many at once some get through.
    """

    def __init__(self, max_bodies_bytes: int, max_body_bytes: int) -> None:
        """Bound bodies.

        Args:
            max_bodies_bytes: of all bodies together; at least twice max_body_bytes.
            max_body_bytes: of one body.
        """
        self._max_body_bytes = max_body_bytes
        self._but_for_the_oldest = max(max_bodies_bytes - max_body_bytes, max_body_bytes)
        self._taken: dict[object, int] = {}  # bytes of each body; the oldest body comes first
        self._lock = threading.Lock()

    def register(self, app: Flask) -> None:
        """Add the bound to `app`, after all that refuses a request by its head."""
        app.before_request(self._begin)
        app.teardown_request(self._end)

    def _begin(self) -> None:
        length = request.content_length or 0
        if length > self._max_body_bytes or not (length or "Transfer-Encoding" in request.headers):
            return  # it is refused whatever else has come, or there is none
        body = g.body = object()

        def take(count: int) -> None:
            with self._lock:
                self._check(body, count)
                self._taken[body] += count

        with self._lock:
            self._taken[body] = 0
            self._check(body, length)
        request.environ["wsgi.input"] = _Counted(request.environ["wsgi.input"], take)

    def _check(self, body: object, more: int) -> None:
        oldest = next(iter(self._taken))
        if oldest is not body and sum(self._taken.values()) + more > self._but_for_the_oldest:
            raise Overloaded("More bytes of bodies have come than this process can take on; try again soon.")

    def _end(self, _: BaseException | None) -> None:
        with self._lock:
            self._taken.pop(g.pop("body", None), None)


class _Counted:
    """A stream that tells how many bytes are read from it."""

    def __init__(self, stream: IO[bytes], count: Callable[[int], None]) -> None:
        self._stream, self._count = stream, count

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        data = self._stream.read(size)
        self._count(len(data))
        return data
