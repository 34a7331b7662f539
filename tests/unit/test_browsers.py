"""What browsers are told: other people's pages read no answer unless named; ours run no inline script."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from recognition.app import create_app
from recognition.config import SettingsError, read
from serving import keys

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
