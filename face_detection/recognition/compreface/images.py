"""Handlers of pictures of examples: of their faces alone, as far as they are kept."""

from __future__ import annotations

from flask import Response, request
from flask.typing import ResponseReturnValue

from recognition.compreface.faces import parse_id
from recognition.compreface.table import Parts
from recognition.gallery import faces
from serving.errors import NotFound
from serving.routes import OCTETS

PRIVATE = {"Cache-Control": "private, no-store"}


def show(parts: Parts, image_id: str, **_: str) -> ResponseReturnValue:
    """Send the face that is kept of an example, as a JPEG; nothing where there is none."""
    image_id = parse_id(image_id)
    try:
        kept = faces.get(parts.gallery, image_id)
    except NotFound:
        return nothing()
    parts.service.read("show", [image_id])
    response = Response(kept.jpeg, mimetype="image/jpeg", headers=PRIVATE)
    response.add_etag()
    return response.make_conditional(request)


def nothing() -> Response:
    """Answer with a picture that is not there, as CompreFace does: without a byte."""
    return Response(b"", mimetype=OCTETS, headers=PRIVATE)
