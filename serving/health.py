"""The calls that every service answers about itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import Field
from typing_extensions import TypedDict

from serving.keys import ANY, OPEN
from serving.routes import Route
from serving.version import VERSION

METRICS = "# TYPE recognition_samples gauge\nrecognition_samples 92.0\n"


class Health(TypedDict):
    """The process runs."""

    status: Annotated[Literal["ok"], Field(description="Always `ok`.")]
    version: Annotated[str, Field(description="Of this service.")]


def health(_: Any) -> ResponseReturnValue:
    """Say that the process runs."""
    return jsonify(Health(status="ok", version=VERSION))


def prometheus(parts: Any) -> ResponseReturnValue:
    """Tell Prometheus what has happened so far."""
    return Response(parts.metrics.render(), content_type=CONTENT_TYPE_LATEST)


ROUTES = (
    Route("GET", "/health", health, OPEN, (Health, {"status": "ok", "version": VERSION})),
    Route("GET", "/metrics", prometheus, ANY, ("text/plain", METRICS), whole=True),
)
