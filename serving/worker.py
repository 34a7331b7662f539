"""A gunicorn worker whose threads slow clients cannot hold, and which refuses connections while it stops.

gunicorn's own reads a request in one of its threads, for as long as the client takes to send it. Here it has
to arrive in time; and while others wait for a thread, those that arrive slowly lose theirs.
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

GRACE_S = 1.0  # what any request may take to arrive, however many wait
LOOK_S = 0.25  # how often who waits for a client looks whether others wait for the thread


class Reader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """What a client sends, and until when it may take to send it."""

    def __init__(self, client: socket.socket, others: deque[Any]) -> None:
        """others: not empty while somebody waits for this thread."""
        super().__init__(client)
        self._others = others
        self.answering = False  # the application reads, and is told in its own terms

    def begin(self, limit_s: float) -> None:
        """Give what comes now, a request or the rest of one, so much time from now on."""
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
    """gunicorn's threaded worker, but for what this module's first lines say.

    limit_s: how long a request may take to arrive; server.py sets it.
    """

    limit_s: float

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start like gunicorn's."""
        super().__init__(*args, **options)
        self._waiting: deque[gthread.TConn] = deque()  # connections, for a thread

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not; one that stops leaves none to wait for what will not come."""
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
        self._waiting.popleft()  # whichever it is: only how many there are counts
        if not conn.initialized:
            # gunicorn would wait here for the first byte, which the main loop can, as long as it goes on.
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
        conn.sock.settimeout(self.limit_s)  # for a client that does not take the answer
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            raise _too_slow() from None
        finally:
            reader.answering = False
            reader.begin(GRACE_S)  # for what is left of the request

    def _keepalive_after(self, conn: gthread.TConn, keepalive: bool) -> bool:
        """Keep a connection, as was announced, if the rest of the body comes in time, and not just 64 KB."""
        return keepalive and bool(conn.parser.finish_body())


def _part(conn: gthread.TConn) -> None:
    """Say good-bye, which gunicorn would do in the thread that accepts connections, waiting for the client.

    Bytes that nobody has read would take the answer from the client: only then it is waited for, and what it
    still sends is thrown away.
    """
    reader, request = conn.parser.unreader, conn.parser.mesg
    in_time = reader.left_s() > 0
    reader.begin(0)  # nothing more is received
    try:
        all_read = request is not None and conn.parser.finish_body()
    except (OSError, ParseException):
        all_read = False
    with suppress(OSError):
        if not all_read:
            conn.sock.shutdown(socket.SHUT_WR)
            if not (in_time and _hangs_up(reader)):
                # Close with a reset: who is stuck sending would else be told nothing for a minute.
                conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        conn.sock.shutdown(socket.SHUT_RDWR)


def _hangs_up(reader: Reader) -> bool:
    """Throw away what the client sends, for GRACE_S at most; returns whether it has hung up by then."""
    reader.begin(GRACE_S)
    try:
        while reader.chunk():
            pass
    except ConnectionResetError:
        return False
    return True


def _too_slow() -> OSError:
    return ConnectionResetError(errno.ECONNRESET, "The client is too slow.")
