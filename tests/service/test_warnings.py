"""What is worth knowing of a picture, from where it is remarked to the answers."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from recognition.app import create_app
from recognition.config import read
from recognition.faces import Box, Face
from recognition.gallery import open_gallery
from serving.model import Model
from serving.remarks import TRUNCATED, Picture, Remark
from serving.sandbox import Decoder

FACE = Face(Box(2, 2, 10, 10), 0.99, np.full((5, 2), np.nan, np.float32))
FAINT = Remark("faint", "It can hardly be seen.", {"contrast": 0.04})
PAGE = "https://a.page"


class Embedder:
    def model(self, name: str | None = None) -> Model:
        return Model("a model", 4, 8, 9.0, (0.0, 20.0), "fingerprint")

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.full((len(crops), 4), 5, np.float32)


def decode(data: bytes) -> Picture:
    remarks = {b"fine": (), b"torn": (TRUNCATED,), b"torn and faint": (TRUNCATED, FAINT, FAINT)}[data]
    return Picture(np.zeros((20, 20, 3), np.uint8), remarks)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    with closing(open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=5)) as gallery:
        yield create_app(
            read({"MIN_QUALITY": "0", "CORS_ORIGINS": PAGE}),
            detector=lambda _: [FACE],
            embedder=Embedder(),
            gallery=gallery,
            decode=decode,
        ).test_client()


def upload(client: FlaskClient, path: str, **pictures: bytes) -> Any:
    files = {name: (io.BytesIO(data), "a.jpg") for name, data in pictures.items()}
    return client.post(path, data=files, headers={"Origin": PAGE})


@pytest.mark.parametrize("path", ["/face-recognition", "/draw", "/detect"])
def test_a_header_has_the_codes_once_each(client: FlaskClient, path: str) -> None:
    answer = upload(client, path, file=b"torn and faint")
    assert (answer.status_code, answer.headers["X-Picture-Warnings"]) == (200, "truncated, faint")
    assert "X-Picture-Warnings" in answer.headers["Access-Control-Expose-Headers"]
    assert "X-Picture-Warnings" not in upload(client, path, file=b"fine").headers


def test_a_comparison_has_those_of_both_pictures(client: FlaskClient) -> None:
    answer = upload(client, "/verify", image1=b"torn", image2=b"torn and faint")
    assert answer.headers["X-Picture-Warnings"] == "truncated, faint"
    assert "X-Picture-Warnings" not in upload(client, "/verify", image1=b"fine", image2=b"fine").headers


def test_a_picture_without_faces_has_them_too(client: FlaskClient, tmp_path: Path) -> None:
    with closing(open_gallery(f"sqlite:///{tmp_path / 'other.sqlite3'}", lock_timeout_s=5)) as gallery:
        faceless = create_app(
            read({"MIN_QUALITY": "0", "CORS_ORIGINS": PAGE}),
            detector=lambda _: [],
            embedder=Embedder(),
            gallery=gallery,
            decode=decode,
        )
        answer = upload(faceless.test_client(), "/face-recognition", file=b"torn")
    assert (answer.json, answer.headers["X-Picture-Warnings"]) == ([], "truncated")


def test_an_enrolment_has_them_in_words_and_numbers(client: FlaskClient) -> None:
    samples = [
        {"id": id_, "name": "n", "image": base64.b64encode(data).decode()}
        for id_, data in (("a", b"fine"), ("b", b"torn and faint"))
    ]
    answer = client.post("/update-samples", json=samples).json
    assert answer is not None
    truncated, faint, _, same = answer["samples"]["b"]["warnings"]
    assert (same["code"], same["sample"]) == ("same_picture", "a")
    assert truncated == {"code": "truncated", "detail": TRUNCATED.detail}
    assert faint == {"code": "faint", "detail": FAINT.detail, "contrast": 0.04}
    assert answer["samples"]["a"]["warnings"] == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere pictures are decoded in the worker")
def test_what_the_decoder_remarks_leaves_its_process() -> None:
    hostile = (sys.executable, "-m", "hostile_decoder")
    with closing(Decoder(max_pixels=10_000, timeout_s=60, command=hostile)) as decoder:
        assert decoder(b"truncated").remarks == (TRUNCATED,)
        assert decoder(b"a picture").remarks == ()
