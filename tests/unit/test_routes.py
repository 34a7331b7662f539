"""The routes around parts made for the purpose: what readiness depends on, and landmarks that are missing."""

from __future__ import annotations

import io
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from recognition.app import create_app, ready_picture
from recognition.config import read
from recognition.errors import EmbeddingUnavailable
from recognition.faces import Box, Face, Sample
from recognition.gallery import Gallery, open_gallery
from recognition.seeing import Detector, fingerprint_of
from serving.errors import DiskFull
from serving.model import Model
from serving.version import VERSION

MODEL = Model("a model", 4, 8, 1.0, (0.0, 2.0), "fingerprint")
MARKS = np.array([[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]], np.float32)
UNKNOWN = {"max_false_match": None, "people": None, "wishes": [], "least": None}  # nobody to compare with


@dataclass
class ConstantEmbedder:
    """Gives every crop the same vector; an error stands for a service that is down."""

    described: Model = MODEL
    error: Exception | None = None

    def model(self, name: str | None = None) -> Model:
        return self.described

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        if self.error is not None:
            raise self.error
        return np.ones((len(crops), model.dimension), np.float32)


def one_face(picture: np.ndarray) -> list[Face]:
    return [Face(Box(0, 0, 5, 5), 0.9, MARKS)]


@pytest.fixture
def gallery(sqlite_url: str) -> Iterator[Gallery]:
    gallery = open_gallery(sqlite_url, lock_timeout_s=5)
    yield gallery
    gallery.close()


def client(
    gallery: Gallery,
    detector: Detector = one_face,
    embedder: ConstantEmbedder | None = None,
    **settings: str,
) -> FlaskClient:
    embedder = embedder or ConstantEmbedder()
    return create_app(
        read({"MIN_QUALITY": "0", **settings}), detector=detector, embedder=embedder, gallery=gallery
    ).test_client()


def a_picture() -> dict[str, tuple[io.BytesIO, str]]:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return {"file": (io.BytesIO(stream.getvalue()), "x.png")}


def enrol_one(gallery: Gallery) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    gallery.upsert([Sample("a", "n", None, None, now, now)], np.zeros((1, 4), np.float32), "other-1")


def assert_not_ready(client: FlaskClient, code: str) -> None:
    answer = client.get("/ready")
    assert answer.status_code == 503
    assert answer.json is not None
    assert set(answer.json) == {"error", "code", "detail", "request_id"}
    assert answer.json["code"] == code
    assert "Retry-After" in answer.headers


def test_ready_whatever_the_limit_of_pictures_is(gallery: Gallery) -> None:
    answer = client(gallery, MAX_IMAGE_PIXELS="1").get("/ready")
    assert (answer.status_code, answer.json) == (
        200,
        {
            "status": "ready",
            "version": VERSION,
            "model": "a model",
            "threshold": 1.0,
            "distance_range": [0.0, 2.0],
            "gallery": {"samples": 0, "damaged": 0},
            "decisions": UNKNOWN,
            "authentication": False,
            "warnings": [],
        },
    )


def test_not_ready_without_the_embedding_service(gallery: Gallery) -> None:
    down = ConstantEmbedder(error=EmbeddingUnavailable("It is down."))
    assert_not_ready(client(gallery, embedder=down), "embedding_unavailable")


def test_not_ready_without_the_database(gallery: Gallery, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "gallery.sqlite3") as connection:
        connection.execute("DROP TABLE samples")
    connection.close()
    assert_not_ready(client(gallery), "gallery_unavailable")


def test_not_ready_with_the_gallery_of_another_model(gallery: Gallery) -> None:
    enrol_one(gallery)
    app = client(gallery)
    assert_not_ready(app, "gallery_model_mismatch")
    answer = app.post("/face-recognition", data=a_picture())
    assert answer.status_code == 409
    app.delete("/samples")
    assert app.get("/ready").status_code == 200


class Crammed:
    """A gallery whose disk is nearly full."""

    model_name = None

    def __init__(self, gallery: Gallery) -> None:
        self.nearest, self.count = gallery.nearest, gallery.count

    def of_model(self, _: str | None) -> Crammed:
        return self

    def check_room(self) -> None:
        raise DiskFull("The disk of the gallery is nearly full: 3 MB are free.")


def test_not_ready_without_room_on_the_disk(gallery: Gallery) -> None:
    app = client(Crammed(gallery))  # type: ignore[arg-type]
    assert_not_ready(app, "disk_full")
    assert app.post("/face-recognition", data=a_picture()).status_code == 200


def test_ready_follows_the_embedding_services_model(gallery: Gallery) -> None:
    enrol_one(gallery)
    same = ConstantEmbedder(replace(MODEL, fingerprint="other"))
    answer = client(gallery, embedder=same).get("/ready")
    assert answer.json == {
        "status": "ready",
        "version": VERSION,
        "model": "a model",
        "threshold": 1.0,
        "distance_range": [0.0, 2.0],
        "gallery": {"samples": 1, "damaged": 0},
        "decisions": UNKNOWN,
        "authentication": False,
        "warnings": [],
    }


def test_not_ready_with_a_blind_detector(gallery: Gallery) -> None:
    assert_not_ready(client(gallery, detector=lambda _: []), "no_face")


def test_a_service_with_more_work_than_it_can_do_is_still_ready(gallery: Gallery) -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow_detector(picture: np.ndarray) -> list[Face]:
        if picture.shape == ready_picture(20).shape:
            return one_face(picture)
        arrived.set()
        assert release.wait(30)
        return one_face(picture)

    app = client(gallery, detector=slow_detector, MAX_RUNNING="1", MAX_WAITING="0")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(app.post, "/detect", data=a_picture())
        assert arrived.wait(30)
        other = app.application.test_client()
        assert other.post("/detect", data=a_picture()).status_code == 429
        assert other.get("/ready").status_code == 200
        release.set()
        assert running.result(timeout=30).status_code == 200


def test_landmarks_that_were_not_found_are_null(gallery: Gallery) -> None:
    marks = MARKS.copy()
    marks[1] = np.nan
    marks[2, 0] = np.inf
    app = client(gallery, detector=lambda _: [Face(Box(0, 0, 5, 5), 0.5, marks)])
    answer = app.post("/detect", data=a_picture())
    assert answer.json is not None
    assert [{name: face[name] for name in ("bbox", "confidence", "landmarks")} for face in answer.json] == [
        {
            "bbox": "0, 0, 5, 5",
            "confidence": 0.5,
            "landmarks": {
                "left_eye": [1.0, 2.0],
                "right_eye": None,
                "nose": None,
                "mouth_left": [1.0, 4.0],
                "mouth_right": [3.0, 4.0],
            },
        }
    ]


def test_detect_and_verify_are_bounded_by_the_queue(gallery: Gallery) -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow_detector(_: np.ndarray) -> list[Face]:
        arrived.set()
        assert release.wait(30)
        return one_face(_)

    app = client(gallery, detector=slow_detector, MAX_RUNNING="1", MAX_WAITING="0")
    pictures = [a_picture()["file"] for _ in range(2)]
    with ThreadPoolExecutor(1) as pool:
        files = {"image1": pictures[0], "image2": pictures[1]}
        running = pool.submit(app.post, "/verify", data=files)
        assert arrived.wait(30)
        refused = app.application.test_client().post("/detect", data=a_picture())
        assert (refused.status_code, refused.json and refused.json["code"]) == (429, "overloaded")
        release.set()
        answer = running.result(timeout=30)
    assert answer.json is not None
    assert {name: answer.json[name] for name in answer.json if name[:-1] not in ("quality", "reasons")} == {
        "verified": True,
        "distance": 0.0,
        "threshold": 1.0,
        "similarity": 1.0,
        "bbox1": "0, 0, 5, 5",
        "bbox2": "0, 0, 5, 5",
    }


def enrol_known(gallery: Gallery) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    sample = Sample("a", "n", None, None, now, now)
    gallery.upsert([sample], np.ones((1, 4), np.float32), fingerprint_of(MODEL))


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/face-recognition?draw=1", {}),
        ("/face-recognition?draw=true", {"Accept": "*/*"}),
        ("/face-recognition", {"Accept": "image/jpeg"}),
        ("/face-recognition?draw=0", {"Accept": "image/jpeg, application/json;q=0.5"}),
    ],
)
def test_the_picture_comes_back_with_boxes(gallery: Gallery, path: str, headers: dict[str, str]) -> None:
    app = client(gallery)

    def pixels(**form: str) -> np.ndarray:
        answer = app.post(path, data=a_picture() | form, headers=headers)
        assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
        with Image.open(io.BytesIO(answer.data)) as image:
            assert image.size == (20, 20)
            return np.asarray(image)

    assert pixels().max() < 10  # nothing on the black picture: an unknown face
    assert pixels(include_unknown="1").max() > 100
    enrol_known(gallery)
    assert pixels().max() > 100
    assert pixels(min_distance="1e-9", include_unknown="0").max() > 100  # distance 0


@pytest.mark.parametrize("accept", ["*/*", "application/json", "text/html, image/jpeg;q=0.5, */*;q=0.8"])
def test_nobody_gets_a_picture_unasked(gallery: Gallery, accept: str) -> None:
    answer = client(gallery).post("/face-recognition", data=a_picture(), headers={"Accept": accept})
    assert answer.json == []


def test_errors_stay_json_where_a_picture_is_wanted(gallery: Gallery) -> None:
    app = client(gallery)
    for path, data, code in (
        ("/face-recognition?draw=perhaps", a_picture(), "invalid_request"),
        ("/face-recognition?draw=1", {"file": (io.BytesIO(b"text"), "x")}, "invalid_image"),
        ("/face-recognition?draw=1", {}, "unsupported_media_type"),
    ):
        answer = app.post(path, data=data, headers={"Accept": "image/jpeg"})
        assert answer.json is not None
        assert answer.json["code"] == code


ODD_IDS = [
    "/x",
    "x/",
    "a//b",
    "//",
    "/",
    ".",
    "..",
    "a/../b",
    "?",
    "#",
    "%2F",
    "a b",
    "é",
    "x\ny",
    "\n",
    "\\",
]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_path_names_just_the_sample_of_its_id(backend: str, url: str) -> None:
    gallery = open_gallery(url, lock_timeout_s=5)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for sample_id in [*ODD_IDS, "x", "count"]:
        gallery.upsert([Sample(sample_id, "n", None, None, now, now)], np.ones((1, 4), np.float32), "f")
    app = client(gallery)
    for sample_id in ODD_IDS:
        path = f"/samples/{quote(sample_id, safe='')}"
        shown = app.get(path)
        assert (shown.status_code, shown.json and shown.json["id"]) == (200, sample_id)
        assert app.delete(path).json == {"success": [sample_id]}
        assert app.get(path).status_code == 404
    for impossible in ("%00", "a%00b", "x" * 501):
        for answer in (app.get(f"/samples/{impossible}"), app.delete(f"/samples/{impossible}")):
            assert (answer.status_code, answer.json and answer.json["code"]) == (404, "not_found")
    assert [sample.id for sample in gallery.page(limit=10)] == ["count", "x"]
    gallery.close()
