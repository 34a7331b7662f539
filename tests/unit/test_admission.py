"""Overload: some requests run, some wait, the rest are refused at once and nothing is lost."""

from __future__ import annotations

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
from PIL import Image

from recognition.app import create_app
from recognition.config import read
from recognition.faces import Face


def a_picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


def test_what_can_neither_run_nor_wait_gets_429_at_once() -> None:
    arrived, release = threading.Semaphore(0), threading.Event()

    def slow_detector(_: np.ndarray) -> list[Face]:
        arrived.release()
        assert release.wait(30)
        return []

    settings = read({"MAX_RUNNING": "2", "MAX_WAITING": "1"})
    app = create_app(settings, detector=slow_detector, embedder=None, gallery=None)  # type: ignore[arg-type]

    def send() -> tuple[int, str | None]:
        answer = app.test_client().post(
            "/face-recognition", data={"file": (io.BytesIO(a_picture()), "x.png")}
        )
        return answer.status_code, answer.headers.get("Retry-After")

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(send) for _ in range(2)]
        for _ in running:
            assert arrived.acquire(timeout=30)
        others = [pool.submit(send) for _ in range(4)]
        refused = [other.result() for other in itertools.islice(as_completed(others, timeout=30), 3)]
        assert refused == [(429, "2")] * 3
        assert app.test_client().get("/health").status_code == 200
        release.set()
        answers = [future.result(timeout=30) for future in [*running, *others]]
    assert sorted(status for status, _ in answers) == [200, 200, 200, 429, 429, 429]
    assert send() == (200, None)
