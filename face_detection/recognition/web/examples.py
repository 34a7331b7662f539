"""The examples of /openapi.json and /docs: each call works when its example is sent as it stands."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from recognition.faces import Person, Sample
from recognition.gallery import portable

PICTURE, EXPORTED = "<a picture>", "<an export>"  # stand for what is too long for a table
PICTURE_PX = 96  # the side of the picture

BOX = "61, 42, 120, 150"
SAMPLE = {"id": "astronaut/1", "name": "Eileen Collins", "metadata": {"flights": 4}}
MATCH = {**SAMPLE, "person": "eileen", "distance": 3.1, "similarity": 0.845, "false_match": 2e-9}
QUALITY = {"quality": 0.93, "reasons": []}
FACE = {"bbox": BOX, **MATCH, "confidence": 0.9998, **QUALITY}
LANDMARKS = {
    "left_eye": [95.5, 100.25],
    "right_eye": [148.0, 101.5],
    "nose": [121.0, 133.0],
    "mouth_left": [99.0, 158.75],
    "mouth_right": None,
}
DETECTED = {"bbox": BOX, "confidence": 0.9998, "landmarks": LANDMARKS, **QUALITY}
TIMES = {
    "created": "2026-11-24T01:59:21.186000+00:00",
    "modified": "2026-11-24T01:59:21.186000+00:00",
    "expires_at": None,
}
STORED = {**SAMPLE, "person": "eileen", "action": None, **TIMES, "quality": 0.93}
NEW_PERSON = {"name": "Eileen Collins", "metadata": {"consent": "2026-11-24"}}
NEXT_PERSON = "WyJlaWxlZW4iLCJlaWxlZW4iLCIyMDI2LTAxLTMxVDEyOjAwOjAwKzAwOjAwIl0="
GALLERY = {"name": "default", "samples": 92, "persons": 40, "created": "2026-01-31T12:00:00+00:00"}
MODEL_CHANGE = {
    "model": "Facenet",
    "other": "MobileFaceNet",
    "has_other": True,
    "samples": 92,
    "done": 64,
    "waiting": 28,
    "waiting_samples": ["astronaut/1", "astronaut/2"],
    "to": "MobileFaceNet",
    "without_face": "leave",
    "running": True,
    "resumes": True,
    "trouble": None,
}
VISIT = {
    "id": "0b4cba0e-6f37-4f0c-9b5a-7a2f6d1e8c11",
    "camera": "front door",
    "since": "2026-11-24T08:30:00+00:00",
    "until": "2026-11-24T08:30:12.500000+00:00",
    "frames": 31,
    "bbox": BOX,
    "quality": 0.93,
    "fingerprint": "fingerprint-of-the-model-1",
    "embeddings": [[5, 5, 5, 5], [5, 5, 5, 4.5]],
    "picture": PICTURE,
}
EVENT = {
    **{name: VISIT[name] for name in ("id", "camera", "since", "until", "frames", "bbox", "quality")},
    "name": "Eileen Collins",
    "person": "eileen",
    "sample": "astronaut/1",
    "distance": 3.1,
    "false_match": 2e-9,
    "unknown": None,
    "picture": True,
}
EVENTS = {
    "events": [EVENT],
    "total": 92,
    "next": "WyIyMDI2LTExLTI0VDA4OjMwOjAwKzAwOjAwIiwiMGI0Y2JhMGUtNmYzNy00ZjBjLTliNWEtN2EyZjZkMWU4YzExIl0=",
    "cameras": ["back door", "front door"],
}
DESCRIBED = {
    "model": "Facenet",
    "fingerprint": "fingerprint-of-the-model-1",
    "faces": [{**DETECTED, "embedding": [5.0, 5.0, 5.0, 5.0]}],
}
PERSON = {"id": "eileen", **NEW_PERSON, "samples": 3, "sample": "astronaut/1", **TIMES}
MERGED = {
    "id": "another",
    "name": "E. Collins",
    "metadata": None,
    "samples": 2,
    "created": TIMES["created"],
    "expires_at": None,
    "by_hand": True,
    "revision": 17,
}
ERASED = {
    "success": ["eileen"],
    "receipt": {
        "person": "eileen",
        "samples": ["astronaut/1"],
        "events": 2,
        "erased": ["the person's name, metadata and times"],
        "erased_at": "2026-11-24T01:59:21.186000+00:00",
        "gallery": "default",
        "database": "sqlite",
        "places": [{"place": "the rows of the database", "state": "overwritten"}],
        "remains": ["backups and exports that were made before, encrypted ones, too"],
        "after_restoring": "`recognition gallery replay-erasures` erases it again ...",
    },
}
SUSPECT = {"id": "astronaut/1", "person": "eileen", "name": "Eileen Collins", "quality": 0.93}
EXAMINED = {
    "findings": [
        {
            "id": '["unlike_own", "astronaut/1"]',
            "what": "unlike_own",
            "sure": 0.97,
            "detail": "Eileen Collins's sample astronaut/1 is far from their others (13.20), and near to "
            "Pamela Melroy's sample 7 (5.10).",
            "samples": [SUSPECT, {"id": "7", "person": "pam", "name": "Pamela Melroy", "quality": None}],
            "distance": 5.1,
            "own": 13.2,
            "advice": [
                {"action": "move_sample", "person": "eileen", "sample": "astronaut/1", "into": "pam"},
                {"action": "delete_sample", "person": "eileen", "sample": "astronaut/1", "into": None},
            ],
        }
    ],
    "examined": 92,
    "total": 92,
    "next": None,
}
ENROLLED = {
    "success": ["astronaut/1"],
    "fail": ["2"],
    "errors": {"2": {"code": "no_face", "detail": "No face was found in the picture."}},
    "samples": {"astronaut/1": {"person": "eileen", "faces": 1, "bbox": BOX, **QUALITY, "warnings": []}},
}
CORRECTED = {
    "id": "astronaut/2",
    "person": "eileen",
    "faces": 1,
    "bbox": BOX,
    **QUALITY,
    "warnings": [],
    "moved": [],
    "removed": ["astronaut/1"],
}
VERIFIED = {
    "verified": True,
    "distance": 3.1,
    "threshold": 9.0,
    "similarity": 0.845,
    "bbox1": BOX,
    "bbox2": BOX,
    "quality1": 0.93,
    "quality2": 0.41,
    "reasons1": [],
    "reasons2": [{"code": "dark", "value": 31.5, "limit": 40.0}],
}
READY = {
    "status": "ready",
    "version": "1.0.0",
    "model": "Facenet",
    "threshold": 9.0,
    "distance_range": [0.0, 20.0],
    "gallery": {"samples": 92, "damaged": 0},
    "decisions": {
        "max_false_match": None,
        "people": 15,
        "wishes": [{"max_false_match": 0.01, "score": 0.3, "distance": 9.6, "missed": 0.01}],
        "least": 0.0004,
    },
    "authentication": False,
    "warnings": [],
}
REMOVED = {"success": "Samples have been removed successfully"}


def samples(picture: NDArray[np.uint8]) -> dict[str, str]:
    """Return what PICTURE and EXPORTED stand for.

    picture: uint8 (S, S, 3), RGB, with one face, which is made small.
    """
    small = cv2.resize(picture, (PICTURE_PX, PICTURE_PX), interpolation=cv2.INTER_AREA)
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(small, np.uint8), quality=60)
    made = datetime(2026, 11, 24, 1, 59, 21, tzinfo=UTC)
    sample = Sample("astronaut/1", "Eileen Collins", {"flights": 4}, None, made, made, person="eileen")
    person = Person("eileen", "Eileen Collins", {"consent": "2026-11-24"}, made, made)
    entries: list[portable.Entry] = [(sample, np.full(4, 5, np.float32)), person]
    header = portable.Header("fingerprint-of-the-model-1", 4)
    pieces = portable.pieces(header, lambda after: entries if after is None else [])
    return {
        PICTURE: base64.b64encode(jpeg).decode("ascii"),
        EXPORTED: b"".join(piece for piece, _ in pieces).decode(),
    }
