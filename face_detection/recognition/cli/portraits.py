"""Enrols the largest face of each picture that `index` looks at, without another look at it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from recognition.archive.entries import File, Outcome, Seen
from recognition.archive.updating import STORED_AT_ONCE, Look, chunks
from recognition.bounds import Name
from recognition.config import Settings
from recognition.faces import Sample
from recognition.gallery import Gallery

# Of the ids: a picture that is looked at twice, as its worker died or its process, has one sample.
SPACE = uuid.UUID("5c2b1d1e-4a35-4a0c-8f0e-6d9be7c4a1d3")
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass
class Enrolled:
    """How many pictures were enrolled, how many have no face or a poor one, and how many failed for what."""

    enrolled: int = 0
    poor: int = 0
    failed: dict[str, int] = field(default_factory=dict)

    def line(self) -> str:
        """Put it into words."""
        failed = "".join(f"; {number} failed: {detail}" for detail, number in self.failed.items())
        return f"{self.enrolled} enrolled, {self.poor} without a face that is good enough{failed}."

    def value(self) -> dict[str, Any]:
        """Render it for programs."""
        return {"enrolled": self.enrolled, "not_enrolled": self.poor, "failed": self.failed}


def enrolling(
    look: Look,
    gallery: Gallery,
    fingerprint: str,
    settings: Settings,
    roots: Sequence[bytes],
    report: Enrolled,
) -> Look:
    """Return what sees the same, and enrols it before anybody is told.

    Args:
        look: sees faces, with portraits.
        gallery: takes the samples, with vectors of this fingerprint.
        settings: say which faces are good enough, and how long samples are kept.
        roots: folders; a person is named after the folder below, or else the file.
        report: is added to.
    """

    def looked(files: Iterable[File]) -> Iterator[Outcome]:
        for outcomes in chunks(look(files), STORED_AT_ONCE):
            now = datetime.now(UTC)
            found: dict[str, tuple[Sample, NDArray[np.float32]]] = {}
            for seen in outcomes:
                if not isinstance(seen, Seen):
                    continue
                if seen.portrait is None or seen.faces[0].quality < settings.min_quality:
                    report.poor += 1
                    continue
                try:
                    sample = _sample(seen, roots, now, settings)
                except ValidationError:
                    _fail(report, "the folder's name is no name of a person")
                    continue
                found[sample.id] = sample, seen.faces[0].vector
            if found:
                samples, vectors = zip(*found.values(), strict=True)
                stored = gallery.upsert(samples, np.stack(vectors), fingerprint)
                report.enrolled += len(stored.people)
                for failure in stored.failed.values():
                    _fail(report, failure.detail)
            yield from outcomes

    return looked


def _sample(seen: Seen, roots: Sequence[bytes], now: datetime, settings: Settings) -> Sample:
    assert seen.portrait is not None
    file = seen.file.path
    root = next(root for root in roots if file == root or file.startswith(root.rstrip(b"/") + b"/"))
    path = PurePosixPath(os.fsdecode(seen.file.path[len(root) :].lstrip(b"/") or root.rpartition(b"/")[2]))
    named = path.parent.name or path.stem
    name = _NAME.validate_python(named.encode(errors="replace").decode())
    return Sample(
        str(uuid.uuid5(SPACE, f"{name}/{seen.portrait.sha256}")),
        name,
        {"path": str(path).encode(errors="replace").decode(), "sha256": seen.portrait.sha256},
        action=None,
        created=now,
        modified=now,
        expires_at=None if settings.kept_for is None else now + settings.kept_for,
        quality=seen.faces[0].quality,
        picture=seen.portrait.digest,
        face=seen.portrait.kept,
    )


def _fail(report: Enrolled, detail: str) -> None:
    report.failed[detail] = report.failed.get(detail, 0) + 1
