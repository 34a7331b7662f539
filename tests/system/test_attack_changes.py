"""What changes under services that serve: the tables, by another version of the program, and GALLERY_KEY.

Clients enrol and recognise all the time. Each answer is right or a clear error, what was acknowledged is
there afterwards, what was refused is not, and workers that serve go on.
"""

from __future__ import annotations

import base64
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from galleries import database_url
from recognition.gallery import open_gallery, transfer
from recognition.gallery.tables import VERSION
from running import Pair, Service, free_port, wait_until, workers_of

TIMEOUT_S = 60
KEY, ANOTHER = (base64.b64encode(bytes(range(start, start + 32))).decode() for start in (0, 1))
REFUSED = "face_detection cannot start: DATABASE_URL"
COULD_NOT_START = "a worker could not start; the next try is in"
PAUSE_S = 0.2
BROKEN = (0, "the connection broke")  # as when its worker is killed
FINE = (200, "")
UNAVAILABLE = (503, "gallery_unavailable")


@dataclass
class Clients:
    """One that enrols and one that recognises, and leave the machine time for workers to start."""

    service: Service
    photograph: bytes
    answers: Counter[tuple[int, str]] = field(default_factory=Counter)
    enrolled: dict[str, tuple[int, str]] = field(default_factory=dict)  # what was answered, by id
    over: threading.Event = field(default_factory=threading.Event)
    door: threading.Lock = field(
        default_factory=threading.Lock
    )  # nothing is enrolled while somebody holds it

    def enrol(self) -> None:
        image = base64.b64encode(self.photograph).decode()
        while not self.over.wait(PAUSE_S):
            with self.door:
                sample_id = f"sample {len(self.enrolled)}"
                sample = {"id": sample_id, "name": "madonna", "image": image}
                self.enrolled[sample_id] = self._send("/update-samples", json=[sample])

    def recognise(self) -> None:
        while not self.over.wait(PAUSE_S):
            self._send("/face-recognition", files={"file": self.photograph})

    def _send(self, path: str, **sent: object) -> tuple[int, str]:
        try:
            answer = requests.post(self.service.url + path, timeout=TIMEOUT_S, **sent)  # type: ignore[arg-type]
            told = answer.status_code, "" if answer.ok else answer.json()["code"]
        except requests.ConnectionError:
            told = BROKEN
        self.answers[told] += 1
        return told

    def wait(self, *expected: tuple[int, str], times: int = 3) -> None:
        """Wait until this has been answered so many times more."""
        before = self.answers.copy()
        wait_until(
            lambda: all(self.answers[each] >= before[each] + times for each in expected),
            self.service.process,
            self.service.log,
        )


@contextmanager
def clients_of(service: Service, photograph: bytes) -> Iterator[Clients]:
    clients = Clients(service, photograph)
    with ThreadPoolExecutor(2) as pool:
        running: list[Future[None]] = []
        try:
            running = [pool.submit(clients.enrol), pool.submit(clients.recognise)]
            clients.wait(FINE)
            yield clients
        finally:
            clients.over.set()
        for each in running:
            each.result()


@pytest.fixture(scope="module")
def photograph(photographs: dict[str, list[Path]]) -> bytes:
    return photographs["madonna"][0].read_bytes()


@pytest.fixture
def url(backend: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    with database_url(backend, tmp_path, request) as url:
        yield url


@contextmanager
def running(url: str, folder: Path, models_dir: Path, extraction: str) -> Iterator[Service]:
    """The service, of whose settings some stand in `settings.env`."""
    settings = {
        "MODELS_DIR": str(models_dir),
        "FEATURE_EXTRACTION_URL": extraction,
        "DATABASE_URL": url,
        "RECOGNITION_SETTINGS": str(folder / "settings.env"),
    }
    service = Service("face_detection", settings, free_port(), folder / "log")
    try:
        service.start()
        yield service
    finally:
        service.stop()


def set_version(url: str, number: str) -> None:
    """Give the tables another version, as a migration does."""
    execute(url, f"UPDATE alembic_version SET version_num = '{number}' RETURNING 1")


def is_encrypted(url: str) -> bool:
    return execute(url, "SELECT key_check FROM gallery_state") is not None


def execute(url: str, statement: str) -> object:
    """Do something in a database as another program would; returns the first value of what is read."""
    engine = sa.create_engine(url)
    try:
        with engine.begin() as connection:
            return connection.exec_driver_sql(statement).scalar()
    finally:
        engine.dispose()


def warnings(service: Service) -> list[str]:
    answer = requests.get(f"{service.url}/ready", timeout=TIMEOUT_S)
    return [warning["code"] for warning in answer.json().get("warnings", [])]


def ready(service: Service) -> tuple[int, str]:
    answer = requests.get(f"{service.url}/ready", timeout=TIMEOUT_S)
    return answer.status_code, answer.json().get("code", "")


def wait(service: Service, text: str, times: int) -> None:
    """Wait until the log has a text more than so many times."""
    wait_until(lambda: service.log.read_text().count(text) > times, service.process, service.log)


def fails_to_start(service: Service, worker: int | None = None) -> None:
    """Kill a worker, or reload if there is none to be killed, and wait until no other one can start."""
    assert service.process is not None
    tried = service.log.read_text().count(COULD_NOT_START)
    if worker is None:
        os.kill(service.process.pid, signal.SIGHUP)
    else:
        os.kill(worker, signal.SIGKILL)
    wait(service, COULD_NOT_START, tried)


def wait_for_others(service: Service, before: set[int]) -> None:
    """Wait until two workers serve of which none was there before."""

    def replaced() -> bool:
        workers = workers_of(service)
        return len(workers) == 2 and before.isdisjoint(workers)

    wait_until(replaced, service.process, service.log)


def stored(url: str, key: str = "") -> set[str]:
    """The ids of what is in the gallery, all of which can be read."""
    with closing(open_gallery(url, 30, key=base64.b64decode(key) if key else None)) as gallery:
        assert list(transfer.faults(gallery)) == []
        gallery.load()
        assert gallery.damaged() == 0
        return {sample.id for sample in gallery.page(limit=100_000)}


def check(clients: Clients, ids: set[str]) -> None:
    """Whatever was acknowledged is there, and whatever was refused is not."""
    assert {sample_id for sample_id, told in clients.enrolled.items() if told == FINE} <= ids
    assert ids <= {sample_id for sample_id, told in clients.enrolled.items() if told in (FINE, BROKEN)}


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_newer_version_changes_the_tables_under_an_older_one(
    url: str, tmp_path: Path, models_dir: Path, session_pair: Pair, photograph: bytes
) -> None:
    (tmp_path / "settings.env").touch()
    with (
        running(url, tmp_path, models_dir, session_pair.extraction.url) as service,
        clients_of(service, photograph) as clients,
    ):
        set_version(url, "9999")
        clients.wait(UNAVAILABLE)
        assert ready(service) == UNAVAILABLE
        answer = requests.get(f"{service.url}/samples", timeout=TIMEOUT_S)
        assert answer.headers["Retry-After"]
        assert "Another version of this program" in answer.json()["detail"]
        first, other = workers_of(service)
        fails_to_start(service, first)  # as an older program cannot, but the other worker goes on
        fails_to_start(service)
        assert "A newer version of this program made the database" in service.log.read_text()
        assert other in workers_of(service)
        assert requests.get(f"{service.url}/health", timeout=TIMEOUT_S).ok
        clients.wait(UNAVAILABLE)
        set_version(url, VERSION)
        clients.wait(FINE)
        wait_for_others(service, {first, other})
        clients.wait(FINE)
        assert warnings(service) == []
    assert set(clients.answers) <= {FINE, UNAVAILABLE, BROKEN}
    check(clients, stored(url))


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)  # which encrypts the vectors, too
def test_a_key_that_is_lost_or_changed_under_load_costs_nothing(
    url: str, tmp_path: Path, models_dir: Path, session_pair: Pair, photograph: bytes
) -> None:
    settings = tmp_path / "settings.env"
    settings.write_text(f"GALLERY_KEY={KEY}\n")
    with (
        running(url, tmp_path, models_dir, session_pair.extraction.url) as service,
        clients_of(service, photograph) as clients,
    ):
        before = set(workers_of(service))
        settings.write_text(f"GALLERY_KEY={ANOTHER}\n")
        killed = workers_of(service)[0]
        fails_to_start(service, killed)
        wait(service, f"{REFUSED}: GALLERY_KEY is not the key of this gallery.", 0)
        settings.write_text("")
        fails_to_start(service)
        wait(service, f"{REFUSED}: The gallery is encrypted, and GALLERY_KEY is not set.", 0)
        assert before - {killed} <= set(workers_of(service))
        assert warnings(service) == ["worker_not_started"]
        clients.wait(FINE)
        settings.write_text(f"GALLERY_KEY={KEY}\n")
        wait_for_others(service, before)
        clients.wait(FINE)
        assert warnings(service) == []
    assert set(clients.answers) <= {FINE, BROKEN}
    log = service.log.read_text()
    assert KEY not in log and ANOTHER not in log
    check(clients, stored(url, KEY))


def test_a_key_that_is_first_set_under_load_leaves_nothing_half_encrypted(
    url: str, tmp_path: Path, models_dir: Path, session_pair: Pair, photograph: bytes
) -> None:
    """Where anything is plain it is refused; an empty gallery takes it, and then refuses those without it."""
    settings = tmp_path / "settings.env"
    settings.touch()
    with (
        running(url, tmp_path, models_dir, session_pair.extraction.url) as service,
        clients_of(service, photograph) as clients,
    ):
        settings.write_text(f"GALLERY_KEY={KEY}\n")
        before = set(workers_of(service))
        fails_to_start(service)
        assert "GALLERY_KEY is set, but the gallery is not encrypted" in service.log.read_text()
        clients.wait(FINE)
        assert set(clients.answers) == {FINE}
        assert before <= set(workers_of(service))
        with clients.door:
            check(clients, stored(url))
            assert requests.delete(f"{service.url}/samples", timeout=TIMEOUT_S).ok
            clients.enrolled.clear()
            wait_until(lambda: is_encrypted(url), service.process, service.log)
        # Now there are workers with the key and, for a moment, those without it.
        clients.wait(FINE)
        wait_for_others(service, before)
        clients.wait(FINE)
        assert warnings(service) == []
    assert set(clients.answers) <= {FINE, UNAVAILABLE, BROKEN}
    check(clients, stored(url, KEY))
