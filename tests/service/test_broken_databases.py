"""The database is locked, full, read-only or gone: 503 meanwhile, right again after, and nothing is lost."""

from __future__ import annotations

import resource
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from galleries import PostgreSQL, enrol, nearest_ids, running_postgresql
from recognition.errors import GalleryUnavailable
from recognition.gallery import Gallery, open_gallery
from running import Pair, Service, free_port, wait_until, workers_of

TIMEOUT_S = 60
SMALL = 4096  # bytes: less than one transaction takes


@dataclass
class Served:
    """face_detection over a database, and what it has told to be stored."""

    service: Service
    image: str
    acknowledged: list[str] = field(default_factory=list)
    asked: int = 0

    def enrol(self) -> int:
        """Enrol one new sample. Returns the status."""
        self.asked += 1
        sample = {"id": str(self.asked), "name": "madonna", "image": self.image}
        answer = requests.post(f"{self.service.url}/update-samples", json=[sample], timeout=TIMEOUT_S)
        if answer.ok:
            self.acknowledged += answer.json()["success"]
        else:
            assert answer.json()["code"] == "gallery_unavailable"
            assert "Retry-After" in answer.headers
        return answer.status_code

    def recognise(self) -> requests.Response:
        body = {"image": self.image}
        return requests.post(f"{self.service.url}/face-recognition", json=body, timeout=TIMEOUT_S)

    def stored(self) -> list[str]:
        answer = requests.get(f"{self.service.url}/samples?limit=1000", timeout=TIMEOUT_S)
        return [sample["id"] for sample in answer.json()["samples"]]

    def is_well(self) -> bool:
        """Whether it works; then it must have all that it has told of, and nothing else."""
        if self.enrol() != 200:
            return False
        assert sorted(self.stored()) == sorted(self.acknowledged)
        assert [face["id"] for face in self.recognise().json()] == [self.acknowledged[0]]
        return True


@contextmanager
def served(folder: Path, models_dir: Path, extraction: str, url: str, image: str) -> Iterator[Served]:
    settings = {
        "MODELS_DIR": str(models_dir),
        "FEATURE_EXTRACTION_URL": extraction,
        "DATABASE_URL": url,
        "GALLERY_LOCK_TIMEOUT_S": "2",
        "WORKERS": "1",
    }
    service = Service("face_detection", settings, free_port(), folder / "log")
    try:
        service.start()
        yield Served(service, image)
    finally:
        service.stop()


@pytest.fixture(scope="module")
def image(photographs: dict[str, list[Path]], as_base64: Callable[[Path], str]) -> str:
    return as_base64(photographs["madonna"][0])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broken") / "folder" / "gallery.sqlite3"


@pytest.fixture(scope="module")
def on_sqlite(file: Path, models_dir: Path, session_pair: Pair, image: str) -> Iterator[Served]:
    url = f"sqlite:///{file}"
    with served(file.parents[1], models_dir, session_pair.extraction.url, url, image) as running:
        yield running


@contextmanager
def locked(file: Path, _: Served) -> Iterator[None]:
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def full(file: Path, running: Served) -> Iterator[None]:
    """No file of the worker may grow: SQLite is told the same as by a full disk."""
    (worker,) = workers_of(running.service)
    before = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (SMALL, before[1]))
    try:
        yield
    finally:
        resource.prlimit(worker, resource.RLIMIT_FSIZE, before)


@contextmanager
def away(path: Path) -> Iterator[None]:
    aside = path.with_name("aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


FAULTS: dict[str, Callable[[Path, Served], AbstractContextManager[None]]] = {
    "locked": locked,
    "full": full,
    "its file is gone": lambda file, _: away(file),
    "its folder is gone": lambda file, _: away(file.parent),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_sqlite_is_missed_and_found_again(file: Path, on_sqlite: Served, fault: str) -> None:
    if fault == "full" and sys.platform != "linux":
        pytest.skip("only Linux limits another process")
    assert on_sqlite.is_well()
    with FAULTS[fault](file, on_sqlite):
        assert [on_sqlite.enrol() for _ in range(2)] == 2 * [503]
        assert on_sqlite.recognise().status_code == (503 if "gone" in fault else 200)
        assert requests.get(f"{on_sqlite.service.url}/health", timeout=TIMEOUT_S).ok
    assert on_sqlite.is_well()


def test_postgresql_is_missed_and_found_again(
    tmp_path: Path, models_dir: Path, session_pair: Pair, image: str
) -> None:
    extraction = session_pair.extraction.url
    with (
        running_postgresql() as server,
        served(tmp_path, models_dir, extraction, server.url(), image) as running,
    ):
        for _ in range(2):
            assert running.is_well()
            server.stop()
            assert [running.enrol(), running.recognise().status_code] == [503, 503]
            server.start()
            wait_until(running.is_well, running.service.process, running.service.log)


def test_a_read_only_sqlite_is_read_and_not_written(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gallery.sqlite3'}"
    with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
        enrol(gallery, ["a"], [1])

        def switch(to: str) -> None:  # what SQLite then answers is what it answers of a read-only file
            with gallery.engine.connect() as connection:
                connection.exec_driver_sql(f"PRAGMA query_only = {to}")

        refused_and_taken_again(gallery, lambda: switch("ON"), lambda: switch("OFF"))


def test_a_read_only_postgresql_is_read_and_not_written(postgresql: PostgreSQL) -> None:
    with postgresql.database() as name, closing(open_gallery(postgresql.url(name), 5)) as gallery:
        enrol(gallery, ["a"], [1])

        def switch(to: str) -> None:
            postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {to}")
            gallery.engine.dispose()

        refused_and_taken_again(gallery, lambda: switch("on"), lambda: switch("off"))


def refused_and_taken_again(gallery: Gallery, forbid: Callable[[], None], allow: Callable[[], None]) -> None:
    forbid()
    for change in (
        lambda: enrol(gallery, ["b"], [2]),
        lambda: gallery.delete("a"),
        lambda: gallery.delete_named("name of a"),
        gallery.clear,
    ):
        with pytest.raises(GalleryUnavailable):
            change()
    assert nearest_ids(gallery, 1) == ["a"]
    allow()
    enrol(gallery, ["b"], [2])
    assert nearest_ids(gallery, 2, k=2) == ["b", "a"]
