"""Values to the JSON of the answers. Pure: no Flask, no clock."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from recognition.errors import AmbiguousName, Doubtful, LowQuality
from recognition.faces import Face, Mistaken, Person, Quality, Sample, bbox
from recognition.results import (
    Described,
    Detection,
    EnrolledPicture,
    EnrolmentReport,
    EventPage,
    GallerySummary,
    Merged,
    PersonPage,
    Readiness,
    Recognition,
    SamplePage,
    Unmerged,
    Verification,
)
from recognition.visits import as_json
from recognition.web import answers, answers_events
from recognition.web.answers import (
    DetectedFace,
    Enrolled,
    Fault,
    Imported,
    Landmarks,
    PictureWarning,
    Ready,
    Reason,
    RecognisedFace,
    Samples,
    SampleSeen,
    StoredSample,
    Verified,
)
from recognition.web.wire import RecogniseOptions
from serving.errors import Failure
from serving.notices import Notice
from serving.remarks import Remark


def enrolment_answer(report: EnrolmentReport, files: Mapping[str, str] | None = None) -> Enrolled:
    """Render the answer of /update-samples and POST /samples. `files`: the names of uploads, by id."""
    files = files or {}
    return {
        "success": list(report.enrolled),
        "fail": list(report.failed),
        "errors": {sample_id: _fault(e, files.get(sample_id)) for sample_id, e in report.failed.items()},
        "samples": {
            sample_id: _seen(picture, files.get(sample_id)) for sample_id, picture in report.enrolled.items()
        },
    }


def _fault(error: Failure, file: str | None) -> Fault:
    fault: Fault = {"code": error.code, "detail": error.detail}
    if isinstance(error, AmbiguousName):
        fault["persons"] = list(error.persons)
    if isinstance(error, LowQuality) and error.quality:
        fault["quality"], fault["reasons"] = error.quality.value, _reasons(error.quality)
    if isinstance(error, Doubtful) and error.remarks:
        fault["code"] = error.remarks[0].code
        fault["warnings"] = [_warning(remark) for remark in error.remarks]
    if file is not None:
        fault["file"] = file
    return fault


def _seen(picture: EnrolledPicture, file: str | None) -> SampleSeen:
    seen: SampleSeen = {
        "person": picture.person,
        "faces": picture.faces,
        "bbox": bbox(picture.box),
        "quality": picture.quality.value,
        "reasons": _reasons(picture.quality),
        "warnings": [_warning(remark) for remark in picture.remarks],
    }
    if file is not None:
        seen["file"] = file
    return seen


def _reasons(quality: Quality) -> list[Reason]:
    return [{"code": each.code, "value": each.value, "limit": each.limit} for each in quality.reasons]


def _warning(remark: Remark) -> PictureWarning:
    return {"code": remark.code, "detail": remark.detail, **remark.values}  # type: ignore[typeddict-item]


def warning_codes(remarks: Iterable[Remark]) -> str:
    """Render the header X-Picture-Warnings: each code once; empty if there are none."""
    return ", ".join(dict.fromkeys(remark.code for remark in remarks))


def recognition_answer(recognitions: list[Recognition], options: RecogniseOptions) -> list[RecognisedFace]:
    """Render the answer of /face-recognition; unknown faces only if they were asked for."""
    return [
        _recognition(recognition, with_candidates=options.top_k is not None)
        for recognition in recognitions
        if recognition.matches or options.include_unknown
    ]


def _recognition(recognition: Recognition, *, with_candidates: bool) -> RecognisedFace:
    best = recognition.matches[0].sample if recognition.matches else None
    similarity = recognition.model.similarity
    answer: RecognisedFace = {
        "bbox": bbox(recognition.face.box),
        "id": best.id if best else "",
        "metadata": best.metadata if best else "",
        "name": best.name if best else "",
        "person": (best.person or "") if best else "",
        "distance": recognition.distance,
        "similarity": None if recognition.distance is None else similarity(recognition.distance),
        "false_match": recognition.false_match,
        "confidence": recognition.face.confidence,
        "quality": recognition.quality.value,
        "reasons": _reasons(recognition.quality),
    }
    if with_candidates:
        answer["candidates"] = [
            {
                "id": match.sample.id,
                "name": match.sample.name,
                "person": match.sample.person or "",
                "metadata": match.sample.metadata,
                "distance": match.distance,
                "similarity": similarity(match.distance),
                "false_match": match.false_match,
            }
            for match in recognition.matches
        ]
    return answer


def detection_answer(detections: list[Detection]) -> list[DetectedFace]:
    """Render the answer of /detect; landmarks are [x, y] in pixels, None where not found."""
    return [
        {
            "bbox": bbox(detection.face.box),
            "confidence": detection.face.confidence,
            "landmarks": _landmarks(detection.face),
            "quality": detection.quality.value,
            "reasons": _reasons(detection.quality),
        }
        for detection in detections
    ]


def _landmarks(face: Face) -> Landmarks:
    left_eye, right_eye, nose, mouth_left, mouth_right = (
        [round(x, 2), round(y, 2)] if math.isfinite(x) and math.isfinite(y) else None
        for x, y in face.landmarks.tolist()
    )
    return {
        "left_eye": left_eye,
        "right_eye": right_eye,
        "nose": nose,
        "mouth_left": mouth_left,
        "mouth_right": mouth_right,
    }


def verification_answer(verification: Verification) -> Verified:
    """Render the answer of /verify."""
    first, second = verification.faces
    return {
        "verified": verification.verified,
        "distance": verification.distance,
        "threshold": verification.threshold,
        "similarity": verification.model.similarity(verification.distance),
        "bbox1": bbox(first.face.box),
        "bbox2": bbox(second.face.box),
        "quality1": first.quality.value,
        "quality2": second.quality.value,
        "reasons1": _reasons(first.quality),
        "reasons2": _reasons(second.quality),
    }


def page_answer(page: SamplePage) -> Samples:
    """Render one page of samples."""
    return {
        "samples": [sample_answer(sample) for sample in page.samples],
        "total": page.total,
        "next": page.next,
    }


def sample_answer(sample: Sample) -> StoredSample:
    """Render one sample, without its vector; times in ISO 8601, UTC."""
    return {
        "id": sample.id,
        "name": sample.name,
        "person": sample.person or "",
        "metadata": sample.metadata,
        "action": sample.action,
        "created": sample.created.isoformat(),
        "modified": sample.modified.isoformat(),
        "expires_at": sample.expires_at.isoformat() if sample.expires_at else None,
        "quality": sample.quality,
    }


def person_answer(person: Person) -> answers.Person:
    """Render one person."""
    return {
        "id": person.id,
        "name": person.name,
        "metadata": person.metadata,
        "samples": person.samples,
        "sample": person.sample,
        "created": person.created.isoformat(),
        "modified": person.modified.isoformat(),
        "expires_at": person.expires_at.isoformat() if person.expires_at else None,
    }


def persons_answer(page: PersonPage) -> answers.Persons:
    """Render one page of people."""
    return {
        "persons": [person_answer(person) for person in page.persons],
        "total": page.total,
        "next": page.next,
    }


def description_answer(described: Described) -> answers_events.Described:
    """Render the answer of /embeddings."""
    faces = zip(detection_answer(described.faces.faces), described.vectors.tolist(), strict=True)
    return {
        "model": described.model.name,
        "fingerprint": described.fingerprint,
        "faces": [{**face, "embedding": vector} for face, vector in faces],
    }


def events_answer(page: EventPage) -> answers_events.Events:
    """Render one page of events."""
    return {
        "events": [as_json(event) for event in page.events],
        "total": page.total,
        "next": page.next,
        "cameras": page.cameras,
    }


def merge_answer(merged: Merged) -> answers.Merged:
    """Render who has all samples now, and what takes the merge back."""
    emptied = merged.emptied
    return {
        **person_answer(merged.person),
        "merged": {
            "id": emptied.id,
            "name": emptied.name,
            "metadata": emptied.metadata,
            "samples": emptied.samples,
            "created": emptied.created.isoformat(),
            "expires_at": emptied.expires_at.isoformat() if emptied.expires_at else None,
            "by_hand": emptied.by_hand,
            "revision": merged.revision,
        },
    }


def unmerge_answer(unmerged: Unmerged) -> answers.Unmerged:
    """Render who is back after a merge."""
    return {**person_answer(unmerged.person), "left": unmerged.left}


def correction_answer(
    sample_id: str, picture: EnrolledPicture, mistaken: Mistaken | None
) -> answers.Corrected:
    """Render the new sample, and what became of the one that its face was taken for."""
    return {
        **_seen(picture, None),
        "id": sample_id,
        "moved": [mistaken.sample] if mistaken and mistaken.then == "move" else [],
        "removed": [mistaken.sample] if mistaken and mistaken.then == "remove" else [],
    }


def gallery_answer(gallery: GallerySummary) -> answers.Gallery:
    """Render how much is in a gallery."""
    return {
        "name": gallery.name,
        "samples": gallery.samples,
        "persons": gallery.persons,
        "created": gallery.created.isoformat(),
    }


def galleries_answer(galleries: Iterable[GallerySummary]) -> answers.Galleries:
    """Render the list of galleries."""
    return {"galleries": [gallery_answer(gallery) for gallery in galleries]}


def import_answer(imported: int, unchanged: int, unnamed: int) -> Imported:
    """Render the answer of /import; samples without a name are the exception."""
    answer: Imported = {"imported": imported, "unchanged": unchanged}
    return answer | {"unnamed": unnamed} if unnamed else answer


def readiness_answer(
    readiness: Readiness, warnings: list[Notice], *, authentication: bool, version: str
) -> Ready:
    """Render the answer of /ready."""
    return {
        "status": "ready",
        "version": version,
        "model": readiness.model.name,
        "threshold": readiness.model.threshold,
        "distance_range": readiness.model.distance_range,
        "gallery": {"samples": readiness.samples, "damaged": readiness.damaged},
        "decisions": _decisions(readiness),
        "authentication": authentication,
        "warnings": warnings,
    }


def _decisions(readiness: Readiness) -> answers.ReadyDecisions:
    known, radius = readiness.decisions, readiness.model.distance_range[1] / 2
    return {
        "max_false_match": readiness.max_false_match,
        "people": known.people if known else None,
        "wishes": [
            {
                "max_false_match": each.false_match,
                "score": each.score,
                "distance": radius * math.sqrt(2 - 2 * each.cosine),  # of vectors as long as the radius
                "missed": each.missed,
            }
            for each in (known.meanings if known else ())
        ],
        "least": known.least if known else None,
    }
