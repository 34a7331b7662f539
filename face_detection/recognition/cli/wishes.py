"""What decisions by an error mean in a gallery, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from recognition.errors import NotCalibrated
from recognition.gallery import Gallery
from recognition.gallery.weighing import NOBODY_TO_COMPARE_WITH
from recognition.matching import decision
from recognition.results import Decisions


def decisions_of(gallery: Gallery, wishes: Sequence[float]) -> Decisions:
    """Tell what wishes mean in a gallery; none: the usual ones.

    Raises:
        NotFound, GalleryUnavailable; NotCalibrated: there is nobody to compare with.
    """
    with gallery.reading() as (_, current):
        fingerprint = current.fingerprint or ""
    if (known := gallery.calibration(fingerprint)) is None:
        raise NotCalibrated(NOBODY_TO_COMPARE_WITH)
    return decision.decisions(known, wishes or decision.WISHES)


def value_of(decisions: Decisions) -> dict[str, Any]:
    """Say it in JSON."""
    return asdict(decisions)


def lines_of(decisions: Decisions) -> list[str]:
    """Say it in words."""
    lines = [f"{decisions.people} people.", "strangers named  people missed  score"]
    for each in decisions.meanings:
        missed = "not known" if each.missed is None else f"{each.missed:.2%}"
        lines.append(f"{f'1 in {1 / each.false_match:.4g}':>15}  {missed:>13}  {each.score:.3f}")
    if decisions.least is not None:
        lines.append(
            f"With less than {decisions.least:.2g}, more than one in ten faces of people are missed."
        )
    return lines
