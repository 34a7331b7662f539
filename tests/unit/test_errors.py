"""Every error class has a status, a code of its own, and one shape; nothing inside shows outside."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask

from recognition.app import create_app
from recognition.config import read
from recognition.web import routes
from serving import errors, logs
from serving.errors import Failure

STATUS = {**errors.STATUS, **routes.STATUS}
SECRET = "a secret of the inside, /home/someone/file.py"


def subclasses(base: type) -> Iterator[type]:
    """All but those of CompreFace's dialect, which no native call raises."""
    for child in base.__subclasses__():
        if not child.__module__.startswith("recognition.compreface"):
            yield child
            yield from subclasses(child)


def test_every_class_has_a_status_and_a_code() -> None:
    classes = list(subclasses(Failure))
    assert set(STATUS) == set(classes)
    codes = [child.code for child in classes]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


@pytest.fixture
def app_that_raises() -> Flask:
    """The application with parts that are never reached, and a route that raises."""
    app = create_app(read({}), detector=lambda _: [], embedder=None, gallery=None)  # type: ignore[arg-type]
    raised: dict[str, Exception] = {child.__name__: child(SECRET[:8]) for child in subclasses(Failure)}
    raised["Unforeseen"] = RuntimeError(SECRET)

    @app.get("/raise/<name>")
    def route(name: str) -> None:
        raise raised[name]

    return app


@pytest.mark.parametrize("error", list(subclasses(Failure)))
def test_every_class_is_answered_in_the_one_shape(app_that_raises: Flask, error: type[Failure]) -> None:
    answer = app_that_raises.test_client().get(f"/raise/{error.__name__}", headers={"X-Request-Id": "r-1"})
    assert answer.status_code == STATUS[error]
    assert answer.json is not None
    assert set(answer.json) == {"error", "code", "detail", "request_id"}
    assert (answer.json["code"], answer.json["request_id"]) == (error.code, "r-1")
    assert (answer.json["error"] == "Invalid request.") == (answer.status_code == 400)
    assert ("Retry-After" in answer.headers) == (answer.status_code in (429, 503))


def test_the_unforeseen_is_logged_and_not_shown(
    app_that_raises: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.setFormatter(logs.Lines(as_json=False))  # type: ignore[arg-type]  # it only formats
    answer = app_that_raises.test_client().get("/raise/Unforeseen", headers={"X-Request-Id": "r-2"})
    assert answer.status_code == 500
    assert answer.json is not None
    assert answer.json["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "r-2" in caplog.text
    assert SECRET in caplog.text


def test_a_body_over_the_limit_is_refused() -> None:
    settings = read({"MAX_BODY_BYTES": "1000"})
    app = create_app(settings, detector=lambda _: [], embedder=None, gallery=None)  # type: ignore[arg-type]
    for length in (1000, 1001):
        answer = app.test_client().post(
            "/face-recognition", data=b"x" * length, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == (400 if length == 1000 else 413)
    assert answer.json is not None
    assert answer.json["code"] == "body_too_large"
