"""Every failure that a use case may raise has an answer in CompreFace's form, and a fitting status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from recognition.compreface import failures
from recognition.compreface.failures import Code, Missing, Refused, Unreadable
from recognition.web import routes
from serving import errors
from serving.errors import Failure

NATIVE = {**errors.STATUS, **routes.STATUS}
SECRET = "a secret of the inside"
MAY_PASS = {kind for kind, status in NATIVE.items() if status == 503}


@pytest.fixture
def app() -> Iterator[Flask]:
    app = Flask("dialect")
    failures.register(app)
    yield app


def told(app: Flask, failure: Exception) -> tuple[int, dict[str, object] | None, dict[str, str]]:
    def fail() -> None:
        raise failure

    app.add_url_rule("/", "fail", fail)
    answer = app.test_client().get("/")
    return answer.status_code, answer.json if answer.data else None, dict(answer.headers)


@pytest.mark.parametrize("kind", list(NATIVE), ids=lambda kind: kind.__name__)
def test_every_failure_is_told(app: Flask, kind: type[Failure]) -> None:
    status, body, headers = told(app, kind("what is wrong"))
    assert body is not None and set(body) == {"message", "code"}
    assert status in (400, 403, 401, 408, 421, 429, 499, 503)
    assert ("Retry-After" in headers) == (status in (429, 503))
    if kind in MAY_PASS or kind is errors.Overloaded:
        assert (status, body) == (503, {"message": failures.PLEASE_TRY_AGAIN, "code": 0})


def test_compreface_s_own_refusals_are_told_in_its_words(app: Flask) -> None:
    assert told(app, Refused(Code.SUBJECT_EXISTS, "Subject already exists"))[:2] == (
        400,
        {"message": "Subject already exists", "code": 43},
    )


def test_what_is_not_there_is_a_404(app: Flask) -> None:
    assert told(app, Missing(Code.NO_SUBJECT, "x"))[:2] == (404, {"message": "x", "code": 42})


def test_what_cannot_be_read_has_no_body(app: Flask) -> None:
    assert told(app, Unreadable("x"))[:2] == (400, None)


def test_the_unforeseen_is_logged_and_not_shown(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    status, body, _ = told(app, RuntimeError(SECRET))
    assert (status, body) == (400, {"message": failures.PLEASE_TRY_AGAIN, "code": 0})
    assert SECRET in caplog.text


def test_a_full_disk_is_a_503(app: Flask) -> None:
    assert told(app, OSError(28, "No space left"))[0] == 503
