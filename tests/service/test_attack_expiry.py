"""Storms of expiry while requests are running: many samples and people expire at once, again and again."""

from __future__ import annotations

import base64
import io
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any

import numpy as np
from PIL import Image

from fakes import app_of, ok
from galleries import FakeClock, a_kept_face, a_sample
from recognition.gallery import Gallery, open_gallery, people, transfer

FINGERPRINT = "fingerprint-1"
STORMS = 4
AT_ONCE = 500
IN_BETWEEN = timedelta(minutes=1)


def picture() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def vectors(count: int) -> np.ndarray:
    """Vectors that are like that of every picture."""
    return np.ones((count, 4), np.float32) + np.arange(count, dtype=np.float32)[:, None] / (10 * count)


class Clients:
    """Callers of two workers, who note what is wrong with the answers."""

    def __init__(self, workers: list[Gallery], clock: FakeClock) -> None:
        self.services = [app_of(worker).test_client for worker in workers]
        self.clock = clock
        self.picture = picture()
        self.over = threading.Event()
        self.wrong: list[Any] = []
        self.answered: Counter[str] = Counter()
        self.enrolled: list[str] = []

    def recognise(self, worker: int) -> None:
        client = self.services[worker]()
        while not self.over.is_set():
            asked_at = self.clock.now
            answer = client.post(
                "/face-recognition", json={"image": self.picture, "top_k": 100, "per": "sample"}
            )
            if answer.status_code != 200:
                self.wrong.append(answer.json)
                continue
            (face,) = answer.json or [{"candidates": []}]
            found = {candidate["id"]: candidate["metadata"] for candidate in face["candidates"]}
            gone = [each for each, until in found.items() if until and until <= asked_at.isoformat()]
            self.wrong += gone
            self.answered["recognised"] += 1

    def enrol(self, worker: int) -> None:
        client = self.services[worker]()
        while not self.over.is_set():
            sample_id = f"enrolled {len(self.enrolled)}"
            sample = {"id": sample_id, "name": sample_id, "image": self.picture}
            answer = client.post("/update-samples", json=[sample])
            if answer.json and answer.json.get("success") == [sample_id]:
                self.enrolled.append(sample_id)
            else:
                self.wrong.append(answer.json)
            self.answered["enrolled"] += 1

    def wait(self) -> None:
        """Wait until everybody has been answered again."""
        before = self.answered.copy()
        while not self.wrong and any(self.answered[each] < before[each] + 3 for each in before):
            self.over.wait(0.01)


def test_storms_of_expiry_disturb_no_request_and_leave_nothing(url: str, clock: FakeClock) -> None:
    with (
        closing(open_gallery(url, 30, clock=clock)) as one,
        closing(open_gallery(url, 30, clock=clock)) as other,
        closing(open_gallery(url, 30, clock=clock)) as upkeep,
    ):
        clients = Clients([one, other], clock)
        with ThreadPoolExecutor(3) as pool:
            running = [
                pool.submit(clients.recognise, 0),
                pool.submit(clients.recognise, 1),
                pool.submit(clients.enrol, 0),
            ]
            try:
                for storm in range(STORMS):
                    store_what_expires(upkeep, clock, storm)
                    clients.answered.update(recognised=0, enrolled=0)
                    clients.wait()
                    clock.now += IN_BETWEEN
                    upkeep.load()
                    clients.wait()
            finally:
                clients.over.set()
            for each in running:
                each.result()
        assert clients.wrong == []
        stays = set(clients.enrolled)
        for worker in (one, other, upkeep):
            assert {sample.id for sample in worker.page(limit=100_000)} == stays
            assert worker.count() == len(stays)
            listed = people.page(worker, limit=1000)
            assert {person.name for person in listed.persons} == stays
        assert list(transfer.faults(one)) == []
        assert ok(app_of(one).test_client().get("/ready"))["gallery"]["damaged"] == 0


def store_what_expires(gallery: Gallery, clock: FakeClock, storm: int) -> None:
    """Store samples that expire in a minute, half of them by their own time and half with their person."""
    until = clock.now + IN_BETWEEN
    shared = people.make(gallery, f"person {storm}", expires_at=until).id
    samples = [
        a_sample(
            f"storm {storm}/{number}",
            metadata=until.isoformat(),
            expires_at=until if number % 2 else None,
            person=None if number % 2 else shared,
            face=a_kept_face(0) if number % 50 < 2 else None,
        )
        for number in range(AT_ONCE)
    ]
    gallery.upsert(samples, vectors(len(samples)), FINGERPRINT)
