"""The calls about a gallery's change to another model; rows of the table in routes.py."""

from __future__ import annotations

from recognition import errors
from recognition.web import answers_models, examples, handlers_models, wire
from serving.errors import InvalidRequest, NotFound, UnsupportedMediaType
from serving.keys import ADMIN
from serving.routes import Route

GALLERY = (InvalidRequest, NotFound, errors.GalleryUnavailable, errors.AuditUnavailable)

MODELS = (
    Route(
        "GET",
        "/model-change",
        handlers_models.show_change,
        ADMIN,
        (answers_models.ModelChange, examples.MODEL_CHANGE),
        query=wire.InGallery,
        raises=GALLERY,
    ),
    Route(
        "POST",
        "/model-change",
        handlers_models.begin_change,
        ADMIN,
        (answers_models.ModelChange, examples.MODEL_CHANGE),
        json=(wire.NewModel, {"model": "MobileFaceNet", "without_face": "leave"}),
        query=wire.InGallery,
        raises=(
            *GALLERY,
            UnsupportedMediaType,
            errors.ChangeUnderWay,
            errors.EmbeddingUnavailable,
        ),
    ),
    Route(
        "DELETE",
        "/model-change",
        handlers_models.stop_change,
        ADMIN,
        (
            answers_models.ModelChange,
            {**examples.MODEL_CHANGE, "to": None, "running": False, "resumes": False},
        ),
        query=wire.InGallery,
        raises=GALLERY,
    ),
)
