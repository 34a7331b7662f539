"""Overload: some requests run, some wait, the rest are refused at once and nothing is lost."""

from __future__ import annotations

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import pytest
from PIL import Image

from recognition.admission import Admission, Shared
from recognition.app import create_app
from recognition.config import read
from recognition.faces import Face
from serving.errors import Overloaded


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


def test_a_result_is_shared_for_a_while() -> None:
    now, runs = [100.0], []

    def run() -> int:
        runs.append(now[0])
        return len(runs)

    shared: Shared[int] = Shared(2.0, clock=lambda: now[0])
    assert shared(run) == 1
    now[0] = 102.0
    assert shared(run) == 1
    now[0] = 102.1
    assert shared(run) == 2


def test_a_failure_is_not_kept() -> None:
    now = [100.0]
    shared: Shared[int] = Shared(2.0, clock=lambda: now[0])

    def fail() -> int:
        raise Overloaded("It is busy.")

    with pytest.raises(Overloaded, match="busy"):
        shared(fail)
    now[0] = 100.1
    assert shared(lambda: 7) == 7


@pytest.mark.parametrize("fails", [False, True])
def test_who_asks_while_it_runs_gets_what_comes_of_that_run(fails: bool) -> None:
    release, asked = threading.Event(), threading.Semaphore(0)
    now, runs = [100.0], []

    def clock() -> float:
        asked.release()
        return now[0]

    shared: Shared[int] = Shared(0.0, clock)

    def run() -> int:
        runs.append(1)
        assert release.wait(30)
        if fails:
            raise Overloaded("It is busy.")
        return 7

    def ask() -> int | str:
        try:
            return shared(run)
        except Overloaded as e:
            return e.detail

    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(ask) for _ in range(4)]
        for _ in answers:
            assert asked.acquire(timeout=30)
        now[0] = 101.0
        release.set()
        results = {answer.result(timeout=30) for answer in answers}
    assert results == {"It is busy." if fails else 7}
    assert len(runs) == 1


def test_who_gives_way_goes_on_after_those_who_wait() -> None:
    waits, order = threading.Semaphore(0), []

    def changed(_: int, waiting: int) -> None:
        if waiting:
            waits.release()

    admission = Admission(1, 2, changed)

    def short(number: int) -> None:
        with admission():
            order.append(f"short {number}")

    with ThreadPoolExecutor(2) as pool, admission():
        admission.give_way()  # nobody waits
        for number in (1, 2):
            while waits.acquire(blocking=False):
                pass
            pool.submit(short, number)
            assert waits.acquire(timeout=30)
        order.append("long begins")
        admission.give_way()
        order.append("long ends")
    assert order == ["long begins", "short 1", "short 2", "long ends"]


def test_a_request_takes_no_second_turn() -> None:
    admission = Admission(1, 0)
    with admission(), admission(), pytest.raises(Overloaded):
        admission.check()
    with admission():
        pass
