"""Events as JSON lines in a file, or in a pipe."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from recognition.events.delivery import Failed, Waiting

END_BYTES = 1 << 16  # of the file, in which its last line is: an event has at most some 2 KB


class Lines:
    """A file that whole lines are appended to.

    It is opened for each event, so that it may be moved or emptied at any time, as logrotate does it. A pipe
    that was made with mkfifo will do, too.
    """

    with_pictures = False

    def __init__(self, file: Path) -> None:
        self._file = file
        self.name = f"file {file}"

    def deliver(self, waiting: Waiting) -> None:
        """Append a line, unless it is the last one already.

        Raises:
            Failed.
        """
        try:
            self._append(waiting)
        except OSError as e:
            raise Failed(f"{self._file} cannot be written: {e.strerror}") from e

    def _append(self, waiting: Waiting) -> None:
        is_pipe = self._file.exists() and not self._file.is_file()
        # Of a pipe that nobody reads it is said so, instead of waited for.
        how = os.O_WRONLY | os.O_NONBLOCK if is_pipe else os.O_RDWR | os.O_APPEND | os.O_CREAT
        handle = os.open(self._file, how, 0o600)
        try:
            line = waiting.body.encode() + b"\n"
            if is_pipe:
                _write(handle, line)
                return
            size = os.fstat(handle).st_size
            end = os.pread(handle, END_BYTES, max(0, size - END_BYTES))
            if end.endswith(b"\n" + line) or end == line:
                return  # written by a program that was killed right after
            if end and not end.endswith(b"\n"):
                line = b"\n" + line  # what a crash has left of a line is none
            try:
                _write(handle, line)
                os.fsync(handle)  # it goes from the queue now
            except OSError:
                with suppress(OSError):
                    os.ftruncate(handle, size)  # no halves
                raise
        finally:
            os.close(handle)

    def close(self) -> None:
        """Do nothing."""


def _write(handle: int, line: bytes) -> None:
    while line:
        line = line[os.write(handle, line) :]
