"""The embedding service misbehaves in every way: a 503 in time, nothing leaks, and all is well after."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from misbehaving import BROKEN, PASSING, Proxy, proxy, well
from running import Pair, Service, free_port, wait_until, workers_of

LIMIT_S = 2  # for one call of the embedding service
IN_TIME_S = 30  # much more than that: machines are busy, and yet no fault ends by itself so soon
MANY = 12


@dataclass
class Neighbours:
    """face_detection, and the proxy that it takes for the embedding service."""

    detection: Service
    proxy: Proxy
    picture: dict[str, str]

    def recognise(self) -> requests.Response:
        return requests.post(f"{self.detection.url}/face-recognition", json=self.picture, timeout=IN_TIME_S)

    def recover(self) -> None:
        self.proxy.fault = well
        wait_until(lambda: self.recognise().ok, self.detection.process, self.detection.log)

    def held(self) -> tuple[int, int]:
        """Threads and sockets that the worker has."""
        (worker,) = workers_of(self.detection)
        files = [file.readlink().name for file in Path(f"/proc/{worker}/fd").iterdir() if file.is_symlink()]
        return len(list(Path(f"/proc/{worker}/task").iterdir())), sum("socket:" in name for name in files)


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory,
    models_dir: Path,
    session_pair: Pair,
    photographs: dict[str, list[Path]],
    as_base64: Callable[[Path], str],
) -> Iterator[Neighbours]:
    folder = tmp_path_factory.mktemp("neighbours")
    with proxy(session_pair.extraction.port) as between:
        settings = {
            "MODELS_DIR": str(models_dir),
            "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
            "FEATURE_EXTRACTION_URL": f"http://127.0.0.1:{between.server_address[1]}",
            "EMBEDDING_READ_TIMEOUT_S": str(LIMIT_S),
            "WORKERS": "1",
            "THREADS": str(MANY),
        }
        detection = Service("face_detection", settings, free_port(), folder / "log")
        try:
            detection.start()
            yield Neighbours(detection, between, {"image": as_base64(photographs["madonna"][0])})
        finally:
            detection.stop()


@pytest.fixture
def neighbours(both: Neighbours) -> Neighbours:
    """The proxy does nothing, and the model is known."""
    both.recover()
    return both


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_neighbour_is_a_503_in_time_and_forgotten_after(neighbours: Neighbours, fault: str) -> None:
    asked = neighbours.proxy.requests
    neighbours.proxy.fault = BROKEN[fault]
    answer = neighbours.recognise()
    assert (answer.status_code, answer.json()["code"]) == (503, "embedding_unavailable")
    assert set(answer.json()) == {"error", "code", "detail", "request_id"}
    assert int(answer.headers["Retry-After"]) > 0
    nothing_came = fault in ("resets", "hangs up")
    assert neighbours.proxy.requests - asked == (2 if nothing_came else 1)
    neighbours.recover()


@pytest.mark.parametrize("fault", PASSING)
def test_what_another_try_gets_over_nobody_notices(neighbours: Neighbours, fault: str) -> None:
    neighbours.proxy.fault = PASSING[fault]
    assert [neighbours.recognise().status_code for _ in range(5)] == 5 * [200]


def test_many_wait_for_a_hanging_neighbour_no_longer_than_one(neighbours: Neighbours) -> None:
    neighbours.proxy.fault = BROKEN["hangs"]
    with ThreadPoolExecutor(MANY) as pool:
        answers = list(pool.map(lambda _: neighbours.recognise(), range(MANY)))
    assert {answer.status_code for answer in answers} == {503}


def test_nothing_is_stored_while_vectors_are_missing(neighbours: Neighbours) -> None:
    samples = [{"id": str(n), "name": "madonna", **neighbours.picture} for n in range(3)]
    neighbours.proxy.fault = BROKEN["answers half"]
    url = neighbours.detection.url
    assert requests.post(f"{url}/update-samples", json=samples, timeout=IN_TIME_S).status_code == 503
    assert requests.get(f"{url}/samples/count", timeout=IN_TIME_S).json() == {"count": 0}


def test_faults_leave_no_thread_and_no_connection_behind(neighbours: Neighbours) -> None:
    with ThreadPoolExecutor(MANY) as pool:  # as many threads, decoders and connections as there will ever be
        list(pool.map(lambda _: neighbours.recognise(), range(2 * MANY)))
    threads, sockets = neighbours.held()
    for fault in ("hangs", "drips its body", "resets", "answers half", "answers HTML", "answers 500"):
        neighbours.proxy.fault = BROKEN[fault]
        for _ in range(3):
            assert neighbours.recognise().status_code == 503
        neighbours.recover()
    wait_until(
        lambda: neighbours.held()[0] <= threads and neighbours.held()[1] <= sockets,
        neighbours.detection.process,
        neighbours.detection.log,
    )
