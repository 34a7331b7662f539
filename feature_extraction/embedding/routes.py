"""Thin HTTP handlers: parse, call once, render. The only place with status numbers."""

from __future__ import annotations

import logging
import re
import threading
import time
import uuid

import numpy as np
from flask import Flask, Request, Response, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from embedding import errors, service, wire
from embedding.metrics import Metrics
from embedding.network import Network

log = logging.getLogger(__name__)

NPY = "application/x-npy"
RUNNING = "<!doctype html><title>Feature extraction</title><p>Feature extraction server is running!</p>"
SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")

STATUS: dict[type[errors.EmbeddingError], int] = {
    errors.InvalidRequest: 400,
    errors.UnsupportedMediaType: 415,
}

ERROR_TEXT = {
    400: "Invalid request.",
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
    413: "body_too_large",
    415: "unsupported_media_type",
}


def register(app: Flask, network: Network, max_image_pixels: int) -> None:
    """Add all routes, the error shape, the request id and the metrics to `app`."""
    metrics = Metrics()
    one_upload_at_a_time = threading.Lock()  # pictures of the largest size allowed need 1.4 GB each

    @app.get("/")
    def running() -> ResponseReturnValue:
        return Response(RUNNING, mimetype="text/html")

    @app.get("/health")
    def health() -> ResponseReturnValue:
        return jsonify(status="ok")

    @app.get("/ready")
    def ready() -> ResponseReturnValue:
        network.embed(np.zeros((1, network.input_size, network.input_size, 3), dtype=np.uint8))
        return jsonify(status="ready", model=network.name)

    @app.get("/metrics")
    def prometheus() -> ResponseReturnValue:
        return Response(metrics.render(), content_type=CONTENT_TYPE_LATEST)

    @app.get("/model")
    def model() -> ResponseReturnValue:
        return jsonify(
            name=network.name,
            dimension=network.dimension,
            input_size=network.input_size,
            threshold=network.threshold,
            distance_range=network.distance_range,
            fingerprint=network.fingerprint,
        )

    @app.post("/embeddings")
    def embeddings() -> ResponseReturnValue:
        if request.mimetype != NPY:
            raise errors.UnsupportedMediaType(f"Send {NPY}.")
        crops = wire.parse_crops(_body(request), network.input_size)
        metrics.faces.inc(len(crops))
        response = Response(wire.render_vectors(network.embed(crops)), mimetype=NPY)
        response.headers["X-Model-Fingerprint"] = network.fingerprint
        return response

    @app.post("/")
    def embed_uploads() -> ResponseReturnValue:
        if request.mimetype != "multipart/form-data":
            raise errors.UnsupportedMediaType("Send multipart/form-data.")
        ids = wire.parse_face_ids(request.form.get("face_data", ""))
        pictures = [upload.read() for upload in request.files.getlist("image")]
        wire.check_same_number(ids, pictures)
        with one_upload_at_a_time:
            vectors = service.embed_pictures(network, pictures, max_image_pixels)
        metrics.faces.inc(sum(map(bool, vectors)))
        return jsonify([{"id": id_, "vector": vector} for id_, vector in zip(ids, vectors, strict=True)])

    @app.before_request
    def name_request() -> None:
        sent = request.headers.get("X-Request-Id", "")
        g.began = time.perf_counter()
        g.request_id = sent if SANE_ID.fullmatch(sent) else uuid.uuid4().hex

    @app.after_request
    def tell_request_id(response: Response) -> Response:
        response.headers["X-Request-Id"] = g.request_id
        route = request.url_rule.rule if request.url_rule else "none"
        metrics.requests.labels(route, response.status_code).inc()
        metrics.seconds.labels(route).observe(time.perf_counter() - g.began)
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

    @app.errorhandler(Exception)
    def unforeseen(e: Exception) -> ResponseReturnValue:
        log.error("internal error request_id=%s", g.request_id, exc_info=e)
        return _error(500, "internal_error", "The log has more under this request id.")


def _body(incoming: Request) -> bytes:
    data = incoming.get_data(cache=False)
    if incoming.content_length is None:
        incoming.stream.read()  # a chunked body stops short at the limit; reading on is what raises the 413
    return data


def _error(status: int, code: str, detail: str) -> ResponseReturnValue:
    error = ERROR_TEXT.get(status, "Internal error.")
    return jsonify(error=error, code=code, detail=detail, request_id=g.request_id), status
