"""Who enrolled, deleted or searched what, and when: a JSON line each, without pictures, vectors, metadata."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from recognition.errors import AuditUnavailable
from serving.request_id import caller, request_id

STDERR = Path("-")
NOW = partial(datetime.now, UTC)


@dataclass(frozen=True, slots=True)
class Audit:
    """Appends to a file that several processes may share: each line is one write, and goes to the end whole.

    path: the file, made for its owner only; `-` is stderr; None: nothing is kept.
    clock: returns the time, in UTC.
    """

    path: Path | None
    clock: Callable[[], datetime] = NOW

    def __call__(self, what: str, touched: Sequence[str] | int) -> None:
        """Write a line of what is about to be done, or told, and of the samples that it concerns.

        Args:
            what: was done.
            touched: the ids of the samples, or how many there are where they are all.

        Raises:
            AuditUnavailable: the line cannot be written.
        """
        if self.path is None:
            return
        line = {
            "time": self.clock().isoformat(timespec="milliseconds"),
            "request_id": request_id.get() or None,
            "who": "service" if what == "expire" else caller.get(),  # whoever's request came upon it
            "what": what,
            **({"samples": touched} if isinstance(touched, int) else {"ids": list(touched)}),
        }
        self._append(json.dumps(line, ensure_ascii=False) + "\n")

    def check(self) -> None:
        """See to it that lines can be written.

        Raises:
            AuditUnavailable: they cannot.
        """
        self._append("")

    def _append(self, text: str) -> None:
        try:
            if self.path == STDERR:
                sys.stderr.write(text)
                sys.stderr.flush()
            elif self.path is not None:
                data = text.encode()
                self.path.touch(mode=0o600)
                with self.path.open("ab", buffering=0) as file:  # anew each time: it may have been moved away
                    if file.write(data) != len(data):
                        raise OSError("a line was cut off")
        except OSError as e:
            raise AuditUnavailable("The audit log cannot be written.") from e
