"""What is wrong though a service goes on: its master and its workers put it here, and /ready shows it."""

from __future__ import annotations

import mmap
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

RELOAD_REFUSED, WORKER_NOT_STARTED, METRICS_APART = "reload_refused", "worker_not_started", "metrics_apart"
CODES = (RELOAD_REFUSED, WORKER_NOT_STARTED, METRICS_APART)
BYTES_EACH = 1024


class Notice(TypedDict):
    """What is wrong, though the service is ready."""

    code: Annotated[str, Field(description="What kind of thing it is.")]
    detail: Annotated[str, Field(description="What exactly, in words.")]


class Notices:
    """One sentence for each code, in memory that is shared with the processes forked from this one.

    No file: the disk may be what is wrong.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._memory = mmap.mmap(-1, BYTES_EACH * len(CODES))

    def put(self, code: str, detail: str) -> None:
        """Show a sentence, in the place of the one before; an empty one shows none. Long ones are cut."""
        start = CODES.index(code) * BYTES_EACH
        self._memory[start : start + BYTES_EACH] = detail.encode()[:BYTES_EACH].ljust(BYTES_EACH, b"\0")

    def shown(self) -> list[Notice]:
        """Return those that there are."""
        texts = (
            self._memory[start : start + BYTES_EACH].rstrip(b"\0").decode(errors="ignore")
            for start in range(0, len(self._memory), BYTES_EACH)
        )
        return [Notice(code=code, detail=text) for code, text in zip(CODES, texts, strict=True) if text]
