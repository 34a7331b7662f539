"""Reads uploads in a process of its own: whatever a picture does to its decoder ends there, and in time."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from embedding.uploads_process import READY

PROGRAM = (sys.executable, "-m", "embedding.uploads_process")
START_LIMIT_S = 60.0


class UploadReader:
    """Turns pictures into crops, one at a time, as the largest ones need much memory. Threads may share it.

    The process starts with the first picture, since nobody may ever send one, and ends when this one does.
    """

    def __init__(
        self, *, side: int, max_pixels: int, timeout_s: float, command: Sequence[str] = PROGRAM
    ) -> None:
        """Start nothing yet.

        Args:
            side: of the crops, in pixels.
            max_pixels: width x height of a picture at most.
            timeout_s: how long the reading of one picture may take.
            command: of the program that reads.
        """
        self._shape = (side, side, 3)
        self._timeout_s = timeout_s
        self._command = (*command, str(side), str(max_pixels), str(timeout_s))
        self._one_at_a_time = threading.Lock()
        self._process: tuple[subprocess.Popen[bytes], Connection] | None = None

    def __call__(self, data: bytes) -> NDArray[np.uint8] | None:
        """Read a picture as `preprocess.read_crop` does.

        Returns:
            uint8 (side, side, 3), RGB; None if it cannot be read, or not in time, or takes its decoder down.

        Raises:
            OSError: the process does not start.
        """
        size = 3 * self._shape[0] * self._shape[1]
        with self._one_at_a_time:
            if self._process is None or self._process[0].poll() is not None:
                self._stop()
                self._process = _start(self._command)
            answer = _answer(*self._process, size, self._timeout_s, data)
            if answer is None:
                self._stop()
        if answer is None or len(answer) != size:
            return None
        return np.frombuffer(answer, np.uint8).reshape(self._shape)

    def close(self) -> None:
        """Stop the process, if there is one."""
        with self._one_at_a_time:
            self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            process, channel = self._process
            process.kill()
            process.wait()
            channel.close()
            self._process = None


def _start(command: Sequence[str]) -> tuple[subprocess.Popen[bytes], Connection]:
    channel, its_end = multiprocessing.Pipe()
    with its_end:
        process = subprocess.Popen(
            command,
            stdin=its_end.fileno(),
            stdout=subprocess.DEVNULL,
            # Where its modules are; nothing else of an environment that may hold secrets.
            env={"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C leaves it to finish what it is at
        )
    if _answer(process, channel, len(READY), START_LIMIT_S) != READY:
        process.kill()
        process.wait()
        channel.close()
        raise ChildProcessError("the process that reads pictures does not start")
    return process, channel


def _answer(
    process: subprocess.Popen[bytes],
    channel: Connection,
    size: int,
    limit_s: float,
    data: bytes | None = None,
) -> bytes | None:
    """Send `data`, if there is some, and return what comes back, `size` bytes at most.

    None: the process has died. When its time is over it is killed, which ends all waiting for it here.
    """
    over = threading.Timer(limit_s, process.kill)
    over.start()
    try:
        if data is not None:
            channel.send_bytes(data)
        return channel.recv_bytes(size)
    except (EOFError, OSError):
        return None
    finally:
        over.cancel()
