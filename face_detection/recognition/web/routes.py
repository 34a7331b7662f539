"""Every call of face_detection, one row each, and the status of the service's own failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from recognition import errors
from recognition.web import (
    answers,
    answers_events,
    examples,
    handlers,
    handlers_events,
    wire,
    wire_events,
)
from recognition.web.routes_events import EVENTS
from recognition.web.routes_galleries import GALLERIES
from recognition.web.routes_models import MODELS
from recognition.web.routes_people import PEOPLE
from serving.errors import (
    DiskFull,
    Failure,
    Forbidden,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    NotFound,
    Overloaded,
    UnsupportedMediaType,
)
from serving.keys import ADMIN, ANY, ENROL, OPEN, RECOGNISE
from serving.routes import OCTETS, Route

STATUS: dict[type[Failure], int] = {
    errors.NoFace: 400,
    errors.SeveralFaces: 400,
    errors.LowQuality: 400,
    errors.Doubtful: 400,
    errors.DamagedGallery: 400,
    errors.AmbiguousName: 409,
    errors.PersonExists: 409,
    errors.ChangedMeanwhile: 409,
    errors.GalleryExists: 409,
    errors.ServiceExists: 409,
    errors.AdministratorExists: 409,
    errors.GalleryModelMismatch: 409,
    errors.ModelChanged: 409,
    errors.ChangeStopped: 409,
    errors.ChangeUnderWay: 409,
    errors.NotCalibrated: 409,
    errors.EmbeddingUnavailable: 503,
    errors.ModelUnknown: 503,
    errors.GalleryUnavailable: 503,
    errors.AuditUnavailable: 503,
}

TEXT, HTML = "text/plain", "text/html"
FILE_TYPES = ("text/javascript", "application/javascript", "text/css", HTML, "image/svg+xml", handlers.JPEG)
PAGE_FILES = Literal[
    "api.js",
    "app.js",
    "avatar.js",
    "boxes.js",
    "camera.js",
    "check.js",
    "chooser.js",
    "compare.js",
    "correction.js",
    "deciding.js",
    "details.js",
    "elements.js",
    "enrol.js",
    "errors.js",
    "events.js",
    "faces.js",
    "file-names.js",
    "gallery.js",
    "icon.svg",
    "index.html",
    "model.js",
    "pages.js",
    "panel.js",
    "people-api.js",
    "people.css",
    "people.js",
    "person.js",
    "picker.js",
    "pictures.js",
    "ready.jpg",
    "recognise.js",
    "strip.js",
    "style.css",
    "undo.js",
    "views.css",
]
PAGE_FILE = Annotated[PAGE_FILES, Field(description="What the page asks for.", examples=["app.js"])]
IMAGE_FILE = "The picture: JPEG, PNG, WebP, HEIC, AVIF, JPEG 2000, BMP, TIFF, GIF or ICO. Required."
LEFT_OUT = {handlers.LEFT_OUT: "How many smaller faces there are beyond MAX_FACES; absent if none."}
WARNINGS = {
    handlers.WARNINGS: "What is worth knowing of the picture: codes, as in /update-samples; absent if none."
}
BODY = (InvalidRequest, UnsupportedMediaType, Overloaded)
PICTURE = (*BODY, InvalidImage, ImageTooLarge)
SAMPLES = (NotFound, errors.GalleryUnavailable, errors.AuditUnavailable)  # there may be no such gallery
QUERY = (InvalidRequest, *SAMPLES)
VECTORS = (errors.EmbeddingUnavailable, errors.ModelUnknown, *SAMPLES, errors.GalleryModelMismatch)

RECOGNISE_FACES = Route(
    "POST",
    "/face-recognition",
    handlers.face_recognition,
    RECOGNISE,
    (list[answers.RecognisedFace], [examples.FACE | {"candidates": [examples.MATCH]}]),
    others=(handlers.JPEG,),
    headers=LEFT_OUT | WARNINGS,
    queued=True,
    json=(wire.RecogniseRequest, {"image": examples.PICTURE, "include_unknown": True, "top_k": 3}),
    files={"file": IMAGE_FILE},
    form=wire.RecogniseOptions,
    query=wire.DrawQuery,
    raises=(*PICTURE, *VECTORS, errors.NotCalibrated),
)
DRAW = replace(
    RECOGNISE_FACES,
    path="/draw",
    handler=handlers.draw,
    answer=(handlers.JPEG, None),
    others=(OCTETS,),
    query=wire.InGallery,
)
CLEARED = (answers.Cleared, examples.REMOVED)
CLEAR_BY_GET = Route(
    "GET",
    "/clear-samples",
    handlers.clear_samples,
    ADMIN,
    CLEARED,
    unsafe=True,
    query=wire.InGallery,
    raises=SAMPLES,
)

ROUTES = (
    Route("GET", "/", handlers.page, OPEN, (HTML, "<!doctype html>")),  # asks for the key that its calls need
    Route(
        "GET",
        "/static/<path:filename>",
        handlers.page_file,
        OPEN,
        (OCTETS, None),
        others=FILE_TYPES,
        parameter=PAGE_FILE,
        raises=(NotFound,),
    ),
    Route("GET", "/update-samples", handlers.running, ANY, (TEXT, handlers.RUNNING)),
    Route("GET", "/face-recognition", handlers.running, ANY, (TEXT, handlers.RUNNING)),
    Route(
        "GET",
        "/ready",
        handlers.ready,
        ANY,
        (answers.Ready, examples.READY),
        query=wire.InGallery,
        raises=(Forbidden, errors.NoFace, DiskFull, *VECTORS),
        failing=503,  # whatever the reason against it; the code tells which
    ),
    RECOGNISE_FACES,
    DRAW,
    Route(
        "POST",
        "/detect",
        handlers.detect,
        RECOGNISE,
        (list[answers.DetectedFace], [examples.DETECTED]),
        headers=LEFT_OUT | WARNINGS,
        queued=True,
        json=(wire.DetectRequest, {"image": examples.PICTURE}),
        files={"file": IMAGE_FILE},
        form=wire.DetectOptions,
        raises=PICTURE,
    ),
    Route(
        "POST",
        "/embeddings",
        handlers_events.describe,
        RECOGNISE,
        (answers_events.Described, examples.DESCRIBED),
        headers=LEFT_OUT | WARNINGS,
        queued=True,
        json=(wire_events.DescribeRequest, {"image": examples.PICTURE}),
        files={"file": IMAGE_FILE},
        form=wire_events.DescribeOptions,
        query=wire.InGallery,
        raises=(*PICTURE, errors.EmbeddingUnavailable, errors.ModelUnknown, *SAMPLES),
    ),
    Route(
        "POST",
        "/verify",
        handlers.verify,
        RECOGNISE,
        (answers.Verified, examples.VERIFIED),
        headers=WARNINGS,
        queued=True,
        json=(wire.VerifyRequest, {"image1": examples.PICTURE, "image2": examples.PICTURE}),
        files=dict.fromkeys(("image1", "image2"), IMAGE_FILE),
        form=wire.VerifyOptions,
        raises=(*PICTURE, errors.NoFace, errors.EmbeddingUnavailable, errors.AuditUnavailable),
    ),
    Route(
        "POST",
        "/update-samples",
        handlers.update_samples,
        ENROL,
        (answers.Enrolled, examples.ENROLLED),
        queued=True,
        json=(wire.NewSamples, [{**examples.SAMPLE, "image": examples.PICTURE}]),
        query=wire.InGallery,
        raises=(*BODY, *VECTORS),
    ),
    Route(
        "GET",
        "/samples",
        handlers.list_samples,
        ENROL,
        (answers.Samples, {"samples": [examples.STORED], "total": 92, "next": "astronaut/1"}),
        query=wire.SamplesQuery,
        raises=QUERY,
    ),
    Route(
        "GET",
        "/samples/count",
        handlers.count_samples,
        ENROL,
        (answers.Count, {"count": 92}),
        query=wire.CountQuery,
        raises=QUERY,
    ),
    Route(
        "GET",
        "/samples/<path:sample_id>",
        handlers.show_sample,
        ENROL,
        (answers.StoredSample, examples.STORED),
        query=wire.InGallery,
        parameter=wire.SampleId,
        raises=SAMPLES,
    ),
    Route(
        "GET",
        f"/samples/<path:sample_id>{handlers.FACE}",
        handlers.show_face,
        ENROL,
        (handlers.JPEG, None),
        others=(OCTETS,),
        near=True,
        query=wire.InGallery,
        parameter=wire.SampleId,
        raises=SAMPLES,
    ),
    Route(
        "DELETE",
        "/samples/<path:sample_id>",
        handlers.delete_sample,
        ENROL,
        (answers.Deleted, {"success": ["astronaut/1"]}),
        query=wire.InGallery,
        parameter=wire.SampleId,
        raises=SAMPLES,
    ),
    Route(
        "DELETE",
        "/samples",
        handlers.delete_samples,
        ADMIN,
        (answers.Cleared, examples.REMOVED | {"deleted": 3}),
        query=wire.DeleteQuery,
        raises=QUERY,
    ),
    *PEOPLE,
    *EVENTS,
    *GALLERIES,
    *MODELS,
    CLEAR_BY_GET,
    replace(CLEAR_BY_GET, method="POST", unsafe=False),
    Route(
        "GET",
        "/export",
        handlers.export_samples,
        ADMIN,
        (handlers.NDJSON, examples.EXPORTED),
        others=(OCTETS,),
        query=wire.ExportQuery,
        raises=QUERY,
    ),
    Route(
        "POST",
        "/import",
        handlers.import_samples,
        ADMIN,
        (answers.Imported, {"imported": 90, "unchanged": 2}),
        raw={handlers.NDJSON: examples.EXPORTED, OCTETS: None},
        files={"file": "What GET /export wrote. Required."},
        on_disk=True,
        query=wire.InGallery,
        raises=(errors.DamagedGallery, errors.AmbiguousName, UnsupportedMediaType, DiskFull, *VECTORS),
    ),
)
