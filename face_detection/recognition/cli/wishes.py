"""What decisions by an error mean in a gallery, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recognition.errors import NotCalibrated
from recognition.gallery import Gallery
from recognition.gallery.weighing import NOBODY_TO_COMPARE_WITH
from recognition.matching import decision
from recognition.results import Decisions

NO_MODEL = "The gallery is empty, and belongs to no model yet."


def decisions_of(gallery: Gallery, wishes: Sequence[float]) -> Decisions:
    """Tell what wishes mean in a gallery; none: the usual ones.

    Raises:
        NotFound, GalleryUnavailable; NotCalibrated: there is nobody to compare with.
    """
    with gallery.reading() as (_, current):
        fingerprint = current.fingerprint
    if fingerprint is None:
        raise NotCalibrated(NO_MODEL)
    if (known := gallery.calibration(fingerprint)) is None:
        raise NotCalibrated(NOBODY_TO_COMPARE_WITH)
    return decision.decisions(known, sorted({*(wishes or decision.WISHES)}, reverse=True))


def value_of(decisions: Decisions) -> dict[str, Any]:
    """Say it in the words of /ready."""
    wishes = [
        {"max_false_match": each.false_match, "score": each.score, "missed": each.missed}
        for each in decisions.meanings
    ]
    return {"people": decisions.people, "wishes": wishes, "least": decisions.least}


def lines_of(decisions: Decisions) -> list[str]:
    """Say it in words."""
    lines = [f"{decisions.people} people.", "max_false_match  strangers named  people missed  score"]
    for each in decisions.meanings:
        missed = "not known" if each.missed is None else f"{each.missed:.2%}"
        lines.append(
            f"{each.false_match:>15g}  {_one_in(each.false_match):>15}  {missed:>13}  {each.score:.3f}"
        )
    if decisions.least:
        least = _one_in(decisions.least)
        lines.append(f"With fewer than {least}, more than one in ten faces of enrolled people get no name.")
    return lines


def _one_in(share: float) -> str:
    """Say a share to one digit: it is an estimate."""
    return f"1 in {float(f'{1 / share:.0e}'):.0f}"
