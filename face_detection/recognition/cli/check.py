"""The outcome of one check of `doctor`; apart, since it needs none of what the checks import."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """The outcome of one check. advice: what to do, where something is or may be wrong."""

    name: str
    ok: bool
    detail: str
    advice: str = ""

    def lines(self) -> Iterator[str]:
        """Render it as text."""
        yield f"{'ok   ' if self.ok else 'FAULT'} {self.name}: {self.detail}"
        if self.advice:
            yield f"      {self.advice}"
