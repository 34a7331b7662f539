"""How many bytes of bodies one process takes in at a time. Work on a body takes several times its size."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import IO

from flask import Flask, g, request

from serving.errors import Overloaded


def register(app: Flask, max_bodies_bytes: int, max_body_bytes: int) -> None:
    """Add the bound to `app`, after all that refuses a request by its head.

    A body counts as it comes, so that announcing one takes nobody's room, until its request is answered. The
    oldest one always has room, so that of many at once some get through.

    Args:
        app: the application.
        max_bodies_bytes: of all bodies together; at least twice max_body_bytes.
        max_body_bytes: of one body.
    """
    but_for_the_oldest = max(max_bodies_bytes - max_body_bytes, max_body_bytes)
    taken: dict[object, int] = {}  # bytes of each body; the oldest body comes first
    lock = threading.Lock()

    def check(body: object, more: int) -> None:
        if next(iter(taken)) is not body and sum(taken.values()) + more > but_for_the_oldest:
            raise Overloaded("More bytes of bodies have come than this process can take on; try again soon.")

    @app.before_request
    def begin() -> None:
        length = request.content_length or 0
        if length > max_body_bytes or not (length or "Transfer-Encoding" in request.headers):
            return  # it is refused whatever else has come, or there is none
        body = g.body = object()

        def take(count: int) -> None:
            with lock:
                check(body, count)
                taken[body] += count

        with lock:
            taken[body] = 0
            check(body, length)
        request.environ["wsgi.input"] = _Counted(request.environ["wsgi.input"], take)

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        with lock:
            taken.pop(g.pop("body", None), None)


class _Counted:
    """A stream that tells how many bytes are read from it."""

    def __init__(self, stream: IO[bytes], count: Callable[[int], None]) -> None:
        self._stream, self._count = stream, count

    def read(self, size: int = -1) -> bytes:
        """Read some bytes."""
        data = self._stream.read(size)
        self._count(len(data))
        return data
