"""GET /openapi.json, and GET /docs, which shows it to people."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from flask import Flask, Response, json
from flask.typing import ResponseReturnValue
from numpy.typing import NDArray
from werkzeug.routing import Rule

from recognition.errors import (
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    RecognitionError,
    RequestTimeout,
    Unauthorized,
)
from recognition.faces import Sample
from recognition.gallery import portable
from recognition.web import routes
from recognition.web.operations import operations
from serving.keys import ANY, OPEN
from serving.openapi import Call, Operation, Refusal, document

STATIC = Path(__file__).parent / "static"
KEPT = {"Cache-Control": "max-age=3600"}  # by browsers, in seconds: the files of /docs
EXAMPLE_PX = 64  # side of the picture of the examples


def register(app: Flask, picture: NDArray[np.uint8], *, authentication: bool) -> None:
    """Add both to `app`, which has all its other routes already.

    Args:
        app: the application.
        picture: uint8 (S, S, 3), RGB, with one face; small, it is the picture of the examples.
        authentication: whether keys are asked for.
    """

    @app.get("/openapi.json")
    def openapi_json() -> ResponseReturnValue:
        return Response(described, mimetype="application/json")

    @app.get("/docs")
    def docs() -> ResponseReturnValue:
        return (STATIC / "docs.html").read_text()

    @app.get("/docs/<name>")
    def docs_file(name: str) -> ResponseReturnValue:
        if name not in files:
            raise NotFound("There is no such file.")
        media = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(files[name].read_bytes(), mimetype=media, headers=KEPT)

    files = _files()
    table = operations(_example_picture(picture), _example_gallery())
    calls = [call for rule in app.url_map.iter_rules() for call in _calls(rule, table)]
    described = json.dumps(
        document(calls, table, title="Face recognition", optional_keys=not authentication), sort_keys=False
    )


def _files() -> dict[str, Path]:
    """Find Swagger UI's files in the package that has them, which need not be imported."""
    spec = find_spec("flask_openapi_swagger")
    assert spec is not None and spec.origin is not None  # requirements.txt has it
    swagger = Path(spec.origin).parent / "templates" / "swagger"
    found = [swagger / "css" / "swagger-ui.css", swagger / "js" / "swagger-ui-bundle.js", STATIC / "start.js"]
    return {path.name: path for path in found}


def _calls(rule: Rule, table: dict[str, Operation]) -> Iterator[Call]:
    path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
    scope = routes.SCOPES[rule.endpoint]
    refusals = list(_refusals(rule.endpoint, scope, table[rule.endpoint]))
    for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
        yield Call(method, path, rule.endpoint, None if scope == OPEN else scope, refusals)


def _refusals(endpoint: str, scope: str, operation: Operation) -> Iterator[Refusal]:
    yield _refusal(routes.INTERNAL, "internal_error", "The log has more under this request id.")
    with_body: tuple[type[RecognitionError], ...] = ()
    if operation.files or operation.json:
        yield _refusal(routes.TOO_LARGE, "body_too_large", "The body is larger than MAX_BODY_BYTES.")
        with_body = (InvalidRequest, RequestTimeout)  # if it is wrongly chunked, or slow
    let_in: tuple[type[RecognitionError], ...] = {OPEN: (), ANY: (Unauthorized, RateLimited)}.get(
        scope, (Unauthorized, Forbidden, RateLimited)
    )
    for error in dict.fromkeys((*let_in, *with_body, *operation.raises)):
        yield _refusal(
            routes.status_of(error, endpoint), error.code, (error.__doc__ or "").partition("\n")[0]
        )


def _refusal(status: int, code: str, detail: str) -> Refusal:
    return Refusal(status, routes.error_text(status), code, detail)


def _example_picture(picture: NDArray[np.uint8]) -> str:
    small = cv2.resize(picture, (EXAMPLE_PX, EXAMPLE_PX), interpolation=cv2.INTER_AREA)
    return base64.b64encode(simplejpeg.encode_jpeg(small, quality=60)).decode("ascii")


def _example_gallery() -> str:
    made = datetime(2026, 11, 24, 1, 59, 21, tzinfo=UTC)
    sample = Sample("astronaut/1", "Eileen Collins", {"flights": 4}, None, made, made)
    records = [(sample, np.full(4, 5, np.float32))]
    header = portable.Header("fingerprint-of-the-model-1", 4)
    pieces = portable.pieces(header, lambda after: records if after is None else [])
    return b"".join(piece for piece, _ in pieces).decode()
