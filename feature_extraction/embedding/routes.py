"""Thin HTTP handlers: parse, call once, render. The only place with status numbers."""

from __future__ import annotations

import hmac
import logging
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from flask import Flask, Request, Response, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import ParseException
from numpy.typing import NDArray
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from embedding import answers, errors, service, wire
from embedding.metrics import Metrics
from embedding.network import Network

log = logging.getLogger(__name__)

NPY = "application/x-npy"
RUNNING = "<!doctype html><title>Feature extraction</title><p>Feature extraction server is running!</p>"
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

ReadCrop = Callable[[bytes], NDArray[np.uint8] | None]

TOO_LARGE, INTERNAL = 413, 500
OPEN = {"health", "openapi_json", "docs", "docs_file"}  # needs no secret

STATUS: dict[type[errors.EmbeddingError], int] = {
    errors.Unauthorized: 401,
    errors.InvalidRequest: 400,
    errors.UnsupportedMediaType: 415,
    errors.NotFound: 404,
}

ERROR_TEXT = {
    400: "Invalid request.",
    401: "Unauthorized.",
    404: "Not found.",
    405: "Method not allowed.",
    413: "Too large.",
    415: "Unsupported media type.",
}

# What Flask and Werkzeug themselves refuse.
HTTP_CODE = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    TOO_LARGE: "body_too_large",
    415: "unsupported_media_type",
}


def register(app: Flask, network: Network, read_crop: ReadCrop, *, secret: str | None) -> None:
    """Add all routes, the error shape, the request id, the log's line and the metrics to `app`.

    read_crop: encoded picture -> uint8 (S, S, 3), RGB, S the network's input size; None: it cannot be read.
        Several threads may call it.
    secret: what a caller must send as `Authorization: Bearer`, but for OPEN; None: nothing.
    """
    metrics = Metrics()
    metrics.model_info.labels(network.name, network.fingerprint).set(1)

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        """Note how long the block takes, also if it fails."""
        began = time.perf_counter()
        try:
            with metrics.running.labels(name).track_inprogress():
                yield
        finally:
            seconds = time.perf_counter() - began
            g.stages[f"{name}_ms"] = _ms(seconds)
            metrics.stage_seconds.labels(name).observe(seconds)

    @app.get("/")
    def running() -> ResponseReturnValue:
        return Response(RUNNING, mimetype="text/html")

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return jsonify(answers.Health(status="ok"))

    @app.get("/ready")
    def ready() -> ResponseReturnValue:
        network.embed(np.zeros((1, network.input_size, network.input_size, 3), dtype=np.uint8))
        return jsonify(answers.Ready(status="ready", model=network.name))

    @app.get("/metrics")
    def prometheus() -> ResponseReturnValue:
        return Response(metrics.render(), content_type=CONTENT_TYPE_LATEST)

    @app.get("/model")
    def model() -> ResponseReturnValue:
        described: answers.Model = {
            "name": network.name,
            "dimension": network.dimension,
            "input_size": network.input_size,
            "threshold": network.threshold,
            "distance_range": list(network.distance_range),
            "fingerprint": network.fingerprint,
        }
        return jsonify(described)

    @app.post("/embeddings")
    def embeddings() -> ResponseReturnValue:
        if request.mimetype != NPY:
            raise errors.UnsupportedMediaType(f"Send {NPY}.")
        crops = wire.parse_crops(_body(request), network.input_size)
        g.faces = len(crops)
        metrics.faces.inc(g.faces)
        with stage("embed"):
            vectors = network.embed(crops)
        response = Response(wire.render_vectors(vectors), mimetype=NPY)
        response.headers["X-Model-Fingerprint"] = network.fingerprint
        return response

    @app.post("/")
    def embed_uploads() -> ResponseReturnValue:
        if request.mimetype != "multipart/form-data":
            raise errors.UnsupportedMediaType("Send multipart/form-data.")
        ids = wire.parse_face_ids(request.form.get("face_data", ""))
        pictures = [upload.read() for upload in request.files.getlist("image")]
        wire.check_same_number(ids, pictures)
        with stage("decode"):
            crops = [read_crop(data) for data in pictures]
        with stage("embed"):
            vectors = service.embed_readable(network, crops)
        g.faces = sum(map(bool, vectors))
        metrics.faces.inc(g.faces)
        answer = [answers.FaceVector(id=id_, vector=vector) for id_, vector in zip(ids, vectors, strict=True)]
        return jsonify(answer)

    @app.before_request
    def name_request() -> None:
        sent = request.headers.get("X-Request-Id", "")
        g.began = time.perf_counter()
        g.stages = {}
        g.request_id = sent if SANE_ID.fullmatch(sent) else uuid.uuid4().hex

    @app.before_request
    def ask_for_the_secret() -> None:
        if secret is None or request.endpoint in OPEN:
            return
        sent = request.headers.get("Authorization", "")
        if not hmac.compare_digest(sent.encode(), f"Bearer {secret}".encode()):
            raise errors.Unauthorized("Send Authorization: Bearer EMBEDDING_SECRET.")

    @app.after_request
    def tell(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Cache-Control", "no-store")
        seconds = time.perf_counter() - g.began
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.requests.labels(route, response.status_code).inc()
        metrics.seconds.labels(route).observe(seconds)
        fields = {"method": request.method, "route": route, "status": response.status_code}
        more = {"ms": _ms(seconds), **g.stages, "faces": g.get("faces")}
        log.info("answered", extra={"fields": {**fields, **more, "code": g.get("code")}})
        return response

    @app.errorhandler(errors.EmbeddingError)
    def expected(e: errors.EmbeddingError) -> ResponseReturnValue:
        return _error(STATUS[type(e)], e.code, e.detail)

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


def error_text(status: int) -> str:
    """Return the text that stands for a status in `error`."""
    return ERROR_TEXT.get(status, "Internal error.")


def _body(incoming: Request) -> bytes:
    data = incoming.get_data(cache=False)
    if incoming.content_length is None:
        incoming.stream.read()  # a chunked body stops short at the limit; reading on is what raises the 413
    return data


def _error(status: int, code: str, detail: str) -> ResponseReturnValue:
    g.code = code
    answer = answers.Error(error=error_text(status), code=code, detail=detail, request_id=g.request_id)
    response = jsonify(answer)
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 1)
