"""Thin HTTP handlers: parse, call once, render. The only place with status numbers."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Request, Response, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from recognition import errors, wire
from recognition.request_id import request_id
from recognition.service import Service

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

RUNNING = "Face detection server is running."
CLEARED = {"success": "Samples have been removed successfully"}
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
RETRY_AFTER_S = "2"

STATUS: dict[type[errors.RecognitionError], int] = {
    errors.InvalidRequest: 400,
    errors.InvalidImage: 400,
    errors.NoFace: 400,
    errors.NotFound: 404,
    errors.GalleryModelMismatch: 409,
    errors.ImageTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.Overloaded: 429,
    errors.EmbeddingUnavailable: 503,
    errors.GalleryUnavailable: 503,
}

ERROR_TEXT = {
    400: "Invalid request.",
    404: "Not found.",
    405: "Method not allowed.",
    409: "The gallery belongs to another model.",
    413: "Too large.",
    415: "Unsupported media type.",
    429: "Overloaded.",
    503: "Service unavailable.",
}

# What Flask and Werkzeug themselves refuse.
HTTP_CODE = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def register(app: Flask, service: Service) -> None:
    """Add all routes, the error shape and the request id to `app`."""
    app.wsgi_app = _one_leading_slash(app.wsgi_app)  # type: ignore[assignment, method-assign]

    @app.get("/")
    @app.get("/update-samples")
    @app.get("/face-recognition")
    def running() -> ResponseReturnValue:
        return Response(RUNNING, mimetype="text/plain")

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return jsonify(status="ok")

    @app.post("/update-samples")
    def update_samples() -> ResponseReturnValue:
        report = service.enrol(wire.parse_enrolments(_json(request)))
        return jsonify(wire.enrolment_answer(report))

    @app.post("/face-recognition")
    def face_recognition() -> ResponseReturnValue:
        if request.mimetype == "multipart/form-data":
            picture, options = _file(request), wire.parse_recognise_form(request.form)
        else:
            picture, options = wire.parse_recognise(_json(request))
        faces = service.recognise(
            picture, max_distance=options.min_distance, top_k=options.top_k or 1, limit=options.limit
        )
        return jsonify(wire.recognition_answer(faces, options))

    @app.route("/clear-samples", methods=["GET", "POST"])
    @app.delete("/samples")
    def clear_samples() -> ResponseReturnValue:
        service.gallery.clear()
        return jsonify(CLEARED)

    @app.get("/samples/<path:sample_id>")
    def sample(sample_id: str) -> ResponseReturnValue:
        return jsonify(wire.sample_answer(service.sample(sample_id)))

    @app.delete("/samples/<path:sample_id>")
    def delete_sample(sample_id: str) -> ResponseReturnValue:
        service.delete(sample_id)
        return jsonify(success=[sample_id])

    @app.before_request
    def name_request() -> None:
        sent = request.headers.get("X-Request-Id", "")
        g.request_id = sent if SANE_ID.fullmatch(sent) else uuid.uuid4().hex
        request_id.set(g.request_id)

    @app.after_request
    def tell_request_id(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        return response

    @app.errorhandler(errors.RecognitionError)
    def expected(e: errors.RecognitionError) -> ResponseReturnValue:
        status = STATUS[type(e)]
        if status >= 500:
            log.warning("%s: %s request_id=%s", e.code, e.detail, g.request_id, exc_info=e.__cause__)
        return _error(status, e.code, e.detail)

    @app.errorhandler(HTTPException)
    def refused(e: HTTPException) -> ResponseReturnValue:
        status = e.code or 500
        response = make_response(_error(status, HTTP_CODE.get(status, "http_error"), e.description or e.name))
        if isinstance(e, MethodNotAllowed) and e.valid_methods:
            response.headers["Allow"] = ", ".join(e.valid_methods)
        return response

    @app.errorhandler(Exception)
    def unforeseen(e: Exception) -> ResponseReturnValue:
        log.error("internal error request_id=%s", g.request_id, exc_info=e)
        return _error(500, "internal_error", "The log has more under this request id.")


def _one_leading_slash(wsgi_app: WSGIApplication) -> WSGIApplication:
    """Let //face-recognition answer too: some historical clients send it."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = "/" + environ.get("PATH_INFO", "").lstrip("/")
        return wsgi_app(environ, start_response)

    return application


def _json(incoming: Request) -> bytes:
    if not incoming.is_json:
        raise errors.UnsupportedMediaType("Send application/json or multipart/form-data.")
    return _body(incoming)


def _body(incoming: Request) -> bytes:
    data = incoming.get_data(cache=False)
    if incoming.content_length is None:
        incoming.stream.read()  # a chunked body stops short at the limit; reading on is what raises the 413
    return data


def _file(incoming: Request) -> bytes:
    if "file" not in incoming.files:
        raise errors.InvalidRequest("file: Field required")
    data: bytes = incoming.files["file"].read()
    return data


def _error(status: int, code: str, detail: str) -> ResponseReturnValue:
    response = jsonify(
        wire.error_answer(ERROR_TEXT.get(status, "Internal error."), code, detail, g.request_id)
    )
    response.status_code = status
    if status in (429, 503):
        response.headers["Retry-After"] = RETRY_AFTER_S
    return response
