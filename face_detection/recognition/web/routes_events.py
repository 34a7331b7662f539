"""The calls about what cameras see; rows of the table in routes.py."""

from __future__ import annotations

from recognition import errors
from recognition.web import answers, answers_events, examples, handlers, handlers_events, wire, wire_events
from serving.errors import (
    DiskFull,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    NotFound,
    Overloaded,
    UnsupportedMediaType,
)
from serving.keys import ADMIN, ENROL, RECOGNISE
from serving.routes import OCTETS, Route

GALLERY = (NotFound, errors.GalleryUnavailable, errors.AuditUnavailable)
EVENT = "/events/<event_id>"

EVENTS = (
    Route(
        "POST",
        "/events",
        handlers_events.record,
        RECOGNISE,
        (answers_events.Event, examples.EVENT),
        queued=True,
        json=(wire_events.NewVisit, examples.VISIT),
        query=wire.InGallery,
        raises=(
            *GALLERY,
            InvalidRequest,
            UnsupportedMediaType,
            Overloaded,
            InvalidImage,
            ImageTooLarge,
            errors.EmbeddingUnavailable,
            errors.ModelUnknown,
            errors.ModelChanged,
            errors.GalleryModelMismatch,
            errors.NotCalibrated,
            DiskFull,
        ),
    ),
    Route(
        "GET",
        "/events",
        handlers_events.list_events,
        ENROL,
        (answers_events.Events, examples.EVENTS),
        near=True,
        query=wire_events.EventsQuery,
        raises=(InvalidRequest, *GALLERY),
    ),
    Route(
        "GET",
        EVENT,
        handlers_events.show_event,
        RECOGNISE,  # whoever records a visit is told so, too, and nobody else knows its id
        (answers_events.Event, examples.EVENT),
        near=True,
        query=wire.InGallery,
        parameter=wire_events.EventPath,
        raises=GALLERY,
    ),
    Route(
        "GET",
        f"{EVENT}/picture",
        handlers_events.show_picture,
        ENROL,
        (handlers.JPEG, None),
        others=(OCTETS,),
        near=True,
        query=wire.InGallery,
        parameter=wire_events.EventPath,
        raises=GALLERY,
    ),
    Route(
        "DELETE",
        EVENT,
        handlers_events.delete_event,
        ENROL,
        (answers.Deleted, {"success": [examples.EVENT["id"]]}),
        query=wire.InGallery,
        parameter=wire_events.EventPath,
        raises=GALLERY,
    ),
    Route(
        "DELETE",
        "/events",
        handlers_events.delete_events,
        ADMIN,
        (answers_events.EventsRemoved, {"success": handlers_events.REMOVED, "deleted": 3}),
        query=wire_events.WhichEvents,
        raises=(InvalidRequest, *GALLERY),
    ),
)
