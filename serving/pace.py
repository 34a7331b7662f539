"""How long a thread waits for its client, which sends, reads and hangs up at whatever pace it likes."""

from __future__ import annotations

import errno
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

from gunicorn.http.unreader import SocketUnreader

from serving.errors import RequestTimeout

GRACE_S = 1.0  # a pause that any client may make, however many others wait for a thread
LOOK_S = 0.25  # how often a thread that waits for its client checks whether others wait for a thread
SLOWEST_BYTES_S = 16 * 1024  # while others wait: a photograph of 480 KB in 30 s, as over a bad radio link
NOT_NOW = (TimeoutError, BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Threads:
    """What the threads of a worker do: which connections they work on, and for which clients they wait.

    A client that has been answered may linger: it takes the answer slowly, or does not hang up. While
    others wait for a thread, half of the threads at most wait for such clients, and those that have done
    nothing for longest are dropped. So they leave threads to everybody else, however many they are.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._may_linger = max(1, number // 2)
        self._taken: set[Any] = set()
        self._lingering: dict[socket.socket, None] = {}  # first the one that has done nothing for longest
        self._lock = threading.Lock()

    def take(self, conn: Any) -> None:
        """Count a connection that a thread works on, or that waits for one."""
        with self._lock:
            self._taken.add(conn)
            self._drop_who_lingers()

    def leave(self, conn: Any) -> None:
        """Count it no more."""
        self._taken.discard(conn)

    def are_short(self) -> bool:
        """Tell whether a connection waits for a thread."""
        return len(self._taken) > self._number

    @contextmanager
    def lingering(self, client: socket.socket) -> Iterator[None]:
        """Wait, inside the block, for a client that has been answered to take some more, or to hang up."""
        with self._lock:
            self._lingering[client] = None
            self._drop_who_lingers()
        try:
            yield
        finally:
            with self._lock:
                self._lingering.pop(client, None)

    def _drop_who_lingers(self) -> None:
        while self.are_short() and len(self._lingering) > self._may_linger:
            client = next(iter(self._lingering))
            del self._lingering[client]
            with suppress(OSError):
                close_with_reset(client)
                client.shutdown(socket.SHUT_RDWR)  # wakes its thread


class Pace:
    """By when a client has to have done something: by its deadline and, while others wait, at some speed."""

    def __init__(self, threads: Threads, limit_s: float, waited_s: float = 0) -> None:
        """Begin now, for limit_s at most; waited_s are over already of the pause that the client may make."""
        now = time.monotonic()
        self._threads = threads
        self._deadline = now + limit_s
        self._due = now + max(GRACE_S - waited_s, 0)

    def left_s(self) -> float:
        """How long to wait for the client: 0: take only what is there; below 0: the time is over."""
        now = time.monotonic()
        left_s = self._deadline - now
        return min(left_s, max(self._due - now, 0)) if self._threads.are_short() else left_s

    def moved(self, count: int, *, extend: bool = False) -> None:
        """Note that this many bytes have come or gone; `extend` the deadline at the slowest speed."""
        more_s = count / SLOWEST_BYTES_S
        self._due = min(self._due + more_s, time.monotonic() + GRACE_S)
        if extend:
            self._deadline += more_s


class Reader(SocketUnreader):  # type: ignore[misc]  # gunicorn has no types
    """What a client sends, and by when it has to have sent it."""

    def __init__(self, client: socket.socket, threads: Threads) -> None:
        super().__init__(client)
        self._threads = threads
        self.answering = False  # the application is reading, and gets an exception that it knows
        self.begin(0)

    def begin(self, limit_s: float, waited_s: float = 0, *, answered: bool = False) -> None:
        """Allow this much time, from now on, for a request or, once it is answered, for the rest of it."""
        self._limit_s, self._answered = limit_s, answered
        self.pace = Pace(self._threads, limit_s, waited_s)

    def chunk(self, size_hint: int | None = None) -> bytes:
        """Receive some bytes; none at the end.

        Raises:
            RequestTimeout: the application reads, and the time is over.
            ConnectionResetError: gunicorn reads, and the time is over.
        """
        if self.pace.left_s() >= 0:  # what is there already is not waited for
            self.sock.settimeout(0)
            with suppress(*NOT_NOW):
                return self._received(size_hint)
        with self._threads.lingering(self.sock) if self._answered else nullcontext():
            while (left_s := self.pace.left_s()) > 0:
                self.sock.settimeout(min(left_s, LOOK_S))
                with suppress(*NOT_NOW):
                    return self._received(size_hint)
        if self.answering:
            raise RequestTimeout(
                f"It took longer than {self._limit_s:g} s to arrive."
                if left_s < 0
                else f"It arrived at less than {SLOWEST_BYTES_S} bytes a second while others waited."
            )
        raise too_slow()

    def _received(self, size_hint: int | None) -> bytes:
        data: bytes = super().chunk(size_hint)
        self.pace.moved(len(data))
        return data


class Sender:
    """A client's connection while it is answered."""

    def __init__(self, client: socket.socket, threads: Threads, limit_s: float) -> None:
        """Allow limit_s for the answer, and more if it is large and the client takes it."""
        self._client, self._threads, self._limit_s = client, threads, limit_s
        self._pace: Pace | None = None  # begins when the buffers between both are full

    def __getattr__(self, name: str) -> Any:
        """Be the connection in all else."""
        return getattr(self._client, name)

    def sendall(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            ConnectionResetError: the client does not take it in time.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[self.send(rest) :]

    def send(self, data: bytes | memoryview) -> int:
        """Send some of it, and return how much.

        Raises:
            ConnectionResetError: the client does not take it in time.
        """
        self._client.settimeout(0)
        with suppress(*NOT_NOW):
            return self._sent(self._client.send(data))
        self._pace = self._pace or Pace(self._threads, self._limit_s)
        with self._threads.lingering(self._client):
            while (left_s := self._pace.left_s()) > 0:
                self._client.settimeout(min(left_s, LOOK_S))
                with suppress(*NOT_NOW):
                    return self._sent(self._client.send(data))
        close_with_reset(self._client)
        raise too_slow()

    def _sent(self, count: int) -> int:
        if self._pace is not None:
            self._pace.moved(count, extend=True)
        return count


def close_with_reset(client: socket.socket) -> None:
    """Have a connection closed with a reset: its client learns of it, the kernel keeps no unread answer."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def too_slow() -> OSError:
    """What gunicorn takes for a client that is gone."""
    return ConnectionResetError(errno.ECONNRESET, "The client is too slow.")
