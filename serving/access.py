"""Lets in who may: finds the caller's key, holds it against the route's scope, and counts against the limit.

All of it looks at the headers alone, before anything of the body is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flask import Flask, Request, g, request

from serving.errors import Forbidden, Unauthorized
from serving.keys import ADMIN, ANY, OPEN, Key, find
from serving.rate import RateLimit
from serving.request_id import caller


def register(
    app: Flask, scopes: Mapping[str, str], keys: Sequence[Key], *, limit: RateLimit | None, ask: str
) -> None:
    """Add the check to `app`.

    Args:
        app: the application.
        scopes: what each endpoint asks for; one that is not here asks for `admin`.
        keys: those that are accepted; without any, everybody may call everything.
        limit: how often one key, or without keys one address, may ask; None: as often as it likes.
        ask: what who has no valid key is told to send.
    """

    @app.before_request
    def admit() -> None:
        # An unknown path is told to whoever has a key.
        scope = ANY if request.endpoint is None else scopes.get(request.endpoint, ADMIN)
        if scope == OPEN:
            return
        if keys:
            key = find(keys, _presented(request))
            if key is None:
                raise Unauthorized(ask)
            g.key = key.name
            caller.set(key.name)
            if not key.opens(scope):
                raise Forbidden(f"This key does not have the scope {scope}.")
        if limit is not None:
            limit.take(g.get("key") or request.remote_addr or "")


def _presented(incoming: Request) -> str:
    """Return the key that came with the request, or an empty text, which is nobody's."""
    own: str | None = incoming.headers.get("x-api-key")
    if own is not None:
        return own
    sent = incoming.authorization
    return (sent.token or "") if sent is not None and sent.type == "bearer" else ""
