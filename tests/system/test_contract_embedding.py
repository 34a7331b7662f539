"""The contract of feature_extraction, over real sockets with the real network."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from running import Pair
from serving.version import VERSION

TIMEOUT_S = 60
NPY = {"Content-Type": "application/x-npy"}


def npy(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def some_crops(n: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (n, 160, 160, 3), np.uint8)


def post(pair: Pair, body: bytes, headers: dict[str, str] = NPY) -> requests.Response:
    return requests.post(f"{pair.extraction.url}/embeddings", data=body, headers=headers, timeout=TIMEOUT_S)


def assert_error(answer: requests.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error", "code", "detail", "request_id"}
    assert body["code"] == code
    assert body["request_id"] == answer.headers["X-Request-Id"]
    assert (body["error"] == "Invalid request.") == (status == 400)


def test_the_page_says_that_it_runs(pair: Pair) -> None:
    answer = requests.get(f"{pair.extraction.url}/", timeout=TIMEOUT_S)
    assert answer.status_code == 200
    assert "Feature extraction server is running!" in answer.text
    assert requests.get(f"{pair.extraction.url}/health", timeout=TIMEOUT_S).json() == {
        "status": "ok",
        "version": VERSION,
    }


def test_the_model_is_described(pair: Pair) -> None:
    model = requests.get(f"{pair.extraction.url}/model", timeout=TIMEOUT_S).json()
    promised = {"name", "dimension", "input_size", "threshold", "distance_range", "fingerprint"}
    assert set(model) == promised | {"template", "colours", "scaling", "mirrored"}
    assert (model["template"], model["colours"], model["mirrored"]) == ("facenet", "RGB", True)
    assert model["name"] == "Facenet"
    assert (model["dimension"], model["input_size"]) == (128, 160)
    assert (model["threshold"], model["distance_range"]) == (9, [0, 20])
    assert len(model["fingerprint"]) == 32


def test_ready_and_metrics(pair: Pair) -> None:
    def faces() -> float:
        text = requests.get(f"{pair.extraction.url}/metrics", timeout=TIMEOUT_S).text
        counts = [line.split()[-1] for line in text.splitlines() if line.startswith("embedding_faces_total")]
        return float(counts[0])

    ready = requests.get(f"{pair.extraction.url}/ready", timeout=TIMEOUT_S)
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ready", "version": VERSION, "model": "Facenet", "warnings": []},
    )
    before = faces()
    for _ in range(4):  # whichever worker answers
        assert post(pair, npy(some_crops(3))).ok
    assert faces() == before + 12


def test_metrics_tell_stages_queue_and_model(pair: Pair) -> None:
    def told() -> dict[str, float]:
        text = requests.get(f"{pair.extraction.url}/metrics", timeout=TIMEOUT_S).text
        return {
            sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    assert upload(pair, [{"id": "a"}], [b"no picture"]).ok
    assert post(pair, npy(some_crops(1))).ok
    before = told()
    assert upload(pair, [{"id": "a"}], [b"no picture"]).ok
    assert post(pair, npy(some_crops(1))).ok
    after = told()
    for name, more in {
        "embedding_stage_seconds_count decode": 1,
        "embedding_stage_seconds_count embed": 2,
        "embedding_request_seconds_count /embeddings": 1,
        "embedding_requests_total / 200": 1,
    }.items():
        assert after[name] == before[name] + more, name
    assert (after["embedding_running decode"], after["embedding_running embed"]) == (0, 0)
    model = requests.get(f"{pair.extraction.url}/model", timeout=TIMEOUT_S).json()
    assert after[f"embedding_model_info {model['fingerprint']} Facenet"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere uploads are read in the worker")
def test_what_decoders_say_of_uploads_reaches_no_log(pair: Pair) -> None:
    stream = io.BytesIO()
    Image.new("1", (64, 48)).save(stream, "TIFF", compression="group4")
    data = bytearray(stream.getvalue())
    data[8:12] = b"\x13\x57\x9b\xdf"  # libtiff complains of bad code words
    assert upload(pair, [{"id": "a"}], [bytes(data)]).ok
    assert "Fax4Decode" not in pair.extraction.log.read_text()


def test_uploads_keep_brightness_orientation_and_white_for_transparent(pair: Pair) -> None:
    crop = some_crops(1)[0]
    grey = np.full((160, 160), 40_000, np.uint16)
    grey[:80] = 10_000
    exif = Image.Exif()
    exif[0x0112] = 3
    pictures = {
        "16 bit": (Image.fromarray(grey), {}, np.repeat((grey // 256).astype(np.uint8)[..., None], 3, 2)),
        "turned": (Image.fromarray(crop[::-1, ::-1].copy()), {"exif": exif}, crop),
        "hidden": (
            Image.fromarray(
                np.dstack([crop, np.where(np.arange(160) < 80, 255, 0) + np.zeros((160, 1))]).astype(np.uint8)
            ),
            {},
            np.where(np.arange(160)[None, :, None] < 80, crop, 255).astype(np.uint8),
        ),
    }
    files = []
    for picture, options, _ in pictures.values():
        stream = io.BytesIO()
        picture.save(stream, "PNG", **options)
        files.append(stream.getvalue())
    answer = upload(pair, [{"id": name} for name in pictures], files).json()
    expected = np.load(
        io.BytesIO(post(pair, npy(np.stack([seen for *_, seen in pictures.values()]))).content)
    )
    for face, vector in zip(answer, expected, strict=True):
        assert np.linalg.norm(vector - face["vector"]) < 0.5, face["id"]


@pytest.mark.parametrize("n", [0, 1, 3, 33])
def test_crops_become_vectors_in_their_order(pair: Pair, n: int) -> None:
    answer = post(pair, npy(some_crops(n)))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/x-npy"
    vectors = np.load(io.BytesIO(answer.content), allow_pickle=False)
    assert (vectors.shape, vectors.dtype) == ((n, 128), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.full(n, 10), abs=1e-3)
    if n > 1:
        alone = np.load(io.BytesIO(post(pair, npy(some_crops(n)[1:2])).content))
        assert np.linalg.norm(vectors[1] - alone[0]) < 0.1


def test_a_crop_of_one_colour_gives_a_finite_vector(pair: Pair) -> None:
    vectors = np.load(io.BytesIO(post(pair, npy(np.zeros((1, 160, 160, 3), np.uint8))).content))
    assert np.isfinite(vectors).all()


HEADER_ONLY = npy(some_crops(0)).replace(b"(0, 160, 160, 3)", b"(9, 160, 160, 3)")

BAD_ARRAYS = {
    "nothing": b"",
    "text": b"hello",
    "a zip": b"PK\x03\x04" + bytes(100),
    "floats": npy(some_crops(1).astype(np.float32)),
    "one crop without batch": npy(some_crops(1)[0]),
    "wrong side": npy(np.zeros((1, 96, 96, 3), np.uint8)),
    "four channels": npy(np.zeros((1, 160, 160, 4), np.uint8)),
    "columns first": npy(np.asfortranarray(some_crops(2))),
    "objects": npy(np.array([{"a": 1}], dtype=object), allow_pickle=True),
    "half": npy(some_crops(2))[:-1],
    "more": npy(some_crops(1)) + b"x",
    "claims more than it has": HEADER_ONLY,
    "claims the moon": npy(some_crops(0)).replace(b"(0, 160, 160, 3), }    ", b"(99999, 160, 160, 3), }"),
    "negative": npy(some_crops(0)).replace(b"(0, 160, 160, 3), } ", b"(-1, 160, 160, 3), }"),
    "header of junk": b"\x93NUMPY\x01\x00\x10\x00" + b"(" * 16,
    "version 9": b"\x93NUMPY\x09\x00" + npy(some_crops(1))[8:],
}


@pytest.mark.parametrize("body", BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_other_arrays_are_refused(pair: Pair, body: bytes) -> None:
    assert_error(post(pair, body), 400, "invalid_request")


def test_other_content_types_paths_and_methods_are_refused(pair: Pair) -> None:
    assert_error(
        post(pair, npy(some_crops(1)), {"Content-Type": "application/octet-stream"}),
        415,
        "unsupported_media_type",
    )
    url = pair.extraction.url
    assert_error(requests.post(url, json=[], timeout=TIMEOUT_S), 415, "unsupported_media_type")
    assert_error(requests.get(f"{url}/nowhere", timeout=TIMEOUT_S), 404, "not_found")
    assert_error(requests.get(f"{url}/embeddings", timeout=TIMEOUT_S), 405, "method_not_allowed")


def upload(pair: Pair, face_data: Any, pictures: list[bytes]) -> requests.Response:
    return requests.post(
        pair.extraction.url,
        data={"face_data": face_data if isinstance(face_data, str) else json.dumps(face_data)},
        files=[("image", (f"{number}.bin", data)) for number, data in enumerate(pictures)],
        timeout=TIMEOUT_S,
    )


def test_uploaded_pictures_become_vectors(pair: Pair, photographs: dict[str, list[Path]]) -> None:
    crop = some_crops(1)[0]
    stream = io.BytesIO()
    Image.fromarray(crop).save(stream, "PNG")
    photograph = photographs["madonna"][0].read_bytes()
    ids = [{"id": "png"}, {"id": "broken"}, {"id": "photograph"}]
    answer = upload(pair, ids, [stream.getvalue(), b"no picture", photograph])
    assert answer.status_code == 200
    png, broken, whole = answer.json()
    assert [face["id"] for face in (png, broken, whole)] == ["png", "broken", "photograph"]
    assert broken["vector"] == []
    assert len(whole["vector"]) == 128
    direct = np.load(io.BytesIO(post(pair, npy(crop[np.newaxis])).content))[0]
    assert np.linalg.norm(direct - png["vector"]) < 0.1


def test_ids_may_be_numbers(pair: Pair) -> None:
    answer = upload(pair, [{"id": 1}, {"id": "1"}, {"id": 2.5}], [b"x", b"y", b"z"])
    assert answer.status_code == 200
    assert answer.json() == [{"id": id_, "vector": []} for id_ in (1, "1", 2.5)]


def test_unknown_fields_of_an_upload_are_refused(pair: Pair) -> None:
    def sent(data: dict[str, str], name: str, query: str = "") -> requests.Response:
        url = f"{pair.extraction.url}/{query}"
        return requests.post(url, data=data, files=[(name, b"x")], timeout=TIMEOUT_S)

    assert sent({"face_data": '[{"id": "a"}]'}, "image").ok
    for answer, said in (
        (sent({"face_data": '[{"id": "a"}]'}, "picture"), "picture: unknown field"),
        (sent({"face-data": '[{"id": "a"}]'}, "image"), "did you mean face_data?"),
        (sent({"face_data": '[{"id": "a"}]', "side": "1"}, "image"), "side: unknown field"),
        (sent({"face_data": '[{"id": "a"}]'}, "image", "?size=1"), "size: unknown field"),
    ):
        assert_error(answer, 400, "invalid_request")
        assert said in answer.json()["detail"]


@pytest.mark.parametrize(
    "face_data",
    ["", "{", "{}", '["a"]', '[{"id": null}]', '[{"id": ["a"]}]', "[{}]", '[{"id": "a"}, {"id": "b"}]', "[]"],
)
def test_bad_uploads_are_refused(pair: Pair, face_data: str) -> None:
    assert_error(upload(pair, face_data, [b"x"]), 400, "invalid_request")
