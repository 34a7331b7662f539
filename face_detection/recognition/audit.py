"""Who enrolled, deleted or searched what, when, and with what outcome: JSON lines in a file.

No line has a picture, a vector, a name or metadata.
"""

from __future__ import annotations

import errno
import io
import json
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

from recognition.errors import AuditUnavailable, GalleryUnavailable
from serving.errors import Failure
from serving.request_id import caller, request_id

log = logging.getLogger(__name__)

STDERR = Path("-")
NOW = partial(datetime.now, UTC)


class Begin(Protocol):
    """Begins the two lines of a change.

    about: ids of the people whom it is about, by what they are in it; or another gallery.
    """

    def __call__(self, what: str, concerned: Sequence[str] | int, **about: str | Sequence[str]) -> None:
        """Take what is done, and the ids of the samples, or how many there are where they are all."""
        ...


@dataclass(frozen=True, slots=True)
class Audit:
    """Appends to a file that several processes may share: each line is one write, and goes to the end whole.

    path: the file, made for its owner only; `-` is stderr; None: nothing is kept.
    clock: returns the time, in UTC.
    reads: whether lines are wanted of what is merely shown, too.
    gallery: the name of the one that each line is about; None: `default`, which lines do not name.
    """

    path: Path | None
    clock: Callable[[], datetime] = NOW
    reads: bool = False
    gallery: str | None = None

    def __call__(self, what: str, concerned: Sequence[str] | int) -> None:
        """Write the one line of an answer that changes nothing, `done`, before it is given.

        Args:
            what: is answered.
            concerned: the ids of the samples, or how many there are where they are all.

        Raises:
            AuditUnavailable: the line cannot be written; then nothing must be answered.
        """
        self._append([self._line(what, concerned, "done")])

    def read(self, what: str, concerned: Sequence[str] | int, **people: str | Sequence[str]) -> None:
        """Write the one line of what is merely shown, before it is, if such lines are wanted.

        It takes, and raises, what a call does, and ids of people.
        """
        if self.reads:
            self._append([self._line(what, concerned, "done") | people])

    @contextmanager
    def outcomes(self) -> Iterator[Begin]:
        """Write two lines of whatever is begun inside: `begun` at once, and its outcome at the end.

        Gives a function that takes the same as a call, and ids of people. The second line is the first one
        again, at its own time: `done`, or `failed` with the `code` of the error that passes through here. It
        is missing where nobody knows: the process was killed, or the connection to the database broke in a
        commit. A second line that cannot be written changes nothing: what is stored is stored.

        Raises:
            AuditUnavailable: by that function: the first line cannot be written; then nothing must be done.
        """
        begun: list[dict[str, Any]] = []

        def begin(what: str, concerned: Sequence[str] | int, **about: str | Sequence[str]) -> None:
            line = self._line(what, concerned, "begun") | about
            self._append([line])
            begun.append(line)

        try:
            yield begin
        except BaseException as e:
            if not (isinstance(e, GalleryUnavailable) and e.outcome_unknown):
                self._conclude(begun, outcome="failed", code=_code_of(e))
            raise
        self._conclude(begun, outcome="done")

    def check(self) -> None:
        """See to it that lines can be written.

        Raises:
            AuditUnavailable: they cannot.
        """
        self._append([])

    def _line(self, what: str, concerned: Sequence[str] | int, outcome: str) -> dict[str, Any]:
        return {
            "time": self._time(),
            "request_id": request_id.get() or None,
            "who": "service" if what == "expire" else caller.get(),  # whoever's request came upon it
            "what": what,
            **({} if self.gallery is None else {"gallery": self.gallery}),
            "outcome": outcome,
            **({"samples": concerned} if isinstance(concerned, int) else {"ids": list(concerned)}),
        }

    def _conclude(self, begun: Sequence[dict[str, Any]], **outcome: str) -> None:
        if not begun:
            return
        try:
            self._append(line | {"time": self._time()} | outcome for line in begun)
        except AuditUnavailable as e:
            whats = ", ".join(line["what"] for line in begun)
            log.warning("%s: %s: %s", e.code, whats, outcome["outcome"], exc_info=e.__cause__)

    def _time(self) -> str:
        return self.clock().isoformat(timespec="milliseconds")

    def _append(self, lines: Iterable[dict[str, Any]]) -> None:
        if self.path is None:
            return
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        try:
            if self.path == STDERR:
                sys.stderr.write(text)
                sys.stderr.flush()
            else:
                self.path.touch(mode=0o600)
                # Anew each time: it may have been moved away.
                with self.path.open("a+b", buffering=0) as file:
                    data = (text if _ends_whole(file) else "\n" + text).encode()
                    if file.write(data) != len(data):
                        raise OSError(errno.ENOSPC, "a line was cut off")
        except OSError as e:
            full = ": its disk is full" if e.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise AuditUnavailable(f"The audit log cannot be written{full}.") from e


def _ends_whole(file: IO[bytes]) -> bool:
    """Tell whether the last line is whole: a disk that was full may have cut one off."""
    if not file.seekable() or file.seek(0, io.SEEK_END) == 0:  # a pipe, or a new file
        return True
    file.seek(-1, io.SEEK_END)
    return file.read(1) == b"\n"


def _code_of(error: BaseException) -> str:
    if isinstance(error, Failure):
        return error.code
    return "internal_error" if isinstance(error, Exception) else "interrupted"
