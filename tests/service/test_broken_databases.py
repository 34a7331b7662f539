"""The database is locked, full, read-only or gone: 503 meanwhile, right again after, and nothing is lost.

Where its disk is full, the error says so, and the audit log does not say that something was done.
"""

from __future__ import annotations

import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from galleries import PostgreSQL, enrol, nearest_ids, running_postgresql
from recognition.audit import Audit
from recognition.errors import GalleryUnavailable
from recognition.gallery import LEAST_FREE_BYTES, Gallery, open_gallery
from recognition.gallery.backup import backup
from running import Pair, Service, free_port, wait_until, workers_of
from serving.errors import DiskFull

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


FULL = "The database's disk is full."


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A folder with a disk of its own, of four megabytes."""
    # Not in the folder of pytest, which cannot remove it after a run that was killed with the disk mounted.
    with tempfile.TemporaryDirectory(prefix="small-disk-") as folder:
        command = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", folder]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user may not mount a disk to fill")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave no byte of the folder's disk free."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        file.write(bytes(shutil.disk_usage(folder).free))
    assert shutil.disk_usage(folder).free == 0
    try:
        yield
    finally:
        ballast.unlink()


def changes(path: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(line["what"], line["outcome"]) for line in lines]


def test_a_full_disk_is_named_and_no_line_claims_what_it_prevented(small_disk: Path, tmp_path: Path) -> None:
    url, log = f"sqlite:///{small_disk / 'gallery.sqlite3'}", tmp_path / "audit"
    with closing(open_gallery(url, lock_timeout_s=5, audit=Audit(log))) as gallery:
        enrol(gallery, ["a", "b"], [1, 2])
        assert 0 < (gallery.free_bytes() or 0) < LEAST_FREE_BYTES
        with pytest.raises(DiskFull, match=r"nearly full: \d+ MB are free"):
            gallery.check_room()
        before = len(changes(log))
        with filled(small_disk):
            assert gallery.free_bytes() == 0
            for change in (
                lambda: gallery.delete("a"),
                lambda: gallery.delete_named("name of a"),
                gallery.clear,
                lambda: enrol(gallery, ["c"], [3]),
            ):
                with pytest.raises(GalleryUnavailable) as refused:
                    change()
                assert refused.value.detail == FULL
            assert nearest_ids(gallery, 1, k=9) == ["a", "b"]
            with pytest.raises(GalleryUnavailable, match="The copy's disk is full"):
                backup(gallery, small_disk / "copy")
        assert not [line for line in changes(log)[before:] if line[1] == "done"]
        assert changes(log)[before:].count(("delete", "begun")) == changes(log).count(("delete", "failed"))
        before = len(changes(log))
        gallery.delete("a")
        assert changes(log)[before:] == [("delete", "begun"), ("delete", "done")]


def test_a_gallery_cannot_be_made_on_a_full_disk(small_disk: Path) -> None:
    url = f"sqlite:///{small_disk / 'gallery.sqlite3'}"
    with (
        filled(small_disk),
        pytest.raises((GalleryUnavailable, OSError), match=r"disk is full|No space left"),
    ):
        open_gallery(url, lock_timeout_s=5)
    with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
        assert gallery.count() == 0


def test_a_full_sqlite_is_named_without_a_disk_to_fill(tmp_path: Path) -> None:
    """SQLite gives the same error where a file may not have more pages."""
    with closing(open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=5)) as gallery:
        enrol(gallery, ["a"], [1])

        @sa.event.listens_for(gallery.engine, "checkout")
        def limit(connection: sqlite3.Connection, *_: object) -> None:
            connection.execute("PRAGMA max_page_count = 1")  # of those that are there none is taken away

        with pytest.raises(GalleryUnavailable) as refused:
            enrol(gallery, [str(number) for number in range(2, 100)], range(2, 100))
        assert refused.value.detail == FULL
        assert gallery.count() == 1


def test_a_full_postgresql_is_named(postgresql: PostgreSQL, tmp_path: Path) -> None:
    log = tmp_path / "audit"
    with (
        postgresql.database() as name,
        closing(open_gallery(postgresql.url(name), lock_timeout_s=5, audit=Audit(log))) as gallery,
    ):
        assert gallery.free_bytes() is None
        enrol(gallery, ["a"], [1])
        before = len(changes(log))
        # What the server says when it cannot enlarge a file; at the end of a transaction, as on a full disk.
        postgresql.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END$$",
            name,
        )
        postgresql.execute(
            "CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT OR DELETE ON samples "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION full_disk()",
            name,
        )
        for change in (lambda: gallery.delete("a"), lambda: enrol(gallery, ["b"], [2])):
            with pytest.raises(GalleryUnavailable) as refused:
                change()
            assert refused.value.detail == FULL
        assert changes(log)[before:] == [
            ("delete", "begun"),
            ("delete", "failed"),
            ("enrol", "begun"),
            ("enrol", "failed"),
        ]
        assert nearest_ids(gallery, 1, k=9) == ["a"]
