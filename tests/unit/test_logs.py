"""The log: one line a request, as text or JSON, that tells how it went and nothing of who was seen."""

from __future__ import annotations

import base64
import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from flask import Flask
from PIL import Image

from recognition.app import create_app
from recognition.config import read
from recognition.faces import Box, Face
from recognition.gallery import open_gallery
from serving import keys, logs
from serving.model import Model

MODEL = Model("a model", 4, 8, 1.0, (0.0, 2.0), "fingerprint")
MARKS = np.array([[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]], np.float32)
KEY, KEPT = keys.new("door", "admin")
STAGES = {"queue_ms", "decode_ms", "detect_ms", "crop_ms", "assess_ms", "embed_ms", "search_ms"}


class ConstantEmbedder:
    def model(self, name: str | None = None) -> Model:
        return MODEL

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.ones((len(crops), 4), np.float32)


@pytest.fixture
def app(sqlite_url: str) -> Iterator[Flask]:
    gallery = open_gallery(sqlite_url, lock_timeout_s=5)
    yield create_app(
        read({"MIN_QUALITY": "0", "API_KEYS": KEPT.entry()}),
        detector=lambda _: [Face(Box(0, 0, 5, 5), 0.9, MARKS)] * 2,
        embedder=ConstantEmbedder(),
        gallery=gallery,
    )
    gallery.close()


@contextmanager
def logged(*, as_json: bool = True) -> Iterator[io.StringIO]:
    """Collect what the services log meanwhile, as they would write it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.Lines(as_json=as_json))  # type: ignore[arg-type]  # it only formats
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def a_picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


def as_text(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def headers(request_id: str) -> dict[str, str]:
    return {"x-api-key": KEY, "X-Request-Id": request_id}


def test_a_request_is_one_line_of_json(app: Flask) -> None:
    with logged() as log:
        answer = app.test_client().post(
            "/face-recognition",
            data={"file": (io.BytesIO(a_picture()), "holiday-picture.png"), "include_unknown": "1"},
            headers=headers("r-1"),
        )
        assert answer.status_code == 200
    (line,) = [json.loads(text) for text in log.getvalue().splitlines()]
    assert set(line) == STAGES | {
        *("time", "level", "logger", "message", "request_id", "method", "route", "status", "ms"),
        *("faces", "matches", "unknowns", "key", "code"),
    }
    assert (line["level"], line["request_id"], line["key"]) == ("INFO", "r-1", "door")
    assert (line["method"], line["route"], line["status"]) == ("POST", "/face-recognition", 200)
    assert (line["faces"], line["matches"], line["unknowns"]) == (2, 0, 2)
    assert all(0 <= line[stage] <= line["ms"] for stage in STAGES)
    assert line["time"].endswith("+00:00")


def test_an_enrolment_notes_the_stages_of_its_threads(app: Flask) -> None:
    picture = as_text(a_picture())
    body = [{"id": f"very-private-{n}", "name": "Jane Doe", "image": picture} for n in range(3)]
    with logged() as log:
        assert app.test_client().post("/update-samples", json=body, headers=headers("r-2")).status_code == 200
    (line,) = [json.loads(text) for text in log.getvalue().splitlines()]
    assert line["faces"] == 6
    assert {"decode_ms", "detect_ms", "crop_ms", "embed_ms", "store_ms", "queue_ms"} <= set(line)
    for private in ("very-private", "Jane", picture[:20], KEY):
        assert private not in log.getvalue()


def test_the_route_is_named_and_not_the_path(app: Flask) -> None:
    with logged() as log:
        for path in ("/samples/very-private", "/very-private", "/samples?name=very-private"):
            app.test_client().get(path, headers=headers("r-3"))
        app.test_client().get("/samples/very-private")
    lines = [json.loads(text) for text in log.getvalue().splitlines()]
    assert [(line["route"], line["status"], line["code"], line["key"]) for line in lines] == [
        ("/samples/<path:sample_id>", 404, "not_found", "door"),
        ("none", 404, "not_found", "door"),
        ("/samples", 200, None, "door"),
        ("/samples/<path:sample_id>", 401, "unauthorized", None),
    ]
    assert "very-private" not in log.getvalue()


def test_a_failing_database_is_told_with_a_traceback_but_without_ids(app: Flask, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "gallery.sqlite3") as connection:
        connection.execute("ALTER TABLE samples RENAME TO elsewhere")
    connection.close()
    body = [{"id": "very-private", "name": "Jane Doe", "image": as_text(a_picture())}]
    with logged() as log:
        client = app.test_client()
        assert client.get("/samples/very-private", headers=headers("r-4")).status_code == 503
        assert client.post("/update-samples", json=body, headers=headers("r-4")).status_code == 503
    lines = [json.loads(text) for text in log.getvalue().splitlines()]
    assert [line["message"] for line in lines if line["level"] == "INFO"] == ["answered", "answered"]
    tracebacks = [line["traceback"] for line in lines if "traceback" in line]
    assert len(tracebacks) == 2
    assert all("no such table: samples" in traceback for traceback in tracebacks)
    assert {line["request_id"] for line in lines} == {"r-4"}
    for private in ("very-private", "Jane"):
        assert private not in log.getvalue()


def test_text_is_one_line_too(app: Flask) -> None:
    with logged(as_json=False) as log:
        app.test_client().get("/samples/count", headers=headers("r-5"))
    (line,) = log.getvalue().splitlines()
    assert " INFO answered request_id=r-5 method=GET route=/samples/count status=200 ms=" in line
    assert line.endswith(" key=door")


def test_what_is_logged_after_a_request_does_not_pass_for_its_own(app: Flask) -> None:
    with logged() as log:
        app.test_client().get("/health", headers=headers("r-6"))
        logging.getLogger("gunicorn.error").warning("something else")
    assert json.loads(log.getvalue().splitlines()[-1])["request_id"] is None
