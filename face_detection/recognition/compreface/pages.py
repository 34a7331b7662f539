"""Browsers: pages of any site may call the dialect, as they may CompreFace; they need a key for it."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Flask, Response, request
from werkzeug.datastructures import HeaderSet

from recognition.compreface.table import Call
from serving import browsers
from serving.errors import CrossOrigin

ANY = "*"
METHODS = ("GET", "POST", "PUT", "DELETE", "OPTIONS")
REQUEST_HEADERS = (
    "Accept",
    "Cache-Control",
    "Content-Type",
    "If-Modified-Since",
    "Range",
    "x-api-key",
    "X-Request-Id",
    "X-Requested-With",
)
RESPONSE_HEADERS = ("X-Request-Id", "Retry-After")
# Faces are shown by pages of other sites, who need the key for that.
HEADERS = {**browsers.HEADERS, "Cross-Origin-Resource-Policy": "cross-origin"}


def register(app: Flask, calls: Mapping[str, Call]) -> None:
    """Add the headers that let pages in, but not to calls without `pages`, which no other site's may make."""

    def is_open() -> bool:
        call = calls.get(request.endpoint or "")
        return call is None or call.pages

    @app.before_request
    def refuse_or_answer_preflight() -> Response | None:
        if not is_open():
            if browsers.is_other_page(request.headers, ()):
                raise CrossOrigin("Pages of other sites may not make this call.")
            return None
        if request.method != "OPTIONS":
            return None
        response = Response(status=204)
        response.access_control_allow_methods = HeaderSet(METHODS)
        response.access_control_allow_headers = HeaderSet(REQUEST_HEADERS)
        response.access_control_max_age = browsers.PREFLIGHT_VALID_S
        return response

    @app.after_request
    def tell_browser(response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if is_open():
            response.access_control_allow_origin = ANY
            response.access_control_expose_headers = HeaderSet(RESPONSE_HEADERS)
        return response
