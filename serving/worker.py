"""A gunicorn worker whose threads slow clients cannot hold, and that refuses new connections while it stops.

gunicorn's own worker reads a request in one of its threads for as long as the client takes to send it. Here a
request has to arrive in time, and while others wait for a thread, slow ones lose theirs.
"""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections import deque
from contextlib import suppress
from typing import Any

from gunicorn.http.errors import ParseException
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers import gthread

from serving.errors import RequestTimeout

GRACE_S = 1.0  # that any request may take to arrive, however many wait
LOOK_S = 0.25  # how often a thread that waits for a client checks whether others wait for the thread


class Reader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """What a client sends, and by when it has to have sent it."""

    def __init__(self, client: socket.socket, others: deque[Any]) -> None:
        """others: not empty while somebody waits for this thread."""
        super().__init__(client)
        self._others = others
        self.answering = False  # the application is reading, and gets an exception that it knows

    def begin(self, limit_s: float) -> None:
        """Allow this much time, from now on, for a request or the rest of one."""
        self._limit_s = limit_s
        self._began = time.monotonic()

    def left_s(self) -> float:
        """How much of its time is left, in seconds."""
        return self._began + self._allowed_s() - time.monotonic()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Receive some bytes; none at the end.

        Raises:
            RequestTimeout: the application reads, and the time is over.
            ConnectionResetError: gunicorn reads, and the time is over.
        """
        sending = self.sock.gettimeout()
        while (left_s := self.left_s()) > 0:
            self.sock.settimeout(min(left_s, LOOK_S))
            try:
                data: bytes = super().chunk(size_hint)
                return data
            except TimeoutError:
                continue
            finally:
                self.sock.settimeout(sending)
        if self.answering:
            raise RequestTimeout(f"It took longer than {self._allowed_s():g} s to arrive.")
        raise _too_slow()

    def _allowed_s(self) -> float:
        return min(self._limit_s, GRACE_S) if self._others else self._limit_s


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker, except for what the module's docstring says.

    limit_s: how long a request may take to arrive; server.py sets it.
    """

    limit_s: float

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start like gunicorn's."""
        super().__init__(*args, **options)
        self._waiting: deque[gthread.TConn] = deque()  # connections, for a thread

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not; a worker that stops closes its listeners, so nobody waits in vain."""
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                listener.close()

    def enqueue_req(self, conn: gthread.TConn) -> None:
        """Give a connection to a thread, as soon as one is free."""
        self._waiting.append(conn)
        super().enqueue_req(conn)

    def handle(self, conn: gthread.TConn) -> Any:
        """Read and answer one request, in a thread."""
        self._waiting.popleft()  # any of them: only their number counts
        if not conn.initialized:
            # gunicorn would wait here for the first byte; the main loop can do that, as long as it runs.
            if not conn.wait_for_data(0 if self.alive else GRACE_S):
                return gthread._DEFER
            conn.init()
            conn.parser.unreader = Reader(conn.sock, self._waiting)
        conn.parser.unreader.begin(self.limit_s)
        kept = super().handle(conn)
        if not kept:
            _part(conn)
        return kept

    def handle_request(self, req: Any, conn: gthread.TConn) -> Any:
        """Let the application answer; it is the application that reads the body."""
        reader = conn.parser.unreader
        reader.answering = True
        conn.sock.settimeout(self.limit_s)  # for a client that does not read the answer
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            raise _too_slow() from None
        finally:
            reader.answering = False
            reader.begin(GRACE_S)  # for what is left of the request

    def _keepalive_after(self, conn: gthread.TConn, keepalive: bool) -> bool:
        """Keep a connection, as announced, if the rest of the body arrives in time, even beyond 64 KB."""
        return keepalive and bool(conn.parser.finish_body())


def _part(conn: gthread.TConn) -> None:
    """Close a connection here: gunicorn would wait for the client in the thread that accepts connections.

    If unread bytes were left, closing would destroy the answer before the client has it. Only then wait for
    the client, and discard what it still sends.
    """
    reader, request = conn.parser.unreader, conn.parser.mesg
    in_time = reader.left_s() > 0
    reader.begin(0)  # receive nothing more
    try:
        all_read = request is not None and conn.parser.finish_body()
    except (OSError, ParseException):
        all_read = False
    with suppress(OSError):
        if not all_read:
            conn.sock.shutdown(socket.SHUT_WR)
            if not (in_time and _hangs_up(reader)):
                # Close with a reset, or a client that is stuck sending would learn nothing for a minute.
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.sock.shutdown(socket.SHUT_RDWR)


def _hangs_up(reader: Reader) -> bool:
    """Discard what the client sends, for GRACE_S at most; return whether it has hung up by then."""
    reader.begin(GRACE_S)
    try:
        while reader.chunk():
            pass
    except ConnectionResetError:
        return False
    return True


def _too_slow() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "The client is too slow.")
