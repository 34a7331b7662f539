"""GET /export and POST /import: a gallery goes out as a file and comes back; a bad file changes nothing."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from galleries import NOW, a_sample, as_sent, vectors_of
from recognition.app import create_app
from recognition.config import read
from recognition.errors import EmbeddingUnavailable
from recognition.gallery import Gallery, open_gallery
from recognition.seeing import fingerprint_of
from running import Pair
from serving.model import Model

NDJSON = "application/x-ndjson"
MODEL = Model("a model", 128, 160, 9.0, (0.0, 20.0), "fingerprint")
FINGERPRINT = fingerprint_of(MODEL)
TIMEOUT_S = 60


class Embedder:
    """Has a model, or is down."""

    def __init__(self, model: Model | None = MODEL) -> None:
        self._model = model

    def model(self, name: str | None = None) -> Model:
        if self._model is None:
            raise EmbeddingUnavailable("It is down.")
        return self._model


def client(gallery: Gallery, model: Model | None = MODEL, **settings: str) -> FlaskClient:
    app = create_app(read(settings), detector=lambda _: [], embedder=Embedder(model), gallery=gallery)  # type: ignore[arg-type]
    return app.test_client()


def enrol(gallery: Gallery, count: int, fingerprint: str = FINGERPRINT) -> None:
    samples = [a_sample(f"id-{n:05d}", metadata={"n": n, "é": [None]}) for n in range(count)]
    vectors = np.random.default_rng(0).normal(size=(count, 128)).astype(np.float32)
    gallery.upsert(samples, vectors, fingerprint)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Gallery]:
    """A gallery beside the one under test."""
    gallery = open_gallery(f"sqlite:///{tmp_path / 'empty.sqlite3'}", lock_timeout_s=5)
    yield gallery
    gallery.close()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of five samples."""
    gallery = open_gallery(f"sqlite:///{tmp_path_factory.mktemp('exported') / 'x.sqlite3'}", lock_timeout_s=5)
    enrol(gallery, 5)
    data: bytes = client(gallery).get("/export").data
    gallery.close()
    return data


def send(client: FlaskClient, data: bytes) -> TestResponse:
    return client.post("/import", data=data, content_type=NDJSON)


def assert_error(answer: TestResponse, status: int, code: str) -> str:
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.json
    assert set(answer.json) == {"error", "code", "detail", "request_id"}
    detail: str = answer.json["detail"]
    return detail


def test_what_goes_out_comes_back(gallery: Gallery, empty: Gallery) -> None:
    enrol(gallery, 2500)
    out = client(gallery).get("/export")
    assert (out.status_code, out.mimetype) == (200, NDJSON)
    assert out.headers["Content-Disposition"] == 'attachment; filename="gallery.jsonl"'
    assert send(client(empty), out.data).json == {"imported": 2500, "unchanged": 0}
    assert client(empty).get("/export").data == out.data
    assert send(client(empty), out.data).json == {"imported": 0, "unchanged": 2500}
    assert empty.page(limit=3) == gallery.page(limit=3)


def test_a_form_brings_a_file_too(empty: Gallery, exported: bytes) -> None:
    form = {"file": (io.BytesIO(exported), "gallery.jsonl")}
    assert client(empty).post("/import", data=form).json == {"imported": 5, "unchanged": 0}
    assert client(empty).get("/export").data == exported


def test_a_large_gallery_goes_out_in_pieces(gallery: Gallery) -> None:
    enrol(gallery, 2500)
    answer = client(gallery).get("/export")
    pieces = list(answer.iter_encoded())
    assert [piece.count(b"\n") for piece in pieces] == [
        1001,
        1000,
        500,
        1000,
        1000,
        500,
        1,
    ]  # samples, then people
    assert json.loads(pieces[-1])["samples"] == 2500


def test_an_empty_gallery_is_not_there(gallery: Gallery) -> None:
    assert_error(client(gallery).get("/export"), 404, "not_found")


def test_newer_samples_stay(gallery: Gallery) -> None:
    enrol(gallery, 3)
    app = client(gallery)
    data = app.get("/export").data
    later = a_sample("id-00001", name="later", modified=NOW + timedelta(seconds=1))
    gallery.upsert([later], vectors_of(1), FINGERPRINT)
    gallery.delete("id-00002")
    assert send(app, data).json == {"imported": 1, "unchanged": 2}
    assert as_sent(gallery.get("id-00001")) == later


def test_another_models_vectors_are_refused(empty: Gallery, exported: bytes) -> None:
    other = Model("another", 128, 160, 9.0, (0.0, 20.0), "another")
    assert "another" in assert_error(send(client(empty, other), exported), 409, "gallery_model_mismatch")
    short = Model("a model", 64, 160, 9.0, (0.0, 20.0), "fingerprint")
    assert_error(send(client(empty, short), exported), 409, "gallery_model_mismatch")
    assert empty.count() == 0
    enrol(empty, 2, "another")
    assert_error(send(client(empty), exported), 409, "gallery_model_mismatch")
    assert empty.count() == 2


def test_without_the_embedding_service_nothing_is_imported(empty: Gallery, exported: bytes) -> None:
    assert_error(send(client(empty, None), exported), 503, "embedding_unavailable")
    assert empty.count() == 0


def changed(line: bytes, **values: Any) -> bytes:
    return json.dumps(json.loads(line) | values).encode() + b"\n"


NESTED = b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "nothing": lambda lines: [],
    "no header": lambda lines: lines[1:],
    "no end": lambda lines: lines[:-1],
    "half a line": lambda lines: [*lines[:3], lines[3][:50]],
    "not JSON": lambda lines: [*lines[:2], b"{\n", *lines[3:]],
    "too deep": lambda lines: [*lines[:2], NESTED, *lines[3:]],
    "too long": lambda lines: [*lines[:2], b'{"id": "' + b"x" * 2**20 + b'"}\n', *lines[3:]],
    "half a surrogate": lambda lines: [*lines[:2], changed(lines[2], name="\ud800"), *lines[3:]],
    "another checksum": lambda lines: [*lines[:2], lines[2].replace(b"id-00001", b"id-0000x"), *lines[3:]],
    "no checksum": lambda lines: [*lines[:-1], b'{"samples": 5, "sha256": null}\n'],
    "id too long": lambda lines: [*lines[:2], changed(lines[2], id="i" * 501), *lines[3:]],
    "id empty": lambda lines: [lines[0], changed(lines[1], id=""), *lines[2:]],
    "metadata NaN": lambda lines: [*lines[:2], changed(lines[2], metadata=float("nan")), *lines[3:]],
    "a time of nowhere": lambda lines: [*lines[:2], changed(lines[2], modified="2026-01-01T00:00:00")],
    "a time too late": lambda lines: [*lines[:2], changed(lines[2], modified="9999-12-31T23:59:59-12:00")],
    "a time as text": lambda lines: [*lines[:2], changed(lines[2], modified="yesterday"), *lines[3:]],
    "vector no base64": lambda lines: [*lines[:2], changed(lines[2], vector="***"), *lines[3:]],
    "vector too long": lambda lines: [*lines[:2], changed(lines[2], vector="A" * 1024), *lines[3:]],
    "vector NaN": lambda lines: [*lines[:2], changed(lines[2], vector="AADAfw" * 128), *lines[3:]],
    "vector huge": lambda lines: [*lines[:2], changed(lines[2], vector=base64_of(3e38)), *lines[3:]],
    "dimension zero": lambda lines: [changed(lines[0], dimension=0), *lines[1:]],
    "dimension of the moon": lambda lines: [changed(lines[0], dimension=10**30), *lines[1:]],
}


def base64_of(value: float) -> str:
    return base64.b64encode(np.full(128, value, "<f4").tobytes()).decode()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_changes_nothing(empty: Gallery, exported: bytes, damage: str) -> None:
    enrol(empty, 1)
    lines = exported.splitlines(keepends=True)
    data = b"".join(DAMAGES[damage](lines))
    detail = assert_error(send(client(empty), data), 400, "damaged_gallery")
    assert len(detail) < 1000
    assert empty.count() == 1


def test_other_bodies_are_refused(empty: Gallery, exported: bytes) -> None:
    app = client(empty)
    assert_error(app.post("/import", data=exported, content_type="text/plain"), 415, "unsupported_media_type")
    assert_error(app.post("/import"), 415, "unsupported_media_type")
    form = {"gallery": (io.BytesIO(exported), "x")}
    assert_error(app.post("/import", data=form), 400, "invalid_request")
    assert_error(app.get("/import"), 405, "method_not_allowed")
    small = client(empty, MAX_BODY_BYTES=str(len(exported) - 1))
    assert_error(send(small, exported), 413, "body_too_large")
    form = {"file": (io.BytesIO(exported), "x")}
    assert_error(small.post("/import", data=form), 413, "body_too_large")
    assert empty.count() == 0


def test_a_recognition_survives_the_way_out_and_back(
    pair: Pair, photographs: dict[str, list[Path]], as_base64: Callable[[Path], str]
) -> None:
    image = as_base64(photographs["madonna"][0])
    body = [{"id": "m", "name": "madonna", "image": image, "metadata": {"born": 1958}}]
    assert requests.post(f"{pair.url}/update-samples", json=body, timeout=TIMEOUT_S).json()["fail"] == []
    before = requests.post(f"{pair.url}/face-recognition", json={"image": image}, timeout=TIMEOUT_S).json()
    exported = requests.get(f"{pair.url}/export", timeout=TIMEOUT_S).content
    requests.delete(f"{pair.url}/samples", timeout=TIMEOUT_S)
    pieces = (exported[start : start + 100] for start in range(0, len(exported), 100))  # chunked
    answer = requests.post(
        f"{pair.url}/import", data=pieces, headers={"Content-Type": NDJSON}, timeout=TIMEOUT_S
    )
    assert answer.json() == {"imported": 1, "unchanged": 0}
    after = requests.post(f"{pair.url}/face-recognition", json={"image": image}, timeout=TIMEOUT_S).json()
    assert after == before != []
