"""Unknown people to the JSON of the answers. Pure."""

from __future__ import annotations

from recognition.faces import Match
from recognition.strangers import Named, Unknown, UnknownPage
from recognition.web import answers_unknowns as answers

BEST = 4  # faces that a list shows of each


def unknown_answer(unknown: Unknown) -> answers.Unknown:
    """Render one unknown person of a list."""
    return {
        "id": unknown.id,
        "faces": len(unknown.faces),
        "best": [face.id for face in unknown.faces if face.picture][:BEST],
        "cameras": sorted({face.camera for face in unknown.faces if face.camera is not None}),
        "first_seen": unknown.since.isoformat(),
        "last_seen": unknown.until.isoformat(),
        "expires_at": unknown.expires_at.isoformat() if unknown.expires_at else None,
        "ignored": unknown.ignored,
        "looks_like": _likeness(unknown.like) if unknown.like else None,
    }


def _likeness(match: Match) -> answers.Likeness:
    return {
        "person": match.sample.person or "",
        "name": match.sample.name,
        "sample": match.sample.id,
        "distance": match.distance,
        "false_match": match.false_match,
    }


def unknowns_answer(page: UnknownPage, *, keeping: bool) -> answers.Unknowns:
    """Render one page of unknown people."""
    return {
        "unknowns": [unknown_answer(unknown) for unknown in page.unknowns],
        "total": page.total,
        "next": page.next,
        "keeping": keeping,
    }


def shown_answer(unknown: Unknown) -> answers.UnknownShown:
    """Render an unknown person with all faces."""
    seen: list[answers.UnknownFace] = [
        {
            "id": face.id,
            "quality": face.quality,
            "seen": face.seen.isoformat(),
            "camera": face.camera,
            "picture": face.picture,
        }
        for face in unknown.faces
    ]
    return {**unknown_answer(unknown), "seen": seen}


def acted_answer(unknown_id: str, named: Named | None) -> answers.Acted:
    """Render what has become of an unknown person, and who they are if they were named."""
    answer: answers.Acted = {"success": [unknown_id]}
    return answer if named is None else {**answer, "person": named.person, "samples": named.samples}
