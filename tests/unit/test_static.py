"""The files of the web page: how they are sent, and what may not be in them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
from flask.testing import FlaskClient

from recognition.app import create_app
from recognition.config import read
from recognition.web.routes import PAGE_FILES

STATIC = Path(__file__).resolve().parents[2] / "face_detection" / "recognition" / "static"
SOURCES = sorted(path for path in STATIC.iterdir() if path.suffix in {".html", ".js", ".css", ".svg"})
TYPES = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


@pytest.fixture
def client() -> FlaskClient:
    return create_app(read({}), detector=lambda _: [], embedder=None, gallery=None).test_client()  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/", *(f"/static/{path.name}" for path in SOURCES)])
def test_a_file_is_sent_with_its_type_and_asked_for_again_when_it_changed(
    client: FlaskClient, path: str
) -> None:
    answer = client.get(path, buffered=True)
    assert answer.status_code == 200
    assert TYPES[Path(path).suffix or ".html"] in answer.headers["Content-Type"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]}, buffered=True)
    assert (again.status_code, again.data) == (304, b"")


def test_the_page_may_run_no_inline_script(client: FlaskClient) -> None:
    policy = client.get("/", buffered=True).headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["../routes.py", "%2e%2e/routes.py", "nothing.js", ""])
def test_nothing_else_is_sent(client: FlaskClient, path: str) -> None:
    assert client.get(f"/static/{path}").status_code == 404


def test_the_interface_names_just_the_files_there_are() -> None:
    assert set(get_args(PAGE_FILES)) == {path.name for path in STATIC.iterdir()}


@pytest.mark.parametrize("path", SOURCES, ids=[path.name for path in SOURCES])
def test_no_file_names_another_host_or_makes_markup_of_text(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "//" not in re.sub(r"(?m)(^|\s)//.*$", "", text)
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|\bstyle=|\son\w+="
    assert not re.search(markup, text)
