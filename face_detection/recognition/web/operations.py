"""What each endpoint takes and answers, with examples: the table that /openapi.json is made of. Pure."""

from __future__ import annotations

from typing import Any, Literal

from recognition import errors
from recognition.web import answers, wire
from serving.openapi import Operation

TEXT, NDJSON = "text/plain", "application/x-ndjson"
DOCS_FILES = Literal["swagger-ui.css", "swagger-ui-bundle.js", "start.js"]
PAGE_FILES = Literal[
    "api.js",
    "app.js",
    "boxes.js",
    "camera.js",
    "compare.js",
    "elements.js",
    "enrol.js",
    "errors.js",
    "faces.js",
    "gallery.js",
    "icon.svg",
    "index.html",
    "panel.js",
    "pictures.js",
    "ready.jpg",
    "recognise.js",
    "strip.js",
    "style.css",
    "views.css",
]
PICTURES = (
    errors.InvalidRequest,
    errors.InvalidImage,
    errors.ImageTooLarge,
    errors.UnsupportedMediaType,
    errors.Overloaded,
)
SAMPLES = (errors.GalleryUnavailable, errors.AuditUnavailable)
VECTORS = (errors.EmbeddingUnavailable, *SAMPLES, errors.GalleryModelMismatch)
BOX = "61, 42, 120, 150"
SAMPLE = {"id": "astronaut/1", "name": "Eileen Collins", "metadata": {"flights": 4}}
MATCH = {**SAMPLE, "distance": 3.1, "similarity": 0.845}
FACE = {"bbox": BOX, **MATCH, "confidence": 0.9998}
STORED = {
    **SAMPLE,
    "action": None,
    "created": "2026-11-24T01:59:21.186000+00:00",
    "modified": "2026-11-24T01:59:21.186000+00:00",
    "expires_at": None,
}
MARKS = {
    "left_eye": [95.5, 100.25],
    "right_eye": [148.0, 101.5],
    "nose": [121.0, 133.0],
    "mouth_left": [99.0, 158.75],
    "mouth_right": None,
}
METRICS = "# TYPE recognition_samples gauge\nrecognition_samples 92.0\n"
REMOVED = {"success": "Samples have been removed successfully"}


def operations(picture: str, exported: str) -> dict[str, Operation]:
    """Return the table, by endpoint.

    Args:
        picture: a small picture with a face, in base64, for the examples.
        exported: a small gallery as GET /export renders it.
    """
    new: dict[str, Any] = {**SAMPLE, "image": picture}
    return {
        "page": Operation("Show the web page", "text/html", "<!doctype html>"),
        "static": Operation(
            "Give what the web page is made of",
            "text/javascript",
            'import { byId } from "./elements.js";',
            others=("application/javascript", "text/css", "text/html", "image/svg+xml", "image/jpeg"),
            path=PAGE_FILES,
            raises=(errors.NotFound,),
        ),
        "running": Operation("Say that the server runs", TEXT, "Face detection server is running."),
        "health": Operation("Say that the process runs", answers.Health, {"status": "ok"}),
        "ready": Operation(
            "Recognise a bundled face through both services and the gallery",
            answers.Ready,
            {
                "status": "ready",
                "model": "Facenet",
                "threshold": 9.0,
                "distance_range": [0.0, 20.0],
                "gallery": {"samples": 92},
                "authentication": False,
            },
            raises=(errors.NoFace, errors.Overloaded, *VECTORS),
        ),
        "prometheus": Operation("Tell Prometheus what happened so far", TEXT, METRICS),
        "face_recognition": Operation(
            "Find the faces of a picture and the samples they match, largest face first",
            list[answers.RecognisedFace],
            [FACE | {"candidates": [MATCH]}],
            json=wire.RecogniseRequest,
            request={"image": picture, "min_distance": 9, "include_unknown": True, "top_k": 3},
            query=wire.DrawQuery,
            form=wire.RecogniseOptions,
            files=("file",),
            others=("image/jpeg",),
            raises=(*PICTURES, *VECTORS),
        ),
        "detect": Operation(
            "Find the faces of a picture, largest first",
            list[answers.DetectedFace],
            [{"bbox": BOX, "confidence": 0.9998, "landmarks": MARKS}],
            json=wire.DetectRequest,
            request={"image": picture},
            files=("file",),
            raises=PICTURES,
        ),
        "verify": Operation(
            "Tell whether the largest faces of two pictures are one person's",
            answers.Verified,
            {
                "verified": True,
                "distance": 3.1,
                "threshold": 9.0,
                "similarity": 0.845,
                "bbox1": BOX,
                "bbox2": BOX,
            },
            json=wire.VerifyRequest,
            request={"image1": picture, "image2": picture},
            form=wire.VerifyOptions,
            files=("image1", "image2"),
            raises=(*PICTURES, errors.NoFace, errors.EmbeddingUnavailable, errors.AuditUnavailable),
        ),
        "update_samples": Operation(
            "Enrol the largest face of each picture; an id sent again replaces its sample",
            answers.Enrolled,
            {
                "success": ["astronaut/1"],
                "fail": ["2"],
                "errors": {"2": {"code": "no_face", "detail": "No face was found in the picture."}},
            },
            json=wire.NewSamples,
            request=[new],
            raises=(errors.InvalidRequest, errors.UnsupportedMediaType, errors.Overloaded, *VECTORS),
        ),
        "samples": Operation(
            "List samples, page by page",
            answers.Samples,
            {"samples": [STORED], "total": 92, "next": "astronaut/1"},
            query=wire.SamplesQuery,
            raises=(errors.InvalidRequest, *SAMPLES),
        ),
        "count_samples": Operation(
            "Count all samples, or those of a name",
            answers.Count,
            {"count": 92},
            query=wire.NameQuery,
            raises=(errors.InvalidRequest, *SAMPLES),
        ),
        "sample": Operation(
            "Show one sample",
            answers.StoredSample,
            STORED,
            raises=(errors.NotFound, *SAMPLES),
        ),
        "delete_sample": Operation(
            "Remove one sample",
            answers.Deleted,
            {"success": ["astronaut/1"]},
            raises=(errors.NotFound, *SAMPLES),
        ),
        "delete_samples": Operation(
            "Remove every sample, or those of a name",
            answers.Cleared,
            REMOVED | {"deleted": 3},
            query=wire.NameQuery,
            raises=(errors.InvalidRequest, *SAMPLES),
        ),
        "clear_samples": Operation(
            "Remove every sample",
            answers.Cleared,
            REMOVED,
            raises=SAMPLES,
        ),
        "export_samples": Operation(
            "Write the gallery, with its vectors, as a file",
            NDJSON,
            exported,
            raises=(errors.NotFound, *SAMPLES),
        ),
        "import_samples": Operation(
            "Store the samples of such a file, unless newer ones are there",
            answers.Imported,
            {"imported": 90, "unchanged": 2},
            request=exported,
            raw=NDJSON,
            files=("file",),
            raises=(errors.DamagedGallery, errors.UnsupportedMediaType, *VECTORS),
        ),
        "openapi_json": Operation("Describe this interface", dict[str, Any], {"openapi": "3.1.0"}),
        "docs": Operation("Show this description to people", "text/html", "<!doctype html>"),
        "docs_file": Operation(
            "Give what that page is made of",
            "text/javascript",
            '"use strict";',
            others=("text/css",),
            path=DOCS_FILES,
            raises=(errors.NotFound,),
        ),
    }
