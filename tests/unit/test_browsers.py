"""Browsers: other pages change nothing and read no answer unless named; ours run no inline script."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from recognition.app import create_app
from recognition.config import SettingsError, read
from recognition.web import routes
from serving import documentation, health, keys
from serving.routes import Route

OURS = "https://door.example"
PREFLIGHT = {"Origin": OURS, "Access-Control-Request-Method": "POST"}


def client(**settings: str) -> FlaskClient:
    return create_app(read(settings), detector=lambda _: [], embedder=None, gallery=None).test_client()  # type: ignore[arg-type]


def cors(answer: TestResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name.startswith("Access-Control")}


@pytest.mark.parametrize("path", ["/update-samples", "/health", "/nowhere", "/detect"])
def test_every_answer_has_the_headers_and_none_a_cookie(path: str) -> None:
    headers = client().get(path).headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Set-Cookie" not in headers


def test_without_origins_no_page_of_others_is_let_in() -> None:
    app = client()
    for answer in (app.get("/health", headers={"Origin": OURS}), app.options("/detect", headers=PREFLIGHT)):
        assert cors(answer) == {}


def test_a_named_origin_may_ask_and_read() -> None:
    app = client(CORS_ORIGINS=f"http://localhost:8080, {OURS}", API_KEYS=keys.new("door", "admin")[1].entry())
    answer = app.options("/samples/a", headers=PREFLIGHT | {"Access-Control-Request-Method": "DELETE"})
    assert answer.status_code == 200
    told = cors(answer)
    assert told["Access-Control-Allow-Origin"] == OURS
    assert "DELETE" in told["Access-Control-Allow-Methods"]
    assert "authorization" in told["Access-Control-Allow-Headers"].lower()
    assert "content-type" in told["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in told
    refused = app.post("/detect", headers={"Origin": OURS})  # a page must be able to read why
    assert (refused.status_code, cors(refused)["Access-Control-Allow-Origin"]) == (401, OURS)
    assert "Origin" in refused.vary


def test_a_named_origin_reads_the_headers_that_the_routes_describe() -> None:
    described = {name for route in routes.ROUTES for name in route.headers}
    answer = client(CORS_ORIGINS=OURS).get("/health", headers={"Origin": OURS})
    assert described
    assert described | {"X-Request-Id", "Retry-After"} == set(answer.access_control_expose_headers)


@pytest.mark.parametrize(
    "origin",
    ["null", "https://evil.example", f"{OURS}.evil.example", "http://door.example", f"{OURS}:444", ""],
)
def test_another_origin_is_not_let_in(origin: str) -> None:
    app = client(CORS_ORIGINS=OURS)
    for answer in (
        app.get("/health", headers={"Origin": origin}),
        app.options("/detect", headers=PREFLIGHT | {"Origin": origin}),
    ):
        assert cors(answer) == {}
        assert "Origin" in answer.vary


def test_a_preflight_of_another_origin_needs_a_key_like_all_else() -> None:
    app = client(CORS_ORIGINS=OURS, API_KEYS=keys.new("door", "admin")[1].entry())
    assert app.options("/detect", headers=PREFLIGHT | {"Origin": "https://evil.example"}).status_code == 401
    assert app.options("/detect", headers={"Origin": OURS}).status_code == 401  # no preflight


@pytest.mark.parametrize("origins", ["*", "door.example", f"{OURS}/", "https://*.example", "null"])
def test_origins_that_are_none_stop_the_start(origins: str) -> None:
    with pytest.raises(SettingsError, match="CORS_ORIGINS"):
        read({"CORS_ORIGINS": origins})


HOST = "http://localhost:6337"
OTHER_PAGES = {
    "a cross-site form": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "a cross-site request that hides its origin": {"Sec-Fetch-Site": "cross-site"},
    "a subdomain, or another port": {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:8080"},
    "what a later browser may say": {"Sec-Fetch-Site": "elsewhere"},
    "over plain HTTP": {"Origin": "http://evil.example"},
    "over plain HTTP from another port": {"Origin": "http://localhost:8080"},
    "over plain HTTP from the usual port": {"Origin": "http://localhost"},
    "a sandboxed frame": {"Origin": "null"},
    "a file": {"Origin": "file://"},
    "an empty origin": {"Origin": ""},
    "one that is no URL": {"Origin": "http://[localhost:6337"},
    "one whose port is none": {"Origin": "http://localhost:x6337"},
    "one that begins like ours": {"Origin": f"{HOST}.evil.example"},
    "one that names us as its user": {"Origin": "http://localhost:6337@evil.example"},
    "a page of ours that forges nothing": {"Sec-Fetch-Site": "none", "Origin": "https://evil.example"},
}
OWN_PAGES = {
    "not a browser": {},
    "our page": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Origin": HOST},
    "our page over plain HTTP": {"Origin": HOST},
    "our page behind a proxy that speaks TLS": {"Origin": "https://localhost:6337"},
    "a page that is named": {"Sec-Fetch-Site": "cross-site", "Origin": OURS},
    "a page that is named, over plain HTTP": {"Origin": OURS},
}
PARTS = {
    "sample_id": "a",
    "person_id": "anybody",
    "name": "start.js",
    "filename": "app.js",
    "gallery": "other",
    "unknown_id": "somebody",
    "face_id": "a-face",
    "event_id": "00000000-0000-4000-8000-000000000001",
}
TABLE = (*routes.ROUTES, *health.ROUTES, *documentation.ROUTES)
CLEAR = ("GET", "/clear-samples")


def code_of(app: FlaskClient, method: str, path: str, headers: dict[str, str]) -> str | None:
    answer = app.open(path, base_url=HOST, method=method, headers=headers, buffered=True)
    if answer.status_code == 403:
        assert answer.json is not None
        assert set(answer.json) == {"error", "code", "detail", "request_id"}
    code: str | None = (answer.json or {}).get("code") if answer.mimetype == "application/json" else None
    return code


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_other_pages_call_nothing_that_changes_something(route: Route) -> None:
    path = re.sub(r"<(?:path:)?(\w+)>", lambda part: PARTS[part[1]], route.path)
    for settings in ({}, {"API_KEYS": keys.new("door", "admin")[1].entry()}):
        app = client(CORS_ORIGINS=OURS, **settings)
        for what, headers in OTHER_PAGES.items():
            refused = code_of(app, route.method, path, headers) == "cross_origin"
            assert refused == route.changes, what
        for what, headers in OWN_PAGES.items():
            if (route.method, route.path) != CLEAR:
                assert code_of(app, route.method, path, headers) != "cross_origin", what


def test_what_changes_something() -> None:
    changing = {(route.method, route.path) for route in TABLE if route.changes}
    assert changing == {(route.method, route.path) for route in TABLE if route.method != "GET"} | {CLEAR}


def test_the_default_port_need_not_be_said() -> None:
    app = client()
    for origin, host, refused in (
        ("https://faces", "faces", False),
        ("https://faces", "faces:443", False),
        ("http://faces", "FACES:80", False),
        ("http://faces:80", "faces", False),
        ("http://[::1]", "[::1]:80", False),
        ("https://faces", "faces:80", True),
        ("https://faces:8443", "faces", True),
    ):
        answer = app.post("/detect", headers={"Origin": origin, "Host": host})
        assert (answer.status_code == 403) == refused, (origin, host)


class Gallery:
    """Counts how often it was cleared."""

    cleared = 0

    def clear(self) -> None:
        self.cleared += 1


def cleared_by(method: str, headers: dict[str, str]) -> tuple[int, int]:
    gallery: Any = Gallery()
    app = create_app(read({"CORS_ORIGINS": OURS}), detector=lambda _: [], embedder=None, gallery=gallery)  # type: ignore[arg-type]
    answer = app.test_client().open("/clear-samples", method=method, base_url=HOST, headers=headers)
    return answer.status_code, gallery.cleared


CHROMIUM = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0", "Accept-Language": "en"}
LINKS = {
    "an address that is typed": {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    "a link of ours": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate"},
    "a link of others": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "a picture": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "a picture in a page of ours": {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "no-cors"},
    "a script of others": {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Origin": HOST},
    "a page that may call, which can send POST": {"Sec-Fetch-Site": "cross-site", "Origin": OURS},
    "a prefetch": {"Sec-Purpose": "prefetch;prerender"},
    "an older prefetch": {"Purpose": "prefetch"},
    "over plain HTTP": CHROMIUM,
    "over plain HTTP, without its name": {"Accept-Language": "en"},
    "over plain HTTP, without a language": {"User-Agent": CHROMIUM["User-Agent"]},
}


@pytest.mark.parametrize("headers", LINKS.values(), ids=LINKS)
def test_no_link_clears(headers: dict[str, str]) -> None:
    assert cleared_by("GET", headers) == (403, 0)


def test_a_program_and_a_script_of_ours_clear_by_get() -> None:
    for headers in (
        {},
        {"User-Agent": "python-requests/2.32.5", "Accept": "*/*", "Accept-Encoding": "gzip, deflate"},
        {"User-Agent": "curl/7.88.1", "Accept": "*/*"},
        CHROMIUM | {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},  # /docs, Try it out
    ):
        assert cleared_by("GET", headers) == (200, 1)


def test_head_clears_nothing() -> None:
    for headers in ({}, *LINKS.values()):
        assert cleared_by("HEAD", headers) == (405, 0)
    assert cleared_by("OPTIONS", {}) == (200, 0)
