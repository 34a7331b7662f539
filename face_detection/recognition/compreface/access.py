"""Lets in who has a key: it names a service, of the kind that the call is of, and that a gallery."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flask import Flask, g, request

from recognition import client_keys
from recognition.compreface.failures import Code, Missing, Refused
from recognition.compreface.table import Call
from recognition.results import ClientService
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
    def admit() -> None:
        call = calls.get(request.endpoint or "")
        if call is None or call.kind is None:
            return
        presented = request.headers.get(HEADER)
        if presented is None:
            raise Refused(Code.MISSING_HEADER, f"Missing header: {HEADER}")
        try:
            digest = client_keys.digest(presented)
        except ValueError:
            raise Refused(Code.BAD_VALUE, "Service API key should be UUID") from None
        service = find(digest)
        if service is None or service.kind != call.kind:
            kind = call.kind.capitalize()
            raise Missing(Code.NO_SERVICE, f"{kind} service with API Key {presented} not found")
        g.service, g.key = service, service.name
        caller.set(service.name)
        if limit is not None:
            limit.take(service.name)
