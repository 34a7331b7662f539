"""Thin HTTP handlers: parse, call once, render. The only place with status numbers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from flask import Flask, Request, Response, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import ParseException
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import PathConverter

from recognition import errors
from recognition.service import Service
from recognition.web import answers, render, wire
from recognition.web.metrics import Metrics
from serving.keys import ADMIN, ANY, ENROL, OPEN, RECOGNISE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

JSON, JPEG = "application/json", "image/jpeg"
RUNNING = "Face detection server is running."
CLEARED = "Samples have been removed successfully"
NOT_READY, TOO_LARGE, INTERNAL = 503, 413, 500
NOT_LET_IN = (errors.Unauthorized, errors.Forbidden, errors.RateLimited)

# What a key must open to call each route below, by the name of its function.
SCOPES = {
    "health": OPEN,
    "page": OPEN,  # it asks for the key that its calls need
    "static": OPEN,
    "openapi_json": OPEN,
    "docs": OPEN,
    "docs_file": OPEN,
    "running": ANY,
    "ready": ANY,
    "prometheus": ANY,
    "face_recognition": RECOGNISE,
    "detect": RECOGNISE,
    "verify": RECOGNISE,
    "update_samples": ENROL,
    "samples": ENROL,
    "count_samples": ENROL,
    "sample": ENROL,
    "delete_sample": ENROL,
    "delete_samples": ADMIN,
    "clear_samples": ADMIN,
    "export_samples": ADMIN,
    "import_samples": ADMIN,
}

# Those with pictures, which wait for their turn.
QUEUED = {"face_recognition", "detect", "verify", "update_samples"}

STATUS: dict[type[errors.RecognitionError], int] = {
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
    errors.InvalidRequest: 400,
    errors.InvalidImage: 400,
    errors.NoFace: 400,
    errors.DamagedGallery: 400,
    errors.NotFound: 404,
    errors.RequestTimeout: 408,
    errors.GalleryModelMismatch: 409,
    errors.ImageTooLarge: 413,
    errors.UnsupportedMediaType: 415,
    errors.Overloaded: 429,
    errors.EmbeddingUnavailable: 503,
    errors.GalleryUnavailable: 503,
    errors.AuditUnavailable: 503,
}

ERROR_TEXT = {
    400: "Invalid request.",
    401: "Unauthorized.",
    403: "Forbidden.",
    404: "Not found.",
    405: "Method not allowed.",
    408: "Too slow.",
    409: "The gallery belongs to another model.",
    413: "Too large.",
    415: "Unsupported media type.",
    429: "Too many requests.",
    503: "Service unavailable.",
}

# What Flask and Werkzeug themselves refuse.
HTTP_CODE = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    TOO_LARGE: "body_too_large",
    415: "unsupported_media_type",
}


def register(
    app: Flask, service: Service, metrics: Metrics, *, authentication: bool, allow_get_clear: bool
) -> None:
    """Add all routes and the error shape to `app`.

    authentication: whether keys are asked for; /ready tells.
    allow_get_clear: whether a mere GET of /clear-samples clears.
    """
    app.wsgi_app = _one_leading_slash(app.wsgi_app)  # type: ignore[assignment, method-assign]
    # Else /samples/%2Fa would lead to the sample `a`, and ids with line breaks nowhere.
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = _AnyText

    @app.get("/")
    def page() -> ResponseReturnValue:
        return app.send_static_file("index.html")

    @app.get("/update-samples")
    @app.get("/face-recognition")
    def running() -> ResponseReturnValue:
        return Response(RUNNING, mimetype="text/plain")

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return jsonify(answers.Health(status="ok"))

    @app.get("/ready")
    def ready() -> ResponseReturnValue:
        return jsonify(render.readiness_answer(service.ready(), authentication=authentication))

    @app.get("/metrics")
    def prometheus() -> ResponseReturnValue:
        return Response(metrics.render(service.size()), content_type=CONTENT_TYPE_LATEST)

    @app.post("/update-samples")
    def update_samples() -> ResponseReturnValue:
        report = service.enrol(wire.parse_enrolments(_json(request)))
        return jsonify(render.enrolment_answer(report))

    @app.post("/face-recognition")
    def face_recognition() -> ResponseReturnValue:
        drawn = wire.parse_draw_query(_query(request)) or _prefers_jpeg(request)
        if _is_form(request):
            picture, options = _file(request, "file"), wire.parse_recognise_form(request.form)
        else:
            picture, options = wire.parse_recognise(_json(request))
        faces = service.recognise(
            picture,
            max_distance=options.min_distance,
            top_k=options.top_k or 1,
            per_name=options.per == "name",
            limit=options.limit,
        )
        if drawn:
            return Response(service.draw(picture, render.labels(faces, options)), mimetype=JPEG)
        return jsonify(render.recognition_answer(faces, options))

    @app.post("/detect")
    def detect() -> ResponseReturnValue:
        picture = _file(request, "file") if _is_form(request) else wire.parse_detect(_json(request))
        return jsonify(render.detection_answer(service.detect(picture)))

    @app.post("/verify")
    def verify() -> ResponseReturnValue:
        if _is_form(request):
            image1, image2 = _file(request, "image1"), _file(request, "image2")
            max_distance = wire.parse_verify_form(request.form)
        else:
            image1, image2, max_distance = wire.parse_verify(_json(request))
        return jsonify(render.verification_answer(service.verify(image1, image2, max_distance=max_distance)))

    @app.route("/clear-samples", methods=["GET", "POST"] if allow_get_clear else ["POST"])
    def clear_samples() -> ResponseReturnValue:
        service.gallery.clear()
        return jsonify(answers.Cleared(success=CLEARED))

    @app.delete("/samples")
    def delete_samples() -> ResponseReturnValue:
        name = wire.parse_name_query(_query(request))
        if name is None:
            return clear_samples()
        return jsonify(answers.Cleared(success=CLEARED, deleted=service.gallery.delete_named(name)))

    @app.get("/samples")
    def samples() -> ResponseReturnValue:
        query = wire.parse_samples_query(_query(request))
        page = service.samples(limit=query.limit, after=query.after, name=query.name)
        return jsonify(render.page_answer(page))

    @app.get("/samples/count")
    def count_samples() -> ResponseReturnValue:
        name = wire.parse_name_query(_query(request))
        return jsonify(answers.Count(count=service.gallery.count(name)))

    @app.get("/samples/<path:sample_id>")
    def sample(sample_id: str) -> ResponseReturnValue:
        return jsonify(render.sample_answer(service.sample(wire.parse_id(sample_id))))

    @app.delete("/samples/<path:sample_id>")
    def delete_sample(sample_id: str) -> ResponseReturnValue:
        service.delete(wire.parse_id(sample_id))
        return jsonify(answers.Deleted(success=[sample_id]))

    @app.before_request
    def refuse_before_the_body_is_read() -> None:
        if request.endpoint in QUEUED:
            service.admission.check()

    @app.errorhandler(errors.RecognitionError)
    def expected(e: errors.RecognitionError) -> ResponseReturnValue:
        status = status_of(type(e), request.endpoint)
        if status >= 500:
            log.warning("%s: %s", e.code, e.detail, exc_info=e.__cause__)
        return _error(status, e.code, e.detail, e.retry_after_s)

    @app.errorhandler(HTTPException)
    def refused(e: HTTPException) -> ResponseReturnValue:
        status = e.code or 500
        response = make_response(_error(status, HTTP_CODE.get(status, "http_error"), e.description or e.name))
        if isinstance(e, MethodNotAllowed) and e.valid_methods:
            response.headers["Allow"] = ", ".join(e.valid_methods)
        return response

    @app.errorhandler(ParseException)
    def wrongly_chunked(_: Exception) -> ResponseReturnValue:
        # gunicorn's, of a chunked body, while it is read. It quotes the body, so it is not logged.
        return _error(400, "invalid_request", "The body is wrongly chunked.")

    @app.errorhandler(Exception)
    def unforeseen(e: Exception) -> ResponseReturnValue:
        log.error("internal error", exc_info=e)
        return _error(INTERNAL, "internal_error", "The log has more under this request id.")


class _AnyText(PathConverter):
    """The rest of a path, whatever it is."""

    part_isolating = False
    regex = r"[\s\S]+"


def status_of(error: type[errors.RecognitionError], endpoint: str | None) -> int:
    """Return the status of an error; /ready has one for every reason against it, and the code tells which."""
    not_ready = endpoint == "ready" and not issubclass(error, NOT_LET_IN)
    return NOT_READY if not_ready else STATUS[error]


def error_text(status: int) -> str:
    """Return the text that stands for a status in `error`."""
    return ERROR_TEXT.get(status, "Internal error.")


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


def _query(incoming: Request) -> Mapping[str, str]:
    try:
        return incoming.args
    except UnicodeDecodeError as e:
        raise errors.InvalidRequest("The query is not UTF-8.") from e


def _prefers_jpeg(incoming: Request) -> bool:
    return incoming.accept_mimetypes.best_match([JSON, JPEG]) == JPEG


def _is_form(incoming: Request) -> bool:
    return incoming.mimetype == "multipart/form-data"


def _file(incoming: Request, name: str) -> bytes:
    if name not in incoming.files:
        raise errors.InvalidRequest(f"{name}: Field required")
    data: bytes = incoming.files[name].read()
    return data


def _error(status: int, code: str, detail: str, retry_after_s: int = 2) -> ResponseReturnValue:
    g.code = code
    response = jsonify(render.error_answer(error_text(status), code, detail, g.request_id))
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        response.headers["Retry-After"] = str(retry_after_s)
    return response
