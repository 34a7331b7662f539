"""Headers for browsers: whose pages may read our answers, and what our own pages may do."""

from __future__ import annotations

from collections.abc import Collection

from flask import Flask, Response, request
from werkzeug.datastructures import HeaderSet

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # frame-ancestors, for old browsers
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",  # answers are about people
}
REQUEST_HEADERS = ("Authorization", "Content-Type", "X-Api-Key", "X-Request-Id")
RESPONSE_HEADERS = ("X-Request-Id", "Retry-After")
PREFLIGHT_VALID_S = 600


def register(app: Flask, origins: Collection[str]) -> None:
    """Add these headers to every answer of `app`, and let the pages of `origins` call it.

    Origins are compared exactly. Their browsers may send a key, but no cookies: there are none.
    """

    @app.before_request
    def answer_preflight() -> Response | None:
        # A browser asks this without a key, before a page's request with one.
        asked = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asked or request.headers.get("Origin") not in origins:
            return None
        response = app.make_default_options_response()
        response.access_control_allow_methods = response.allow
        response.access_control_allow_headers = HeaderSet(REQUEST_HEADERS)
        response.access_control_max_age = PREFLIGHT_VALID_S
        return response

    @app.after_request
    def tell_browser(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if origins:
            response.vary.add("Origin")
        origin = request.headers.get("Origin", "")
        if origin in origins:
            response.access_control_allow_origin = origin
            response.access_control_expose_headers = HeaderSet(RESPONSE_HEADERS)
        return response
