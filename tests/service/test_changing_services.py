"""Services while a gallery changes its model, and after it: no request fails, and none mixes models."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from fakes import FACE, TwoModels, ok, refused
from galleries import FakeClock
from recognition.app import create_app
from recognition.changing import Changer, change
from recognition.config import read
from recognition.errors import EmbeddingUnavailable, ModelUnknown
from recognition.gallery import Gallery, changes, galleries, keep_up, models, open_gallery, transfer
from recognition.seeing import fingerprint_of
from serving import pictures
from serving.model import Model

decode = partial(pictures.decode, max_pixels=10**6)
LIMIT_S = 60


def png(grey: int) -> io.BytesIO:
    stream = io.BytesIO()
    Image.new("L", (20, 20), grey).save(stream, "PNG")
    stream.seek(0)
    return stream


class Service:
    """A service over a gallery; pictures have one face, as grey as they are, and ids are their greys."""

    def __init__(self, gallery: Gallery, embedder: TwoModels | None = None, **settings: str) -> None:
        self.gallery = gallery
        self.embedder = embedder or TwoModels()
        app = create_app(
            read({"MIN_QUALITY": "0", "MAX_RUNNING": "4"} | settings),
            detector=lambda _: [FACE],
            embedder=self.embedder,
            gallery=gallery,
        )
        self.client: FlaskClient = app.test_client()
        self.app = app

    def enrol(self, *greys: int, gallery: str = "default") -> None:
        body = [
            {
                "id": f"{grey:03}",
                "name": f"name {grey}",
                "image": base64.b64encode(png(grey).read()).decode(),
            }
            for grey in greys
        ]
        answer = self.app.test_client().post(f"/update-samples?gallery={gallery}", json=body)
        assert ok(answer)["success"] == [each["id"] for each in body], answer.json

    def recognised(self, grey: int, gallery: str = "default") -> list[tuple[str, float, float]]:
        """The candidates: id, distance, and the similarity, which is the same by both models."""
        form = {"file": (png(grey), "x.png"), "top_k": "3", "min_distance": "99"}
        answer = self.app.test_client().post(f"/face-recognition?gallery={gallery}", data=form)
        assert answer.status_code == 200, answer.json
        (face,) = ok(answer)
        return [
            (each["id"], round(each["distance"], 1), round(each["similarity"], 3))
            for each in face["candidates"]
        ]

    def status(self, gallery: str = "default") -> Any:
        return ok(self.client.get(f"/model-change?gallery={gallery}"))

    def until(self, condition: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + LIMIT_S
        while not condition(status := self.status()):
            assert time.monotonic() < deadline, status
            threading.Event().wait(0.01)
        return status


def wait_for_changes() -> None:
    """Let threads that are at changes end: they need the gallery for a moment after the last step is seen."""
    for thread in threading.enumerate():
        if thread.name.startswith("change of the model"):
            thread.join(LIMIT_S)
            assert not thread.is_alive()


@pytest.fixture
def service(gallery: Gallery) -> Service:
    return Service(gallery)


@pytest.fixture(autouse=True)
def changes_end(gallery: Gallery) -> Iterator[None]:
    """Before the gallery is closed."""
    yield
    wait_for_changes()


@pytest.fixture
def elsewhere(other: Gallery) -> Service:
    """The same service, of another process."""
    return Service(other)


def test_all_that_it_answers_follows_the_gallerys_model(service: Service, elsewhere: Service) -> None:
    service.enrol(10, 20, 30)
    assert elsewhere.recognised(21)[:2] == [("020", 0.1, 0.995), ("030", 0.9, 0.955)]
    change(service.gallery, "b", decode, service.embedder)
    for each in (elsewhere, service):
        assert each.recognised(21)[:2] == [("020", 0.2, 0.995), ("030", 1.8, 0.955)]
        ready = ok(each.client.get("/ready"))
        assert (ready["model"], ready["threshold"], ready["distance_range"]) == ("b", 18.0, [0.0, 40.0])
        pictures_ = {"image1": (png(10), "x.png"), "image2": (png(20), "x.png")}
        verified = ok(each.client.post("/verify", data=pictures_))
        assert (verified["distance"], verified["threshold"]) == (2.0, 18.0)
        assert ok(each.client.get("/doctor"))["examined"] == 3
    elsewhere.enrol(40)
    assert service.recognised(40)[0] == ("040", 0.0, 1.0)
    exported = ok_bytes(service.client.get("/export"))
    assert ok(elsewhere.client.post("/import", data=exported, content_type="application/x-ndjson"))
    change(elsewhere.gallery, "a", decode, elsewhere.embedder)
    assert service.recognised(21)[0] == ("020", 0.1, 0.995)
    assert ok(service.client.get("/ready"))["model"] == "a"
    file = {"data": exported, "content_type": "application/x-ndjson"}
    refused(service.client.post("/import", **file), 409, "gallery_model_mismatch")


def ok_bytes(answer: Any) -> bytes:
    assert answer.status_code == 200
    return bytes(answer.data)


def test_two_galleries_have_two_models(service: Service, elsewhere: Service) -> None:
    galleries.make(service.gallery, "lobby")
    for name in ("default", "lobby"):
        service.enrol(10, 20, gallery=name)
    change(service.gallery.of("lobby"), "b", decode, service.embedder)
    for each in (service, elsewhere):
        assert each.recognised(10)[1] == ("020", 1.0, 0.95)
        assert each.recognised(10, "lobby")[1] == ("020", 2.0, 0.95)
        assert each.status()["model"] is None and each.status("lobby")["model"] == "b"


def test_searches_and_enrolments_go_on_under_changes(service: Service, elsewhere: Service) -> None:
    service.enrol(*range(0, 100, 10))
    over = threading.Event()
    sent = [0, 0]

    def search(each: Service) -> None:
        while not over.is_set():
            (_, distance, alike), *_ = each.recognised(51)
            assert (distance, alike) in ((0.1, 0.995), (0.2, 0.995))
            sent[0] += 1

    def enrol(each: Service, first: int) -> None:
        grey = first
        while not over.is_set():
            each.enrol(grey)
            assert each.recognised(grey)[0] == (f"{grey:03}", 0.0, 1.0)
            sent[1] += 1
            grey = first + (grey - first + 1) % 50

    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(search, service),
            pool.submit(search, elsewhere),
            pool.submit(enrol, service, 100),
            pool.submit(enrol, elsewhere, 150),
        ]
        try:
            with closing(open_gallery(url_of(service), lock_timeout_s=30)) as third:
                for name in ("b", "a", "b"):
                    before = sent.copy()
                    assert change(third, name, decode, TwoModels()).changed
                    while (
                        not any(future.done() for future in futures)
                        and min(now - then for now, then in zip(sent, before, strict=True)) < 4
                    ):
                        over.wait(0.01)
        finally:
            over.set()
        for future in futures:
            future.result()
    for each in (service, elsewhere):
        assert each.recognised(51)[0] == ("050", 0.2, 0.995)
        assert each.status()["waiting"] == 0
    assert list(transfer.faults(service.gallery)) == []


def url_of(service: Service) -> str:
    url = service.gallery.engine.url
    if url.get_backend_name() == "sqlite":
        file = service.gallery.engine.get_execution_options()["file"]
        return f"sqlite:///{file}"
    return url.render_as_string(hide_password=False)


class Lacking(TwoModels):
    """Has no other model than its own."""

    def model(self, name: str | None = None) -> Model:
        if name == "b":
            raise ModelUnknown("The embedding service does not have that model.")
        return super().model(name)


def test_an_embedding_service_without_the_model(service: Service, other: Gallery) -> None:
    service.enrol(10)
    poor = Service(other, Lacking())
    refused(poor.client.post("/model-change", json={"model": "b"}), 400, "invalid_request")
    assert poor.status()["to"] is None
    change(service.gallery, "b", decode, service.embedder)
    form = {"file": (png(10), "x.png")}
    refused(poor.client.post("/face-recognition", data=form), 503, "model_unknown")
    refused(poor.client.get("/ready"), 503, "model_unknown")
    change(service.gallery, "a", decode, service.embedder)
    assert poor.recognised(10)[0] == ("010", 0.0, 1.0)


def test_over_http(service: Service, elsewhere: Service) -> None:
    service.enrol(10, 20, 30)
    assert service.status() | {"samples": 0} == {
        **dict.fromkeys(("model", "other", "to", "without_face", "trouble")),
        **dict.fromkeys(("samples", "done", "waiting"), 0),
        **dict.fromkeys(("has_other", "running", "resumes"), False),
        "waiting_samples": [],
    }
    ok(service.client.post("/model-change", json={"model": "b"}))
    status = elsewhere.until(lambda status: status["model"] == "b" and status["to"] is None)
    assert (status["other"], status["done"], status["samples"]) == ("a", 3, 3)
    assert service.recognised(21)[0] == ("020", 0.2, 0.995)
    ok(elsewhere.client.post("/model-change", json={"model": status["other"]}))  # back
    service.until(lambda status: status["model"] == "a" and status["to"] is None)
    for body in (
        {},
        {"model": ""},
        {"model": "b", "without_face": "x"},
        {"model": 1},
        {"model": "b", "x": 1},
    ):
        refused(service.client.post("/model-change", json=body), 400, "invalid_request")


def test_samples_without_a_face_over_http(gallery: Gallery, service: Service) -> None:
    Service(gallery, KEEP_FACES="0").enrol(10, 20)
    service.enrol(30)
    ok(service.client.post("/model-change", json={"model": "b"}))
    status = service.until(lambda status: status["trouble"] is not None)
    assert (status["trouble"], status["running"], status["to"]) == ("without_face", False, "b")
    assert status["resumes"] is False
    assert (status["waiting"], status["waiting_samples"]) == (2, ["010", "020"])
    assert service.recognised(10)[0] == ("010", 0.0, 1.0)
    ok(service.client.post("/model-change", json={"model": "b", "without_face": "leave"}))
    status = service.until(lambda status: status["model"] == "b" and status["to"] is None)
    assert status["waiting"] == 2
    assert [each[0] for each in service.recognised(10)] == ["030"]
    service.enrol(10)
    assert service.recognised(10)[0] == ("010", 0.0, 1.0)
    ok(service.client.post("/model-change", json={"model": "b", "without_face": "drop"}))
    service.until(lambda status: status["samples"] == 2)


class Slow(TwoModels):
    """Waits before each answer until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Semaphore(0)

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        if model.name == "b":
            self.may.acquire(timeout=LIMIT_S)
        return super().embed(crops, model)


def test_it_can_be_stopped_and_only_one_is_under_way(gallery: Gallery) -> None:
    service = Service(gallery, Slow())
    service.enrol(10, 20)
    try:
        ok(service.client.post("/model-change", json={"model": "b"}))
        service.until(lambda status: status["running"])
        refused(service.client.post("/model-change", json={"model": "b"}), 409, "change_under_way")
        status = ok(service.client.delete("/model-change"))
        assert (status["running"], status["to"]) == (False, None)
    finally:
        service.embedder.may.release(99)  # type: ignore[attr-defined]
    assert service.recognised(10)[0] == ("010", 0.0, 1.0)


def test_another_process_goes_on_with_a_change_that_was_left_behind(
    gallery: Gallery, url: str, clock: FakeClock
) -> None:
    Service(gallery).enrol(10, 20)
    b = TwoModels.MODELS["b"]
    job = changes.Job("b", fingerprint_of(b), b.dimension, "who has died")
    changes.claim(gallery, job, "wait", unattended=True)
    with closing(open_gallery(url, lock_timeout_s=5, clock=clock)) as later:
        clock.now = gallery.now()
        answers = [False, False, True]
        looks: list[str | None] = []
        changer = Changer(decode, TwoModels())

        def wait(_: float) -> bool:
            looks.append(models.status(later).model)
            clock.now += models.SILENT + timedelta(seconds=1)
            return answers.pop(0)

        keep_up(later, wait, changer.look_after)
        deadline = time.monotonic() + LIMIT_S
        while models.status(later).model != "b":
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
        assert looks[0] is None
        wait_for_changes()


def test_one_whose_model_is_no_longer_prepared_says_so(gallery: Gallery, url: str, clock: FakeClock) -> None:
    Service(gallery).enrol(10)
    b = TwoModels.MODELS["b"]
    job = changes.Job("b", fingerprint_of(b), b.dimension, "who has died")
    changes.claim(gallery, job, "wait", unattended=True)
    clock.now = gallery.now() + models.SILENT + timedelta(seconds=1)
    with closing(open_gallery(url, lock_timeout_s=5, clock=clock)) as later:
        poor = Service(later, Lacking())
        Changer(decode, poor.embedder).look_after(later)
        status = poor.until(lambda status: status["trouble"] is not None)
        assert (status["trouble"], status["running"], status["resumes"]) == ("model_unknown", False, True)
        Changer(decode, TwoModels()).look_after(later)
        poor.until(lambda status: status["model"] == "b")
        wait_for_changes()


class Down(TwoModels):
    """Is down for a while."""

    down = True

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        if self.down and model.name == "b":
            raise EmbeddingUnavailable("It is down.")
        return super().embed(crops, model)


def test_an_outage_holds_it_up_and_is_told(gallery: Gallery) -> None:
    service = Service(gallery, Down())
    service.enrol(10)
    ok(service.client.post("/model-change", json={"model": "b"}))
    status = service.until(lambda status: status["trouble"] is not None)
    assert (status["trouble"], status["to"]) == ("embedding_unavailable", "b")
    assert service.recognised(10)[0] == ("010", 0.0, 1.0)
