"""JSON as Windows programs write it: a byte order mark is left out, UTF-16 is refused by name."""

from __future__ import annotations

import base64
import codecs
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from embedding.app import create_app as create_embedding
from embedding.config import read as read_embedding
from embedding.network import Network
from fakes import ConstantEmbedder, app_of
from recognition.gallery import open_gallery
from recognition.web.routes import ROUTES

MODEL = ConstantEmbedder().model()
CALLS = {f"{route.method} {route.path}": route.json[1] for route in ROUTES if route.json}
# What no two answers have alike: new ids, and times.
OWN = re.compile(rb"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9-]{10}T[0-9:.]+")


@pytest.fixture
def client(sqlite_url: str) -> Iterator[FlaskClient]:
    with a_client(sqlite_url) as client:
        yield client


@contextmanager
def a_client(url: str) -> Iterator[FlaskClient]:
    """Asks a service that knows one person, Ann, who has no samples."""
    with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
        client = app_of(gallery).test_client()
        assert client.post("/persons", json={"id": "ann", "name": "Ann"}).status_code == 200
        yield client


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


def body_of(call: str) -> str:
    return json.dumps(CALLS[call]).replace("<a picture>", base64.b64encode(picture()).decode())


def send(client: FlaskClient, call: str, body: bytes) -> Any:
    method, path = call.split()
    place = re.sub(r"<path:\w+>", "ann", path)
    return client.open(place, method=method, data=body, content_type="application/json")


@pytest.mark.parametrize("call", CALLS)
def test_a_byte_order_mark_changes_no_answer(tmp_path: Path, empty_sqlite: Path, call: str) -> None:
    answers = []
    for mark in (b"", codecs.BOM_UTF8):
        file = shutil.copy(empty_sqlite, tmp_path / f"{len(mark)}.sqlite3")
        with a_client(f"sqlite:///{file}") as client:
            answer = send(client, call, mark + body_of(call).encode())
        assert answer.status_code != 400
        answers.append((answer.status_code, OWN.sub(b"", answer.data)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("call", CALLS)
def test_what_is_not_utf_8_is_refused_and_named(client: FlaskClient, call: str, coding: str) -> None:
    answer = send(client, call, body_of(call).encode(coding))
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_request")
    assert "UTF-8" in answer.json["detail"]


@pytest.mark.parametrize(
    "body", [b"", codecs.BOM_UTF8, codecs.BOM_UTF8 * 2 + b"{}", codecs.BOM_UTF8[:2] + b"{}"]
)
@pytest.mark.parametrize("call", CALLS)
def test_a_mark_alone_is_no_body(client: FlaskClient, call: str, body: bytes) -> None:
    assert send(client, call, body).status_code == 400


def test_the_ids_of_uploads_to_feature_extraction_may_have_one() -> None:
    network = Network(MODEL, lambda crops: np.zeros((len(crops), 4), np.float32))
    service = create_embedding(read_embedding({}), network=network).test_client()
    form = {"face_data": '\ufeff[{"id": "a"}]', "image": (io.BytesIO(picture()), "a.png")}
    answer = service.post("/", data=form)
    assert (answer.status_code, answer.json) == (200, [{"id": "a", "vector": [0.0, 0.0, 0.0, 0.0]}])
