"""Browsers: whose pages may change something and read our answers, and what our own pages may do."""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from flask import Flask, Response, request
from werkzeug.datastructures import Headers, HeaderSet

from serving.errors import CrossOrigin

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; media-src blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",  # frame-ancestors, for old browsers
    "Referrer-Policy": "no-referrer",
    # Another page that shows a kept face as a picture would learn that the sample is there.
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # answers are about people
}
REQUEST_HEADERS = ("Authorization", "Content-Type", "X-Api-Key", "X-Request-Id")
RESPONSE_HEADERS = ("X-Request-Id", "Retry-After", "X-Faces-Left-Out", "X-Picture-Warnings")
PREFLIGHT_VALID_S = 600

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # RFC 9110, section 9.2.1
# What gives a browser away. Over plain HTTP, except to localhost, it says neither what a GET is for nor whose
# page it comes from: there is just the language, and its own name. A page can remove neither.
BROWSERS_SEND = ("Sec-Fetch-Site", "Sec-Fetch-Mode", "Sec-Purpose", "Purpose", "Origin", "Accept-Language")
BROWSERS_ARE_CALLED = "Mozilla/"
SHOWN = 100  # characters of an origin that was refused
DEFAULT_PORTS = {"http": 80, "https": 443}


def register(app: Flask, origins: Collection[str], unsafe: Collection[str] = ()) -> None:
    """Add these headers to every answer of `app`, and refuse changes by pages that may not make them.

    Args:
        app: the application.
        origins: pages that may call it, besides its own, compared exactly. Their browsers may send a key, but
            no cookies: there are none.
        unsafe: endpoints that change something by GET, which no link, address, picture or prefetch reaches.
    """

    @app.before_request
    def refuse_other_pages() -> None:
        headers = request.headers
        if request.method == "GET" and request.endpoint in unsafe:
            if _is_browser(headers) and not _is_own_script(headers):
                raise CrossOrigin("A browser may not do this with GET, as a link or picture could. Use POST.")
        elif request.method not in SAFE_METHODS and is_other_page(headers, origins):
            page = headers.get("Origin", "another site")
            raise CrossOrigin(f"CORS_ORIGINS does not name the origin of the page that asks: {page[:SHOWN]}")

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


def _is_browser(headers: Headers) -> bool:
    called = headers.get("User-Agent", "")
    return called.startswith(BROWSERS_ARE_CALLED) or any(name in headers for name in BROWSERS_SEND)


def _is_own_script(headers: Headers) -> bool:
    """Tell whether a script of our own page sends it: no link, picture or prefetch has these modes."""
    own = headers.get("Sec-Fetch-Site") == "same-origin"
    return own and headers.get("Sec-Fetch-Mode") in ("cors", "same-origin")


def is_other_page(headers: Headers, origins: Collection[str]) -> bool:
    """Tell whether a page that is neither ours nor of `origins` sends it.

    `same-site` is another page, too: of a subdomain, or another port of this machine. Over plain HTTP, and in
    old browsers, there is only the Origin. What sends neither is not a browser.
    """
    origin = headers.get("Origin")
    if origin in origins:
        return False
    site = headers.get("Sec-Fetch-Site", "none")
    if site != "none":
        return site != "same-origin"
    return origin is not None and not _is_origin_of(origin, headers.get("Host", ""))


def _is_origin_of(origin: str, host: str) -> bool:
    """Compare without the scheme: a proxy may speak TLS for us."""
    try:
        page, here = urlsplit(origin), urlsplit(f"//{host}")
        port = DEFAULT_PORTS.get(page.scheme)
        same = (page.hostname, page.port or port) == (here.hostname, here.port or port)
        return same and page.hostname is not None
    except ValueError:  # neither `null` nor a URL
        return False
