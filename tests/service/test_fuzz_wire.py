"""Anything at all sent to either service: never a 5xx, every error in the one shape. FUZZ=1: much more."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from anything import PNG, almost, anything, fuzzed, images, multipart, numbers, pictures, texts
from embedding import app as embedding_app
from embedding import config as embedding_config
from embedding.network import Network
from recognition import config as recognition_config
from recognition.app import create_app
from recognition.faces import Box, Face
from recognition.gallery import open_gallery
from serving.model import Model

SIDE = 8

# Werkzeug leaves the files of a form that it cannot read to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function SpooledTemporaryFile:pytest.PytestUnraisableExceptionWarning"
)


class Embedder:
    """Gives every crop the same vector."""

    def model(self, name: str | None = None) -> Model:
        return Model("a model", 4, SIDE, 1.0, (0.0, 2.0), "fingerprint")

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.ones((len(crops), model.dimension), np.float32)


@pytest.fixture(scope="module")
def recognition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """face_detection with a real gallery; every picture is a face."""
    url = f"sqlite:///{tmp_path_factory.mktemp('wire') / 'gallery.sqlite3'}"
    with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
        app = create_app(
            recognition_config.read(
                {"MIN_QUALITY": "0", "MAX_BODY_BYTES": "100000", "MAX_IMAGE_PIXELS": "100000"}
            ),
            detector=lambda picture: [Face(Box(0, 0, 5, 5), 0.9, np.zeros((5, 2), np.float32))],
            embedder=Embedder(),
            gallery=gallery,
        )
        yield app.test_client()


@pytest.fixture(scope="module")
def embedding() -> FlaskClient:
    model = Model("a model", 4, SIDE, 9.0, (0.0, 20.0), "fingerprint")
    network = Network(model, lambda crops: np.ones((len(crops), 4), np.float32))
    return embedding_app.create_app(
        embedding_config.read({"MAX_BODY_BYTES": "100000"}), network=network, guess=lambda crops: []
    ).test_client()


def check(answer: TestResponse) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.json is not None
        assert set(answer.json) == {"error", "code", "detail", "request_id"}
        assert all(isinstance(value, str) for value in answer.json.values())
        assert (answer.json["error"] == "Invalid request.") == (answer.status_code == 400)
        assert answer.json["request_id"] == answer.headers["X-Request-Id"]
        assert "Traceback" not in answer.text


options = {
    "min_distance": numbers,
    "include_unknown": st.booleans(),
    "top_k": st.integers(-1, 101),
    "per": st.sampled_from(["name", "sample", ""]),
    "limit": numbers,
}
samples = almost({"id": texts, "name": texts, "image": images, "metadata": anything, "action": texts})
VISIT = {
    "id": "00000000-0000-4000-8000-000000000001",
    "camera": "door",
    "since": "2026-01-01T00:00:00+00:00",
    "until": "2026-01-01T00:00:09+00:00",
    "frames": 1,
    "bbox": "0, 0, 5, 5",
    "quality": 1,
    "fingerprint": "fingerprint-1",
    "embeddings": [[1, 1, 1, 1]],
}
vectors = st.lists(st.lists(numbers, min_size=3, max_size=5) | st.just([1, 1, 1, 1]), max_size=34)
visits = almost({name: st.just(value) for name, value in VISIT.items()}) | st.builds(
    lambda changes: {**VISIT, **changes},
    almost(
        {
            "id": texts,
            "camera": texts,
            "since": texts | numbers,
            "until": texts | st.sampled_from(["2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"]),
            "frames": numbers,
            "bbox": texts | st.from_regex(r"^-?\d{1,8}(, -?\d{1,8}){3}$"),
            "quality": numbers,
            "fingerprint": texts,
            "embeddings": vectors,
            "picture": images,
            "min_distance": numbers,
            "max_false_match": numbers,
        }
    ),
)
bodies = {
    "/embeddings": almost({"image": images, "limit": numbers}) | anything,
    "/events": visits | anything,
    "/update-samples": st.lists(samples, max_size=3) | anything,
    "/face-recognition": almost({"image": images, **options}) | anything,
    "/detect": almost({"image": images}) | anything,
    "/verify": almost({"image1": images, "image2": images, "min_distance": numbers}) | anything,
}


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


@fuzzed
@given(st.data())
@pytest.mark.parametrize("path", bodies)
def test_json_bodies(recognition: FlaskClient, path: str, data: st.DataObject) -> None:
    body = as_json(data.draw(bodies[path]))
    damage = data.draw(st.none() | st.tuples(st.integers(0, len(body)), st.binary(max_size=3)))
    if damage:
        body = body[: damage[0]] + damage[1] + body[damage[0] :]
    check(recognition.post(path, data=body, content_type="application/json"))


@fuzzed
@given(st.data())
def test_deep_and_long_json(recognition: FlaskClient, data: st.DataObject) -> None:
    depth = data.draw(st.integers(0, 30_000))
    begin, end = data.draw(
        st.sampled_from(
            [("[", "]"), ('{"a":', "}"), ("[[", "]"), ('"', ""), ("1", "1"), ("-", ""), ("[{", "")]
        )
    )
    path = data.draw(st.sampled_from(sorted(bodies)))
    nested = begin * depth + end * depth
    body = data.draw(
        st.sampled_from([nested, f'[{{"id":"a","name":"b","image":"","metadata":{nested or 1}}}]'])
    )
    check(recognition.post(path, data=body, content_type="application/json"))


names = (
    st.sampled_from(["file", "image", "image1", "image2", "face_data", "min_distance", "top_k", "per"])
    | texts
)
forms = st.dictionaries(names, texts | st.integers().map(str) | images, max_size=4)
uploads = st.lists(st.tuples(names, pictures, texts), max_size=3)


@fuzzed
@given(form=forms, files=uploads, damage=st.none() | st.tuples(st.integers(0, 500), st.binary(max_size=4)))
@pytest.mark.parametrize("path", [*bodies, "/"])
def test_forms(
    recognition: FlaskClient,
    embedding: FlaskClient,
    path: str,
    form: dict[str, str],
    files: list[tuple[str, bytes, str]],
    damage: tuple[int, bytes] | None,
) -> None:
    body = multipart(form, files)
    if damage:
        body = body[: damage[0]] + damage[1] + body[damage[0] :]
    client = embedding if path == "/" else recognition
    check(client.post(path, data=body, content_type="multipart/form-data; boundary=limit"))


@fuzzed
@given(faces=st.lists(almost({"id": texts}), max_size=3) | anything, files=st.lists(pictures, max_size=3))
def test_uploads_of_faces(embedding: FlaskClient, faces: Any, files: list[bytes]) -> None:
    form = {"face_data": json.dumps(faces)}
    body = multipart(form, [("image", content, "x.png") for content in files])
    check(embedding.post("/", data=body, content_type="multipart/form-data; boundary=limit"))


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def headed(version: bytes, header: str) -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header.encode("latin-1", "replace")


shapes = st.lists(st.integers(-2, 2) | st.sampled_from([3, SIDE, 224, 2**31, 2**63, 10**30]), max_size=5).map(
    tuple
)
kinds = st.sampled_from(["|u1", "<u2", "<f4", "|O", "|V3", "<U5", ">i8", "[('a', '|u1')]", "", "x"])
arrays = (
    st.integers(0, 3).map(lambda n: npy(np.zeros((n, SIDE, SIDE, 3), np.uint8)))
    | st.tuples(kinds, shapes, st.booleans()).map(
        lambda told: headed(
            b"\x01\x00", repr({"descr": told[0], "fortran_order": told[2], "shape": told[1]}) + "\n"
        )
    )
    | st.tuples(st.sampled_from([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\xff\xff"]), texts).map(
        lambda told: headed(*told)
    )
    | st.binary(max_size=200)
)


@fuzzed
@given(body=arrays, place=st.integers(0, 200), damage=st.binary(max_size=4))
def test_arrays(embedding: FlaskClient, body: bytes, place: int, damage: bytes) -> None:
    body = body[:place] + damage + body[place + len(damage) :]
    for path in ("/embeddings", "/attributes"):
        check(embedding.post(path, data=body, content_type="application/x-npy"))


parameters = st.dictionaries(
    st.sampled_from(["limit", "after", "name", "camera", "person", "since", "until"]) | texts,
    texts | numbers.map(str),
    max_size=3,
)


def encodable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@fuzzed
@given(query=parameters, method=st.sampled_from(["GET", "DELETE"]))
@pytest.mark.parametrize("path", ["/samples", "/samples/count", "/events"])
def test_queries(recognition: FlaskClient, path: str, query: dict[str, str], method: str) -> None:
    sane = {encodable(name): encodable(value) for name, value in query.items()}
    check(recognition.open(path, method=method, query_string=sane))


@fuzzed
@given(
    raw=st.binary(max_size=60),
    method=st.sampled_from(["GET", "DELETE", "POST", "PUT", "OPTIONS", "HEAD", "X"]),
)
def test_raw_queries_and_paths(
    recognition: FlaskClient, embedding: FlaskClient, raw: bytes, method: str
) -> None:
    text = raw.decode("latin-1").replace("\n", "").replace("\r", "")
    for client in (recognition, embedding):
        for path in (
            *("/samples", "/samples/x", "/embeddings", f"/samples/{text}", f"/{text}"),
            *("/events", f"/events/{text}", f"/events/{text}/picture"),
        ):
            places = {"PATH_INFO": path, "QUERY_STRING": text}
            answer = client.open(path="/", method=method, environ_overrides=places, buffered=True)
            if method == "HEAD":
                assert answer.status_code < 500
            elif method != "OPTIONS":
                check(answer)


@fuzzed
@given(
    headers=st.dictionaries(
        st.sampled_from(
            ["X-Request-Id", "Authorization", "x-api-key", "Content-Type", "Origin", "Accept", "Host"]
        ),
        st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=150),
        max_size=4,
    )
)
def test_headers(recognition: FlaskClient, embedding: FlaskClient, headers: dict[str, str]) -> None:
    check(recognition.post("/face-recognition", data=b"{}", headers=headers))
    check(embedding.post("/embeddings", data=b"{}", headers=headers))


def test_the_good_ones_are_among_them(recognition: FlaskClient, embedding: FlaskClient) -> None:
    """What the above is made of is taken where it is whole."""
    image = base64.b64encode(PNG).decode()
    sample = {"id": "1", "name": "x", "image": image}
    enrolled = recognition.post("/update-samples", json=[sample]).json
    assert enrolled is not None
    assert (enrolled["success"], enrolled["fail"], enrolled["errors"]) == (["1"], [], {})
    form = multipart({"top_k": "2"}, [("file", PNG, "x.png")])
    answer = recognition.post(
        "/face-recognition", data=form, content_type="multipart/form-data; boundary=limit"
    )
    assert answer.status_code == 200
    visit = {**VISIT, "picture": image}
    assert recognition.post("/events", json=visit).status_code == 200
    assert recognition.post("/embeddings", json={"image": image}).status_code == 200
    array = npy(np.zeros((2, SIDE, SIDE, 3), np.uint8))
    assert embedding.post("/embeddings", data=array, content_type="application/x-npy").status_code == 200
