"""Services that stop and that reload, as real processes, with requests under way."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from misbehaving import proxy, well
from running import Pair, Service, free_port, running_pair, wait_until, workers_of

TIMEOUT_S = 120
CLIENTS = 4
RELOADS = 2


@pytest.fixture(scope="module")
def image(photographs: dict[str, list[Path]], as_base64: Callable[[Path], str]) -> str:
    return as_base64(photographs["madonna"][0])


@pytest.fixture(scope="module")
def reloaded(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("reloaded"), models_dir) as pair:
        yield pair


class Load:
    """Clients that ask until they are told to stop; half of them keep their connections."""

    def __init__(self, url: str, image: str) -> None:
        self.url, self.image = url, image
        self.over = threading.Event()
        self.outcomes: Counter[str] = Counter()
        self.acknowledged: list[str] = []

    def client(self, number: int) -> None:
        session = requests.Session()
        count = 0
        while not self.over.is_set():
            count += 1
            sample = {"id": f"{self.url} {number} {count}", "name": "madonna", "image": self.image}
            for path, body in (
                ("/update-samples", [sample]),
                ("/face-recognition", {"image": self.image}),
                ("/samples/count", None),
            ):
                if number % 2:
                    session.close()
                try:
                    answer = session.request(
                        "GET" if body is None else "POST", self.url + path, json=body, timeout=TIMEOUT_S
                    )
                except requests.RequestException as e:
                    self.outcomes[f"{path}: {e!r}"] += 1
                    continue
                self.outcomes["ok" if answer.ok else f"{path}: {answer.status_code} {answer.text}"] += 1
                if answer.ok and path == "/update-samples":
                    self.acknowledged += answer.json()["success"]
        session.close()

    def goes_on(self, service: Service) -> None:
        """Wait until all clients together have asked some more."""
        asked = self.outcomes.total()
        wait_until(lambda: self.outcomes.total() > asked + 3 * CLIENTS, service.process, service.log)


def reload(service: Service) -> None:
    """Have all workers replaced, and wait until they are."""
    assert service.process is not None
    old = set(workers_of(service))
    os.kill(service.process.pid, signal.SIGHUP)
    wait_until(
        lambda: len(workers_of(service)) == len(old) and old.isdisjoint(workers_of(service)),
        service.process,
        service.log,
    )


@pytest.mark.parametrize("service", ["detection", "extraction"])
def test_a_reload_under_load_loses_no_request(reloaded: Pair, image: str, service: str) -> None:
    requests.post(f"{reloaded.url}/clear-samples", timeout=TIMEOUT_S)
    running: Service = getattr(reloaded, service)
    load = Load(reloaded.url, image)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(load.client, number) for number in range(CLIENTS)]
        try:
            load.goes_on(running)
            for _ in range(RELOADS):
                reload(running)
                load.goes_on(running)
        finally:
            load.over.set()
        for client in clients:
            client.result()
    assert set(load.outcomes) == {"ok"}
    count = requests.get(f"{reloaded.url}/samples/count", timeout=TIMEOUT_S).json()["count"]
    assert count == len(set(load.acknowledged))


@pytest.mark.parametrize("service", ["detection", "extraction"])
def test_what_was_counted_before_a_reload_is_counted_on(reloaded: Pair, service: str) -> None:
    running: Service = getattr(reloaded, service)
    name = {"detection": "recognition_requests_total", "extraction": "embedding_requests_total"}[service]

    def counted() -> float:
        lines = requests.get(f"{running.url}/metrics", timeout=TIMEOUT_S).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(f"{name}{{"))

    before = counted()
    assert before > 0
    reload(running)
    assert counted() > before


def test_a_stop_finishes_what_is_under_way_and_takes_nothing_new(
    tmp_path: Path, models_dir: Path, session_pair: Pair, image: str
) -> None:
    held = threading.Event()
    with proxy(session_pair.extraction.port) as between, ThreadPoolExecutor(1) as pool:
        between.fault = lambda exchange: held.wait(TIMEOUT_S) and well(exchange)  # type: ignore[func-returns-value]
        settings = {
            "MODELS_DIR": str(models_dir),
            "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
            "FEATURE_EXTRACTION_URL": f"http://127.0.0.1:{between.server_address[1]}",
        }
        detection = Service("face_detection", settings, free_port(), tmp_path / "log")
        detection.start()
        process = detection.process
        assert process is not None
        try:
            body = [{"id": "1", "name": "madonna", "image": image}]
            url = f"{detection.url}/update-samples"
            under_way = pool.submit(requests.post, url, json=body, timeout=TIMEOUT_S)
            wait_until(lambda: between.requests > 0, process, detection.log)
            process.terminate()
            wait_until(lambda: refuses(detection), process, detection.log)
            held.set()
            assert under_way.result().json()["success"] == ["1"]
            assert process.wait(TIMEOUT_S) == 0
        finally:
            held.set()
            detection.stop()


def refuses(service: Service) -> bool:
    try:
        requests.get(f"{service.url}/health", timeout=TIMEOUT_S)
    except requests.ConnectionError:
        return True
    return False
