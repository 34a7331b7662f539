"""The calls about unknown people; rows of the table in routes.py."""

from __future__ import annotations

from recognition import errors
from recognition.web import answers_unknowns, examples, handlers_unknowns, wire, wire_unknowns
from recognition.web.handlers import JPEG
from serving.errors import InvalidRequest, NotFound, UnsupportedMediaType
from serving.keys import ADMIN, ENROL
from serving.routes import OCTETS, Route

GALLERY = (NotFound, errors.GalleryUnavailable, errors.AuditUnavailable)
COMPARED = (
    *GALLERY,
    errors.EmbeddingUnavailable,
    errors.ModelUnknown,
    errors.GalleryModelMismatch,
)
UNKNOWN = "/unknowns/<unknown_id>"

UNKNOWNS = (
    Route(
        "GET",
        "/unknowns",
        handlers_unknowns.list_unknowns,
        ENROL,
        (
            answers_unknowns.Unknowns,
            {"unknowns": [examples.UNKNOWN], "total": 12, "next": None, "keeping": True},
        ),
        near=True,
        query=wire_unknowns.UnknownsQuery,
        raises=(InvalidRequest, *COMPARED),
    ),
    Route(
        "GET",
        UNKNOWN,
        handlers_unknowns.show_unknown,
        ENROL,
        (answers_unknowns.UnknownShown, examples.UNKNOWN | {"seen": [examples.UNKNOWN_FACE]}),
        near=True,
        parameter=wire_unknowns.UnknownId,
        query=wire.InGallery,
        raises=COMPARED,
    ),
    Route(
        "GET",
        f"{UNKNOWN}/faces/<face_id>",
        handlers_unknowns.show_unknown_face,
        ENROL,
        (JPEG, None),
        others=(OCTETS,),
        near=True,
        parameter=wire_unknowns.UnknownId,
        query=wire.InGallery,
        raises=GALLERY,
    ),
    Route(
        "POST",
        UNKNOWN,
        handlers_unknowns.act_on_unknown,
        ENROL,
        (answers_unknowns.Acted, examples.NAMED),
        json=(wire_unknowns.UnknownAction, {"action": "name", "person": "eileen"}),
        parameter=wire_unknowns.UnknownId,
        query=wire.InGallery,
        raises=(
            InvalidRequest,
            UnsupportedMediaType,
            *GALLERY,
            errors.AmbiguousName,
            errors.GalleryModelMismatch,
        ),
    ),
    Route(
        "DELETE",
        "/unknowns",
        handlers_unknowns.forget_unknowns,
        ADMIN,
        (answers_unknowns.Forgotten, {"success": handlers_unknowns.FORGOTTEN, "deleted": 12}),
        query=wire_unknowns.ForgetQuery,
        raises=(InvalidRequest, *GALLERY),
    ),
)
