"""What Prometheus is told by one process: counts, the queue, and what cannot be reached left out."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from recognition.app import create_app
from recognition.config import read
from recognition.errors import GalleryUnavailable
from recognition.faces import Box, Face, Sample
from recognition.gallery import Gallery, open_gallery
from serving.model import Model
from serving.version import VERSION

MODEL = Model("a model", 4, 8, 1.0, (0.0, 2.0), "finger")
MARKS = np.array([[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]], np.float32)


class NumberedEmbedder:
    """The vector of crop n is n everywhere."""

    described = MODEL

    def model(self, name: str | None = None) -> Model:
        return self.described

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.repeat(np.arange(len(crops), dtype=np.float32)[:, np.newaxis], 4, axis=1)


class Unreachable:
    def total(self) -> int:
        raise GalleryUnavailable("It is locked.")


def two_faces(_: np.ndarray) -> list[Face]:
    return [Face(Box(0, 0, 5, 5), 0.9, MARKS)] * 2


@pytest.fixture
def gallery(sqlite_url: str) -> Iterator[Gallery]:
    gallery = open_gallery(sqlite_url, lock_timeout_s=5)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    gallery.upsert([Sample("a", "n", None, None, now, now)], np.zeros((1, 4), np.float32), "finger-1")
    yield gallery
    gallery.close()


def client(gallery: Gallery, detector: Callable[[np.ndarray], list[Face]] = two_faces) -> FlaskClient:
    settings = read({"MIN_QUALITY": "0", "MAX_RUNNING": "1", "MAX_WAITING": "1"})
    return create_app(settings, detector=detector, embedder=NumberedEmbedder(), gallery=gallery).test_client()


def upload() -> dict[str, tuple[io.BytesIO, str]]:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    stream.seek(0)
    return {"file": (stream, "x.png")}


def told(client: FlaskClient) -> dict[str, float]:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_stages_and_faces_are_counted(gallery: Gallery) -> None:
    app = client(gallery)
    for _ in range(3):
        assert app.post("/face-recognition", data=upload()).status_code == 200
    assert app.post("/detect", data=upload()).status_code == 200
    app.get("/samples/private")
    app.get("/private")
    metrics = told(app)
    assert metrics["recognition_requests_total /face-recognition 200"] == 3
    assert metrics["recognition_requests_total /samples/<path:sample_id> 404"] == 1
    assert metrics["recognition_requests_total none 404"] == 1
    assert metrics["recognition_request_seconds_count /face-recognition"] == 3
    assert metrics["recognition_faces_total"] == 8
    assert (metrics["recognition_matches_total"], metrics["recognition_unknowns_total"]) == (3, 3)
    stages = {"queue": 4, "decode": 4, "detect": 4, "crop": 4, "embed": 3, "search": 3}
    assert {stage: metrics[f"recognition_stage_seconds_count {stage}"] for stage in stages} == stages
    assert metrics["recognition_samples"] == 1
    assert metrics["recognition_model_info finger a model"] == 1
    assert metrics[f"recognition_build_info {VERSION}"] == 1
    assert not any("private" in name for name in metrics)


def test_the_queue_is_told(gallery: Gallery) -> None:
    arrived, release = threading.Event(), threading.Event()

    def slow_detector(_: np.ndarray) -> list[Face]:
        arrived.set()
        assert release.wait(30)
        return []

    app = client(gallery, slow_detector)
    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(app.application.test_client().post, "/detect", data=upload()) for _ in range(2)]
        try:
            assert arrived.wait(30)
            while told(app)["recognition_waiting"] < 1:
                pass  # the second is on its way
            assert told(app)["recognition_running"] == 1
        finally:
            release.set()
        assert [future.result(timeout=30).status_code for future in sent] == [200, 200]
    assert (told(app)["recognition_running"], told(app)["recognition_waiting"]) == (0, 0)


def test_a_gallery_that_cannot_be_reached_is_left_out() -> None:
    app = create_app(
        read({"MIN_QUALITY": "0"}),
        detector=two_faces,
        embedder=None,  # type: ignore[arg-type]  # is not asked
        gallery=Unreachable(),  # type: ignore[arg-type]
    )
    metrics = told(app.test_client())
    assert "recognition_running" in metrics
    assert "recognition_samples" not in metrics


def test_the_model_in_use_is_told(gallery: Gallery) -> None:
    embedder = NumberedEmbedder()
    app = create_app(
        read({"MIN_QUALITY": "0"}), detector=two_faces, embedder=embedder, gallery=gallery
    ).test_client()
    app.post("/face-recognition", data=upload())
    gallery.clear()
    embedder.described = replace(MODEL, fingerprint="thumb")
    app.post("/face-recognition", data=upload())
    metrics = told(app)
    assert metrics["recognition_model_info finger a model"] == 0
    assert metrics["recognition_model_info thumb a model"] == 1
