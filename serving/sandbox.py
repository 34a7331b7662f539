"""Decodes pictures in processes that can do nothing else: what one does to its decoder ends there."""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress

import numpy as np

from serving import sandbox_process as program
from serving.errors import ImageTooLarge, InvalidImage
from serving.formats import unreadable
from serving.pictures import REFUSALS, TOO_LARGE
from serving.remarks import OF_DECODER, Picture

log = logging.getLogger(__name__)

PROGRAM = (sys.executable, "-m", "serving.sandbox_process")
START_LIMIT_S = 60.0
MAX_BYTES = 64 * 2**20

# Memory for pixels that a process keeps for its next picture: 12 megapixels, as telephones take them.
KEPT_BYTES = 3 * 12_000_000 // mmap.PAGESIZE * mmap.PAGESIZE


class Decoder:
    """Decodes pictures, each in a process that does nothing else meanwhile. Several threads may use it.

    There are as many processes as were ever needed at once, up to a limit; they end when this one does,
    however it ends.
    """

    def __init__(
        self,
        *,
        max_pixels: int,
        timeout_s: float,
        max_bytes: int = MAX_BYTES,
        limit: int | None = None,
        command: Sequence[str] = PROGRAM,
    ) -> None:
        """Start no process yet.

        Args:
            max_pixels: width x height of a picture at most.
            timeout_s: how long the decoding of one picture may take.
            max_bytes: of an encoded picture; there is no memory for a larger one.
            limit: of processes; None: the callers keep within bounds.
            command: of the program that decodes.
        """
        self._max_pixels = max_pixels
        self._timeout_s = timeout_s
        self._command = (*command, str(max_pixels), str(max_bytes), str(timeout_s))
        self._idle: list[_Process] = []
        self._missing = ""
        self._turns = threading.BoundedSemaphore(limit) if limit else nullcontext()

    def start(self) -> None:
        """Start a process, so that the first picture need not wait for it.

        Raises:
            OSError: it cannot be started.
        """
        self._idle.append(self._started())

    def __call__(self, data: bytes) -> Picture:
        """Decode a picture and stand it upright, as `images.decode` does.

        Raises:
            ImageTooLarge: its header claims more than `max_pixels` pixels.
            InvalidImage: it cannot be read, or not in time, or takes its decoder down.
        """
        with self._turns:
            process = self._take() or self._started()
            try:
                outcome, picture, refusal = process.decode(data, self._timeout_s)
            except BaseException as e:
                process.kill()
                if isinstance(e, TimeoutError):
                    raise InvalidImage(
                        f"The picture takes longer than {self._timeout_s:g} s to decode."
                    ) from e
                if isinstance(e, ConnectionError):
                    raise InvalidImage(unreadable(data)) from e
                raise
            self._idle.append(process)
        if outcome == program.TOO_LARGE:
            raise ImageTooLarge(TOO_LARGE.format(self._max_pixels))
        if outcome != program.DECODED:
            raise InvalidImage(REFUSALS[refusal - 1] if refusal else unreadable(data))
        return picture

    def close(self) -> None:
        """Stop the processes that wait for a picture."""
        while self._idle:
            self._idle.pop().kill()

    def _started(self) -> _Process:
        process = _Process(self._command, 3 * self._max_pixels)
        try:
            missing = process.wait_for_start()
        except BaseException:
            process.kill()
            raise
        if missing != self._missing:  # once, and not with every process
            self._missing = missing
            log.warning(
                "the process that decodes pictures is confined less than it could be; missing: %s", missing
            )
        return process

    def _take(self) -> _Process | None:
        with suppress(IndexError):
            while True:
                process = self._idle.pop()
                if process.lives():
                    return process
                process.kill()
        return None


class _Process:
    """One decoding process, the socket to it, and the memory where it leaves the pixels."""

    def __init__(self, command: Sequence[str], size: int) -> None:
        self._channel, its_end = socket.socketpair()
        file = os.memfd_create("pixels", os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(file, size)
            # Were it to shrink, to read beyond its end would kill this process.
            fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._shared = mmap.mmap(file, size)
            self._process = subprocess.Popen(
                (*command, str(file)),
                stdin=its_end.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=[file],
                # Where its modules are; nothing else of an environment that may hold secrets.
                env={
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "OPENBLAS_NUM_THREADS": "1",
                    "MALLOC_ARENA_MAX": "1",  # a reader's thread needs no heap of its own
                },
                start_new_session=True,  # Ctrl-C lets it finish its picture
            )
        finally:
            os.close(file)
            its_end.close()

    def lives(self) -> bool:
        """Tell whether it has not ended, and reap it if it has."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        if self._process.wait() == -signal.SIGSYS:
            log.warning("a picture made its decoder try what only an attack tries; the kernel ended it")
        self._channel.close()
        self._shared.close()

    def decode(self, data: bytes, timeout_s: float) -> tuple[int, Picture, int]:
        """Return one of DECODED, INVALID and TOO_LARGE; the picture, empty unless DECODED; and for INVALID
        the number of one of REFUSALS, from 1, or 0.

        Raises:
            TimeoutError: it does not answer.
            ConnectionError: it has died, or answers nonsense.
        """
        deadline = time.monotonic() + timeout_s
        self._channel.settimeout(timeout_s)
        self._channel.sendall(program.REQUEST.pack(len(data)))
        self._channel.sendall(data)
        self._channel.settimeout(max(deadline - time.monotonic(), 1e-3))
        answer = self._channel.recv(program.ANSWER.size)
        if len(answer) != program.ANSWER.size:
            raise ConnectionResetError
        outcome, height, width, more = program.ANSWER.unpack(answer)
        if outcome in (program.INVALID, program.TOO_LARGE):
            return outcome, Picture(np.empty((0, 0, 3), np.uint8)), min(more, len(REFUSALS))
        size = 3 * height * width
        if outcome != program.DECODED or not 0 < size <= len(self._shared):
            raise ConnectionAbortedError
        pixels = np.frombuffer(self._shared, np.uint8, size).reshape(height, width, 3).copy()
        if size > KEPT_BYTES:
            self._shared.madvise(mmap.MADV_REMOVE, KEPT_BYTES, len(self._shared) - KEPT_BYTES)
        remarks = tuple(remark for bit, remark in enumerate(OF_DECODER) if more >> bit & 1)
        orientation = min(more >> program.ORIENTATION_BIT, 8) or 1
        return outcome, Picture(pixels, remarks, orientation), 0

    def wait_for_start(self) -> str:
        """Wait until it is ready for a picture. Returns what confines it less than it could.

        Raises:
            OSError: it does not start.
        """
        self._channel.settimeout(START_LIMIT_S)
        with self._channel.makefile("rb") as lines:
            line = lines.readline()
        if not line.startswith(program.READY):
            raise ChildProcessError("the decoding process does not start")
        return line.removeprefix(program.READY).decode().rstrip()
