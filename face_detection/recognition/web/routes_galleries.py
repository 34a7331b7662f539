"""The calls about galleries; rows of the table in routes.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from recognition import errors
from recognition.bounds import GalleryName
from recognition.web import answers, examples, handlers_galleries, wire
from serving.errors import InvalidRequest, NotFound, UnsupportedMediaType
from serving.keys import ADMIN, ENROL
from serving.routes import Route

DATABASE = (errors.GalleryUnavailable, errors.AuditUnavailable)
NAME = Annotated[GalleryName, Field(description="Of the gallery.", examples=["lobby"])]

GALLERIES = (
    Route(
        "GET",
        "/galleries",
        handlers_galleries.list_galleries,
        ENROL,
        (answers.Galleries, {"galleries": [examples.GALLERY]}),
        raises=(errors.GalleryUnavailable,),
    ),
    Route(
        "POST",
        "/galleries",
        handlers_galleries.make_gallery,
        ADMIN,
        (answers.Gallery, {**examples.GALLERY, "name": "lobby", "samples": 0, "persons": 0}),
        json=(wire.NewGallery, {"name": "lobby"}),
        whole=True,
        raises=(InvalidRequest, UnsupportedMediaType, errors.GalleryExists, *DATABASE),
    ),
    Route(
        "DELETE",
        "/galleries/<gallery>",
        handlers_galleries.delete_gallery,
        ADMIN,
        (answers.Deleted, {"success": ["lobby"]}),
        parameter=NAME,
        whole=True,
        raises=(InvalidRequest, NotFound, *DATABASE),
    ),
)
