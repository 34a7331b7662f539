"""JSON as Windows programs write it: a byte order mark is left out, UTF-16 is refused by name."""

from __future__ import annotations

import base64
import codecs
import io
import json
from collections.abc import Iterator
from contextlib import closing
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
CALLS = {route.path: route.json[1] for route in ROUTES if route.json}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    with closing(open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=5)) as gallery:
        yield app_of(gallery).test_client()


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


def body_of(path: str) -> str:
    return json.dumps(CALLS[path]).replace("<a picture>", base64.b64encode(picture()).decode())


def post(client: FlaskClient, path: str, body: bytes) -> Any:
    return client.post(path, data=body, content_type="application/json")


@pytest.mark.parametrize("path", CALLS)
def test_a_byte_order_mark_changes_no_answer(client: FlaskClient, path: str) -> None:
    body = body_of(path).encode()
    plain = post(client, path, body)
    assert plain.status_code == 200
    assert post(client, path, codecs.BOM_UTF8 + body).data == plain.data


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("path", CALLS)
def test_what_is_not_utf_8_is_refused_and_named(client: FlaskClient, path: str, coding: str) -> None:
    answer = post(client, path, body_of(path).encode(coding))
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_request")
    assert "UTF-8" in answer.json["detail"]


@pytest.mark.parametrize(
    "body", [b"", codecs.BOM_UTF8, codecs.BOM_UTF8 * 2 + b"{}", codecs.BOM_UTF8[:2] + b"{}"]
)
@pytest.mark.parametrize("path", CALLS)
def test_a_mark_alone_is_no_body(client: FlaskClient, path: str, body: bytes) -> None:
    assert post(client, path, body).status_code == 400


def test_the_ids_of_uploads_to_feature_extraction_may_have_one() -> None:
    network = Network(MODEL, lambda crops: np.zeros((len(crops), 4), np.float32))
    service = create_embedding(read_embedding({}), network=network).test_client()
    form = {"face_data": '\ufeff[{"id": "a"}]', "image": (io.BytesIO(picture()), "a.png")}
    answer = service.post("/", data=form)
    assert (answer.status_code, answer.json) == (200, [{"id": "a", "vector": [0.0, 0.0, 0.0, 0.0]}])
