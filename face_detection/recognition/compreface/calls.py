"""Every call of the dialect, one row each."""

from __future__ import annotations

from recognition.client_keys import Kind
from recognition.compreface import (
    admin,
    config,
    detection,
    embeddings,
    faces,
    images,
    recognition,
    subjects,
    verification,
)
from recognition.compreface.table import Call

R: Kind = "recognition"
D: Kind = "detection"
V: Kind = "verification"

CALLS: tuple[Call, ...] = (
    Call("POST", "/recognition/recognize", recognition.recognise, R, queued=True),
    Call("POST", "/recognition/faces", faces.add, R, queued=True),
    Call("GET", "/recognition/faces", faces.show, R),
    Call("DELETE", "/recognition/faces", faces.delete_some, R),
    Call("POST", "/recognition/faces/delete", faces.delete_several, R),
    Call("DELETE", "/recognition/faces/<image_id>", faces.delete, R),
    Call("POST", "/recognition/faces/<image_id>/verify", recognition.verify, R, queued=True),
    Call("GET", "/recognition/faces/<image_id>/img", images.show, R),
    Call("GET", "/static/<key>/images/<image_id>", images.show, R, in_path=True),
    Call("GET", "/recognition/subjects", subjects.show, R),
    Call("POST", "/recognition/subjects", subjects.make, R),
    Call("DELETE", "/recognition/subjects", subjects.delete_all, R),
    Call("PUT", "/recognition/subjects/<path:subject>", subjects.rename, R),
    Call("DELETE", "/recognition/subjects/<path:subject>", subjects.delete, R),
    Call("POST", "/recognition/embeddings/recognize", embeddings.recognise, R, queued=True),
    Call(
        "POST",
        "/recognition/embeddings/faces/<image_id>/verify",
        embeddings.verify_example,
        R,
        queued=True,
    ),
    Call("POST", "/detection/detect", detection.detect, D, queued=True),
    Call("POST", "/verification/verify", verification.verify, V, queued=True),
    Call("POST", "/verification/embeddings/verify", embeddings.verify, V, queued=True),
    Call("GET", "/config", config.show, None),
    *admin.CALLS,
)
