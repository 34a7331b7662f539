"""Small mishaps that must not end a service: whoever serves goes on, and says in /ready what is wrong."""

from __future__ import annotations

import base64
import io
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from galleries import running_postgresql
from running import Pair, Service, free_port, wait_until, workers_of
from serving import keys

TIMEOUT_S = 60
KEY, KEPT = keys.new("the-door", "admin")
NEW_KEY, NEW_KEPT = keys.new("the-window", "admin")


@pytest.fixture(scope="module")
def photograph(photographs: dict[str, list[Path]]) -> bytes:
    return photographs["madonna"][0].read_bytes()


@contextmanager
def running(service: Service) -> Iterator[Service]:
    try:
        service.start()
        yield service
    finally:
        service.stop()


def detection(folder: Path, models_dir: Path, extraction: str, **settings: str) -> Service:
    environment = {
        "MODELS_DIR": str(models_dir),
        "FEATURE_EXTRACTION_URL": extraction,
        "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
        "GALLERY_LOCK_TIMEOUT_S": "2",
    }
    return Service("face_detection", environment | settings, free_port(), folder / "log")


def recognise(service: Service, photograph: bytes) -> requests.Response:
    files = {"file": io.BytesIO(photograph)}
    return requests.post(f"{service.url}/face-recognition", files=files, timeout=TIMEOUT_S)


def ready(service: Service, key: str = "") -> requests.Response:
    headers = {"x-api-key": key} if key else {}
    return requests.get(f"{service.url}/ready", headers=headers, timeout=TIMEOUT_S)


def warnings(service: Service, key: str = "") -> list[str]:
    answer = ready(service, key)
    assert answer.status_code == 200, answer.text
    return [warning["code"] for warning in answer.json()["warnings"]]


def hang_up(service: Service) -> None:
    assert service.process is not None
    os.kill(service.process.pid, signal.SIGHUP)


def wait(service: Service, condition: Callable[[], bool]) -> None:
    wait_until(condition, service.process, service.log)


def times_in_log(service: Service, text: str) -> int:
    return service.log.read_text().count(text)


COULD_NOT_START = "a worker could not start; the next try is in"


def test_a_reload_with_a_fault_in_the_settings_changes_nothing(
    tmp_path: Path, models_dir: Path, session_pair: Pair
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"{KEPT.entry()}\n")
    service = detection(tmp_path, models_dir, session_pair.extraction.url, API_KEYS_FILE=str(file))
    with running(service):
        before = set(workers_of(service))
        for text in ("the-door:admn:" + 64 * "0", ""):
            file.write_text(text)
            refused = times_in_log(service, "the reload is refused")
            hang_up(service)
            wait(service, lambda refused=refused: times_in_log(service, "the reload is refused") > refused)  # type: ignore[misc]
            assert set(workers_of(service)) == before
            answer = ready(service, KEY)
            assert answer.status_code == 200
            (warning,) = answer.json()["warnings"]
            assert warning["code"] == "reload_refused"
            assert warning["detail"].startswith("API_KEYS_FILE: ")
            assert str(tmp_path) not in answer.text
        file.unlink()
        hang_up(service)
        wait(service, lambda: "cannot be read" in ready(service, KEY).text)
        assert str(tmp_path) not in ready(service, KEY).text
        file.write_text(f"{NEW_KEPT.entry()}\n")
        hang_up(service)
        wait(service, lambda: before.isdisjoint(workers_of(service)))
        assert warnings(service, NEW_KEY) == []
        assert ready(service, KEY).status_code == 401


# What no reading of the settings finds, and what the log says of it.
FAULTS = {
    "AUDIT_LOG=/nowhere/at all/log": "AUDIT_LOG: The audit log cannot be written.",
    f"GALLERY_KEY={'A' * 43}=": "GALLERY_KEY is set, but the gallery is not encrypted",
}


def test_a_reload_keeps_the_workers_that_serve_until_others_do(
    tmp_path: Path, models_dir: Path, session_pair: Pair, photograph: bytes
) -> None:
    audit = tmp_path / "audit" / "log"
    audit.parent.mkdir()
    settings = tmp_path / "settings.env"
    settings.write_text("")
    service = detection(tmp_path, models_dir, session_pair.extraction.url, RECOGNITION_SETTINGS=str(settings))
    with running(service):
        body = [{"id": "m", "name": "madonna", "image": base64.b64encode(photograph).decode("ascii")}]
        assert requests.post(f"{service.url}/update-samples", json=body, timeout=TIMEOUT_S).ok
        before = set(workers_of(service))
        for text, reason in FAULTS.items():
            settings.write_text(text)
            tried = times_in_log(service, COULD_NOT_START)
            hang_up(service)
            wait(service, lambda tried=tried: times_in_log(service, COULD_NOT_START) > tried)  # type: ignore[misc]
            assert before <= set(workers_of(service))
            assert recognise(service, photograph).status_code == 200
            assert warnings(service) == ["worker_not_started"]
            wait(service, lambda reason=reason: reason in service.log.read_text())  # type: ignore[misc]
        settings.write_text(f"AUDIT_LOG={audit}\n")
        wait(service, lambda: before.isdisjoint(workers_of(service)) and len(workers_of(service)) == 2)
        assert recognise(service, photograph).status_code == 200
        assert audit.exists()
        wait(service, lambda: warnings(service) == [])


def test_a_settings_file_that_cannot_be_read_is_not_named_in_an_answer(
    tmp_path: Path, models_dir: Path, session_pair: Pair
) -> None:
    settings = tmp_path / "settings.env"
    settings.write_text("")
    service = detection(tmp_path, models_dir, session_pair.extraction.url, RECOGNITION_SETTINGS=str(settings))
    with running(service):
        settings.unlink()
        hang_up(service)
        wait(service, lambda: warnings(service) == ["reload_refused"])
        assert ready(service).json()["warnings"][0]["detail"] == "The settings file cannot be read."
        assert str(settings) in service.log.read_text()


def test_a_worker_that_dies_while_postgresql_is_away_does_not_end_the_others(
    tmp_path: Path, models_dir: Path, session_pair: Pair, photograph: bytes
) -> None:
    with running_postgresql() as server:
        extraction = session_pair.extraction.url
        service = detection(tmp_path, models_dir, extraction, DATABASE_URL=server.url())
        with running(service):
            for dying in (1, 2):  # one of them, and all
                assert recognise(service, photograph).status_code == 200
                server.stop()
                tried = times_in_log(service, COULD_NOT_START)
                for worker in workers_of(service)[:dying]:
                    os.kill(worker, signal.SIGKILL)
                wait(service, lambda tried=tried: times_in_log(service, COULD_NOT_START) > tried + 1)  # type: ignore[misc]
                if dying == 1:
                    assert recognise(service, photograph).status_code == 503
                    assert requests.get(f"{service.url}/health", timeout=TIMEOUT_S).ok
                server.start()
                wait(service, lambda: ready(service).status_code == 200 and warnings(service) == [])
                assert len(workers_of(service)) == 2
            assert "DATABASE_URL: The database cannot be used right now." in service.log.read_text()


def test_models_that_are_away_for_a_moment_do_not_end_feature_extraction(
    tmp_path: Path, models_dir: Path
) -> None:
    models, away = tmp_path / "models", tmp_path / "away"
    models.symlink_to(models_dir)
    service = Service("feature_extraction", {"MODELS_DIR": str(models)}, free_port(), tmp_path / "log")
    with running(service):
        models.rename(away)
        os.kill(workers_of(service)[0], signal.SIGKILL)
        wait(service, lambda: times_in_log(service, COULD_NOT_START) > 1)
        assert warnings(service) == ["worker_not_started"]
        assert "feature_extraction cannot start: " in service.log.read_text()
        away.rename(models)
        wait(service, lambda: warnings(service) == [] and len(workers_of(service)) == 2)


def test_the_very_first_start_still_fails_with_status_3(tmp_path: Path, models_dir: Path) -> None:
    nowhere = str(tmp_path / "nowhere" / "log")
    service = detection(tmp_path, models_dir, "http://127.0.0.1:1", AUDIT_LOG=nowhere)
    with pytest.raises(AssertionError):
        service.start()
    assert service.process is not None
    assert service.process.wait(TIMEOUT_S) == 3


def test_a_damaged_vector_does_not_keep_a_worker_from_starting(
    tmp_path: Path,
    models_dir: Path,
    session_pair: Pair,
    photographs: dict[str, list[Path]],
    as_base64: Callable[[Path], str],
) -> None:
    service = detection(tmp_path, models_dir, session_pair.extraction.url)
    with running(service):
        for name in ("madonna", "mindy_kaling"):
            body = [{"id": name, "name": name, "image": as_base64(photographs[name][0])}]
            answer = requests.post(f"{service.url}/update-samples", json=body, timeout=TIMEOUT_S)
            assert answer.json()["success"] == [name]
        with closing(sqlite3.connect(tmp_path / "gallery.sqlite3")) as connection, connection:
            connection.execute(
                "UPDATE samples SET vector = x'00', revision = 9 WHERE sample_id = 'mindy_kaling'"
            )
            connection.execute("UPDATE galleries SET revision = 9")
        for _ in range(2):
            answer = recognise(service, photographs["madonna"][0].read_bytes())
            assert (answer.status_code, [face["id"] for face in answer.json()]) == (200, ["madonna"])
            assert ready(service).json()["gallery"] == {"samples": 2, "damaged": 1}
            worker = workers_of(service)[0]
            os.kill(worker, signal.SIGKILL)
            wait(service, lambda worker=worker: worker not in workers_of(service))  # type: ignore[misc]
        assert "'mindy_kaling'" in service.log.read_text()
        assert times_in_log(service, COULD_NOT_START) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with a disk of its own, of sixteen megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk to fill")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


FILE = {"Content-Type": "application/octet-stream"}


def fill(folder: Path) -> Path:
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while free := shutil.disk_usage(folder).free:
            file.write(bytes(free))
    return ballast


def told(service: Service) -> dict[str, float]:
    answer = requests.get(f"{service.url}/metrics", timeout=TIMEOUT_S)
    assert answer.status_code == 200
    pairs: list[Any] = [line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#"]
    return {name: float(value) for name, value in pairs}


def test_a_full_tmpdir_harms_the_metrics_at_most(
    tmp_path: Path, small_disk: Path, models_dir: Path, session_pair: Pair, photograph: bytes
) -> None:
    extraction = session_pair.extraction.url
    service = detection(tmp_path, models_dir, extraction, TMPDIR=str(small_disk), WORKERS="1")
    with running(service):
        ballast = fill(small_disk)
        (worker,) = workers_of(service)
        for path in ("/health", "/samples", "/samples/count", "/samples/nobody", "/docs", "/nowhere"):
            for method in ("GET", "PUT", "DELETE"):
                requests.request(method, service.url + path, timeout=TIMEOUT_S)
        assert recognise(service, photograph).status_code == 200
        assert told(service)['recognition_requests_total{route="none",status="404"}'] == 3
        assert workers_of(service) == [worker]
        assert warnings(service) == []
        os.kill(worker, signal.SIGKILL)
        assert recognise(service, photograph).status_code == 200  # it waits for the next worker
        assert warnings(service) == ["metrics_apart"]
        assert told(service)['recognition_requests_total{route="/ready",status="200"}'] == 1
        large = photograph + bytes(8_000_000)
        assert recognise(service, large).status_code == 200
        for sent in ({"files": {"file": large}}, {"data": large, "headers": FILE}):
            answer = requests.post(f"{service.url}/import", timeout=TIMEOUT_S, **sent)
            assert (answer.status_code, answer.json()["code"]) == (503, "disk_full")
        ballast.unlink()
        answer = requests.post(f"{service.url}/import", files={"file": large}, timeout=TIMEOUT_S)
        assert (answer.status_code, answer.json()["code"]) == (400, "damaged_gallery")
        hang_up(service)
        before = 'recognition_requests_total{route="none",status="404"}'  # the first worker has counted it
        wait(service, lambda: told(service).get(before) == 3)
        assert warnings(service) == []
    assert list(small_disk.iterdir()) == []
