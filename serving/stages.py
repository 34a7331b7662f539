"""What is noted of the request under way, for log and metrics: stages and their times, counts, the model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Notes:
    """Several threads may append at once. The same stage may stand here several times.

    seconds: each stage and how long it took; counts: what was counted, and how many; models: name and
        fingerprint of those that made vectors.
    """

    seconds: list[tuple[str, float]] = field(default_factory=list)
    counts: list[tuple[str, int]] = field(default_factory=list)
    models: list[tuple[str, str]] = field(default_factory=list)


notes: ContextVar[Notes | None] = ContextVar("notes", default=None)  # None: nobody wants to know


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Note how long the block takes, also if it fails."""
    began = time.perf_counter()
    try:
        yield
    finally:
        if (under_way := notes.get()) is not None:
            under_way.seconds.append((name, time.perf_counter() - began))


def count(name: str, number: int) -> None:
    """Note how many of something there were."""
    if (under_way := notes.get()) is not None:
        under_way.counts.append((name, number))


def used(model: str, fingerprint: str) -> None:
    """Note which model made the vectors."""
    if (under_way := notes.get()) is not None:
        under_way.models.append((model, fingerprint))
