"""What a check of the gallery has found, to JSON and to words. Pure, as render.py is."""

from __future__ import annotations

from recognition.results import Examination, Finding
from recognition.web import answers_doctor


def examination_answer(part: Examination) -> answers_doctor.Examined:
    """Render a part of the check."""
    return {
        "findings": [finding_answer(finding) for finding in part.findings],
        "examined": part.examined,
        "total": part.total,
        "next": part.next,
    }


def told(finding: Finding) -> str:
    """Put a finding into words."""
    first, other = finding.samples[0], finding.samples[-1]
    who, whose = f"{first.name}'s sample {first.id}", f"{other.name}'s sample {other.id}"
    match finding.what:
        case "same_picture":
            return f"{who} and {whose} are of the same picture."
        case "looks_like":
            apart = f"{who} and {whose} are {finding.distance:.2f} apart"
            return f"{first.name} and {other.name} are alike: {apart}."
        case "unlike_own":
            far = f"{who} is far from the person's others ({finding.own:.2f})"
            near = "" if other is first else f", and near to {whose} ({finding.distance:.2f})"
            return f"{far}{near}."
        case "poor_samples":
            return f"All samples of {first.name} are too poor to tell people apart."
        case _:
            return f"{first.name} has a single sample."


def finding_answer(finding: Finding) -> answers_doctor.Finding:
    """Render one finding."""
    return {
        "id": finding.id,
        "what": finding.what,
        "sure": finding.sure,
        "detail": told(finding),
        "samples": [
            {"id": each.id, "person": each.person or "", "name": each.name, "quality": each.quality}
            for each in finding.samples
        ],
        "distance": finding.distance,
        "own": finding.own,
        "advice": [
            {"action": each.action, "person": each.person, "sample": each.sample, "into": each.into}
            for each in finding.advice
        ],
    }
