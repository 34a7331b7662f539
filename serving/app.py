"""Puts a Flask application together from a table of routes: all that both services do around a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Flask

from serving import (
    access,
    bodies,
    browsers,
    documentation,
    errors,
    failures,
    health,
    hosts,
    observe,
    routes,
)
from serving.intake import Intake
from serving.keys import Key
from serving.metrics import Metrics
from serving.rate import RateLimit
from serving.routes import Route


def create_app(
    name: str,
    table: Sequence[Route],
    parts: Any,
    metrics: Metrics,
    *,
    statuses: Mapping[type[errors.Failure], int],
    max_body_bytes: int,
    intake: Intake,
    keys: Sequence[Key],
    ask: str,
    title: str,
    samples: Mapping[str, str],
    limit: RateLimit | None = None,
    allowed_hosts: Sequence[str] = (),
    origins: Sequence[str] = (),
    check_queue: Callable[[], None] = lambda: None,
    parts_for: Callable[[Route], Any] | None = None,
) -> Flask:
    """Build the application. It holds no global state.

    Args:
        name: of the package whose it is.
        table: its routes, to which those are added that both services have.
        parts: what the handlers work with; has `metrics`.
        metrics: are told of every request.
        statuses: of the service's own failures.
        max_body_bytes: larger bodies are refused.
        intake: bounds what comes at a time.
        keys, ask, limit: see `access.register`.
        title, samples: see `openapi.document`.
        allowed_hosts: further names that the service answers to; see `hosts.register`.
        origins: pages that may call it and read answers; see `browsers.register`.
        check_queue: raises where too many requests wait.
        parts_for: see `routes.register`; None: `parts`, for every request.
    """
    app = Flask(name, static_folder=None)
    app.request_class = bodies.BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = bodies.MAX_PART_BYTES
    app.config["MAX_FORM_PARTS"] = bodies.MAX_PARTS
    table = (*table, *health.ROUTES, *documentation.ROUTES)
    everything = {**errors.STATUS, **statuses}
    observe.register(app, metrics)
    hosts.register(app, allowed_hosts)
    browsers.register(app, origins, unsafe={route.name for route in table if route.unsafe})
    scopes = {route.name: route.scope for route in table}
    whole = {route.name for route in table if route.whole}
    near = {route.name for route in table if route.near}
    access.register(app, scopes, keys, whole=whole, near=near, limit=limit, ask=ask)
    routes.register(app, table, parts_for or (lambda _: parts), check_queue)
    intake.register(app)
    failures.register(app, table, everything)
    documentation.register(app, table, everything, title=title, samples=samples, optional_keys=not keys)
    return app
