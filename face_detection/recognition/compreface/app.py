"""Puts the dialect together, as an application of its own that shares a process with the native one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from flask import Flask, g, request
from flask.typing import ResponseReturnValue

from recognition.client_keys import ClientService
from recognition.compreface import access, admin, failures, pages
from recognition.compreface.calls import CALLS
from recognition.compreface.sessions import Door
from recognition.compreface.table import Call, Parts
from recognition.errors import GalleryExists
from recognition.gallery import Gallery, galleries
from recognition.probing import Probing
from recognition.service import Service
from serving import bodies, hangup, hosts, observe
from serving.intake import Intake
from serving.keys import Key
from serving.metrics import Metrics
from serving.rate import RateLimit
from serving.routes import AnyText

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MOUNTED = ("/api/v1/", "/admin/")


def create_app(
    service: Service,
    gallery: Gallery,
    metrics: Metrics,
    *,
    detector: str,
    services: Mapping[bytes, ClientService],
    keys: Sequence[Key],
    max_body_bytes: int,
    intake: Intake,
    limit: RateLimit | None = None,
    allowed_hosts: Collection[str] = (),
) -> Flask:
    """Build the application. It holds no global state.

    Args:
        service, gallery: the native application's.
        metrics: are told of every request.
        detector: its name.
        services: those of the settings, by the digests of their keys; the others are in the database.
        keys: of API_KEYS, which the calls ask for that set it up.
        max_body_bytes: larger bodies are refused.
        intake: bounds what comes at a time, to this and the native application together.
        limit: how often one service may be asked; None: as often as its clients like.
        allowed_hosts: further names that it answers to; see `hosts.register`.
    """
    there = set(galleries.names(gallery)) if services else set()
    for client in services.values():
        if client.gallery is not None and client.gallery not in there:
            with suppress(GalleryExists):  # another worker, or another service of the same
                galleries.make(gallery, client.gallery)
    app = Flask("recognition", static_folder=None)
    app.request_class = bodies.BoundedRequest
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = bodies.MAX_PART_BYTES
    app.config["MAX_FORM_PARTS"] = bodies.MAX_PARTS
    calls = {call.name: call for call in CALLS}
    observe.register(app, metrics)
    hosts.register(app, allowed_hosts)
    pages.register(app, calls)
    access.register(app, calls, access.finder(gallery, services), limit)
    probing = Probing(service.sight, service.enroller, gallery, service.admission, service.audit)
    _register_calls(app, calls, Parts(service, probing, gallery, detector, max_body_bytes, Door(keys)))
    intake.register(app)
    failures.register(app)
    admin.register(app)
    return app


def mount(native: Flask, dialect: Flask) -> None:
    """Let the dialect answer what is under its prefixes, with whatever slashes clients send too many."""
    beside = native.wsgi_app

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = _path(environ)
        if f"{path}/".startswith(MOUNTED):
            return dialect({**environ, "PATH_INFO": path}, start_response)
        return beside(environ, start_response)

    native.wsgi_app = application  # type: ignore[method-assign]


def _path(environ: WSGIEnvironment) -> str:
    """Return the path in WSGI's form, without slashes too many, but for those that are a name's own (%2F)."""
    raw = environ.get("RAW_URI", "").partition("?")[0]
    if not raw.startswith("/"):  # it names a host, too, or the server does not tell it
        raw = quote(environ.get("PATH_INFO", ""), safe="/%", encoding="latin-1")
    path = re.sub("/{2,}", "/", raw).rstrip("/")
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


def _register_calls(app: Flask, calls: Mapping[str, Call], parts: Parts) -> None:
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = AnyText
    for call in calls.values():
        view = partial(_call, call)
        for prefix in call.prefixes:
            app.add_url_rule(prefix + call.path, call.name, view, methods=[call.method])

    @app.before_request
    def refuse_before_the_body_is_read() -> None:
        call = calls.get(request.endpoint or "")
        if call is None:
            return
        hangup.watch(request.environ.get("gunicorn.socket"))
        if call.queued:
            parts.service.admission.check()
        else:
            request.max_content_length = min(parts.max_body_bytes, bodies.MAX_SMALL_JSON_BYTES)
        g.parts = _of_client(parts)

    @app.teardown_request
    def no_longer_watch(_: BaseException | None) -> None:
        hangup.watch(None)


def _of_client(parts: Parts) -> Parts:
    """Return what a handler works with: of the gallery of the client's service, and of no other."""
    client = g.get("service")
    if client is None or client.gallery is None:
        return replace(parts, client=client)
    gallery = parts.gallery.of(client.gallery)
    service = replace(parts.service, gallery=gallery, audit=gallery.audit, read=gallery.audit.read)
    probing = replace(parts.probing, gallery=gallery, audit=gallery.audit)
    return replace(parts, service=service, probing=probing, gallery=gallery, client=client)


def _call(call: Call, **parameters: str) -> ResponseReturnValue:
    return call.handler(g.parts, **parameters)
