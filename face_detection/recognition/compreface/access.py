"""Lets in who has a key: it names a service, of the kind that the call is of, and that a gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Flask, Response, g, request

from recognition import client_keys
from recognition.client_keys import ClientService, Kind
from recognition.compreface import images
from recognition.compreface.failures import Code, Missing, Refused
from recognition.compreface.table import Call
from recognition.gallery import Gallery, services
from serving.rate import RateLimit
from serving.request_id import caller

HEADER = "x-api-key"

# Returns the service that the key with a digest opens; None: it opens none.
Find = Callable[[bytes], ClientService | None]


def register(app: Flask, calls: Mapping[str, Call], find: Find, limit: RateLimit | None) -> None:
    """Add the check to `app`. It looks at the headers alone, before anything of the body is read.

    Args:
        app: the application.
        calls: by endpoint.
        find: looks a key up.
        limit: how often one service may be asked; None: as often as its clients like.
    """

    @app.before_request
    def admit() -> Response | None:
        call = calls.get(request.endpoint or "")
        if call is None or call.kind is None:
            return None
        try:
            service = _opened(_presented(call), call.kind, find)
        except Refused:
            if call.in_path:
                return images.nothing()
            raise
        g.service, g.key = service, service.name
        caller.set(service.name)
        if limit is not None:
            limit.take(service.id)
        return None


def _presented(call: Call) -> str:
    """Return the key that came with the request."""
    if call.in_path:
        return str((request.view_args or {})["key"])
    presented: str | None = request.headers.get(HEADER)
    if presented is None:
        raise Refused(Code.MISSING_HEADER, f"Missing header: {HEADER}")
    return presented


def _opened(presented: str, kind: Kind, find: Find) -> ClientService:
    """Return the service of a kind that a key opens."""
    try:
        digest = client_keys.digest(presented)
    except ValueError:
        raise Refused(Code.BAD_VALUE, "Service API key should be UUID") from None
    service = find(digest)
    if service is None or service.kind != kind:
        raise Missing(Code.NO_SERVICE, f"{kind.capitalize()} service with API Key {presented} not found")
    return service


def finder(gallery: Gallery, fixed: Mapping[bytes, ClientService]) -> Find:
    """Look keys up in the settings, whose services are `fixed`, and in the database, each time anew."""

    def find(digest: bytes) -> ClientService | None:
        return fixed.get(digest) or services.find(gallery, digest)

    return find
