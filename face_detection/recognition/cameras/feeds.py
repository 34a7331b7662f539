"""Runs the process that reads a source, and again when it has ended or hangs."""

from __future__ import annotations

import json
import math
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Protocol

from recognition.cameras.protocol import ALWAYS, ENDED, FRAME, MOVING, TIMES, UNAVAILABLE
from recognition.cameras.sources import Source

MAX_ANSWER_BYTES = 1 << 28  # far more than any frame's JPEG has
OPENING = 3  # times the time for a frame may pass until the first one: of streams with rare key frames
FIRST_S, GROWTH, LONGEST_S = 0.5, 1.5, 60.0  # between two tries; most breaks are short
STEADY_S = 10.0  # after which a source that breaks is tried again as if for the first time
TICK_S = 1.0
SLICE_S = 0.1  # within which it is seen that it is time to stop

# What OpenCV and FFmpeg may need. Keys and passwords of the services are nothing that a camera's data should
# be near.
ENVIRONMENT = ("PATH", "HOME", "LANG", "TZ", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "http_proxy", "no_proxy")
OF_OPENCV = "OPENCV_"

Run = Callable[[socket.socket], "subprocess.Popen[bytes]"]


class SourceLost(Exception):
    """A source has broken off or hangs, or cannot be opened. What it says has no address."""


class SourceEnded(SourceLost):
    """A source has come to its end."""


class Stopping(Protocol):
    """Tells when to stop: a threading.Event."""

    def is_set(self) -> bool:
        """Whether it is time."""
        ...

    def wait(self, timeout: float) -> bool:
        """Wait for it for so many seconds, and tell whether it is time."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """A moment of a source.

    at: seconds, of the file, or since its process has begun.
    jpeg: the frame; None: there is nothing to look at.
    """

    at: float
    jpeg: bytes | None = field(default=None, repr=False)


class Feed(Protocol):
    """What reads a source."""

    def look(self, *, always: bool) -> Look:
        """Wait for the next moment; always: for a frame, even if nothing moves. Raises SourceLost."""
        ...

    def close(self) -> None:
        """End it."""
        ...


def looks(
    source: Source,
    start: Callable[[], Feed],
    *,
    always: Callable[[], bool],
    stopping: Stopping,
    clock: Callable[[], float],
    tell: Callable[[str], None],
    fail: bool = False,
    jitter: Callable[[], float] = random.random,
) -> Generator[Look, None, None]:
    """Yield the moments of a source until it is time to stop: of a camera for ever, of a file to its end.

    When a camera is lost it is started again, after longer and longer times; meanwhile there is nothing to
    look at. The times of a camera are the clock's.

    start: starts what reads the source.
    always: whether a frame is wanted even if nothing moves.
    tell: is told when the source is lost, once, and when it is back.
    fail: do not start it again.
    jitter: a number in [0, 1), by which several sources that were lost together are not tried together.

    Raises:
        SourceLost: a file cannot be read, or, if it is to fail, a camera is lost.
    """
    lost, delay_s = False, 0.0
    while not stopping.is_set():
        came: float | None = None
        feed: Feed | None = None
        try:
            feed = start()
            while not stopping.is_set():
                look = feed.look(always=always())
                if came is None:
                    came = clock()
                    if lost:
                        tell("is back")
                yield Look(clock(), look.jpeg) if source.live else look
        except SourceLost as e:
            if stopping.is_set() or (isinstance(e, SourceEnded) and not source.live):
                return
            if fail or not source.live:
                raise
            if came is not None or not lost:
                tell(f"is lost: {e}; trying again")
        finally:
            if feed is not None:
                feed.close()
        lost = True
        steady = came is not None and clock() - came >= STEADY_S
        delay_s = FIRST_S if steady or not delay_s else min(LONGEST_S, GROWTH * delay_s)
        until = clock() + delay_s * (1 + jitter()) / 2
        while (left := until - clock()) > 0:
            if stopping.wait(min(TICK_S, left)):
                return
            yield Look(clock())


class ProcessFeed:
    """A source that is read by a process of its own."""

    def __init__(
        self, source: Source, every_s: float, patience_s: float, stopping: Stopping, run: Run
    ) -> None:
        """Start the process.

        every_s: seconds between two frames, at least.
        patience_s: how long none may come.
        run: starts it with its end of a socket.

        Raises:
            SourceLost.
        """
        self._patience_s = patience_s
        self._stopping = stopping
        self._opened = False
        try:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                self._process = run(theirs)
                self._channel = Connection(ours.detach())
        except OSError as e:  # no memory, processes or descriptors are left, for now
            raise SourceLost(f"no process can read it: {e.strerror}") from e
        self._send(
            json.dumps(
                {
                    "address": source.address,
                    "live": source.live,
                    "every_s": every_s,
                    "timeout_s": OPENING * patience_s,  # this process is the one that says when it is over
                }
            ).encode()
        )

    def look(self, *, always: bool) -> Look:
        """Wait for the next moment."""
        request = ALWAYS if always else MOVING
        if not self._opened:
            self._answer(request, OPENING * self._patience_s)
            self._opened = True
        kind, rest = self._answer(request, self._patience_s)
        (at,) = TIMES.unpack_from(rest)
        return Look(at, rest[TIMES.size :] if kind == FRAME else None)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._channel.close()

    def _answer(self, request: bytes, patience_s: float) -> tuple[bytes, bytes]:
        self._send(request)
        slices = math.ceil(patience_s / SLICE_S)
        if not any(self._stopping.is_set() or self._channel.poll(SLICE_S) for _ in range(slices)):
            raise SourceLost(f"no frame for {patience_s:g} s")
        if self._stopping.is_set():
            raise SourceLost("it is time to stop")
        try:
            answer = self._channel.recv_bytes(MAX_ANSWER_BYTES)
        except (EOFError, OSError) as e:
            raise SourceLost("the process that reads it has ended") from e
        if answer[:1] == UNAVAILABLE:
            raise SourceLost("it cannot be opened")
        if answer[:1] == ENDED:
            raise SourceEnded("it has ended")
        return answer[:1], answer[1:]

    def _send(self, message: bytes) -> None:
        with suppress(OSError):  # it has ended, as the attempt to read its answer will tell
            self._channel.send_bytes(message)


def capturing(theirs: socket.socket) -> subprocess.Popen[bytes]:
    """Start the program that reads a source, with its end of a socket. Raises OSError."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "recognition.cameras.capturing", str(theirs.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,  # libraries quote addresses
        pass_fds=[theirs.fileno()],
        env=environment(),
        start_new_session=True,  # Ctrl-C is for the one that ends visits first
    )


def environment() -> dict[str, str]:
    """Return what the process that reads a source is to know of this one's environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(OF_OPENCV) or name in ENVIRONMENT or name.lower() in ENVIRONMENT
    }
    return kept | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OPENCV_FFMPEG_LOGLEVEL": "-8",  # AV_LOG_QUIET
    }
