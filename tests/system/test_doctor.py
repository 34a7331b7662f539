"""`doctor` finds what keeps the services from working; `serve` starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from running import ROOT, Pair, answers, free_port, served, wait_until


def ran(environment: dict[str, str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and what is said about each thing."""
    done = subprocess.run(
        [sys.executable, "-m", "recognition", "doctor", "--json", *arguments],
        cwd=ROOT / "face_detection",
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    checks = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {check["check"]: check for check in checks}


@pytest.fixture
def environment(tmp_path: Path, models_dir: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
        "FACE_DETECTION_PORT": str(free_port()),
        "FEATURE_EXTRACTION_PORT": str(free_port()),
    }


def test_before_the_first_start_all_is_well(environment: dict[str, str], tmp_path: Path) -> None:
    status, checks = ran(environment)
    assert status == 0
    assert list(checks) == [
        "Python",
        "settings",
        "models",
        "processor",
        "database",
        "feature_extraction",
        "face_detection",
    ]
    assert all(check["well"] for check in checks.values())
    assert "first start" in checks["database"]["found"]
    assert "is free" in checks["face_detection"]["found"]
    assert not list(tmp_path.iterdir())


def test_it_sees_running_services(pair: Pair) -> None:
    environment = {
        **pair.detection.environment,
        "FACE_DETECTION_PORT": str(pair.detection.port),
        "FEATURE_EXTRACTION_PORT": str(pair.extraction.port),
    }
    status, checks = ran(environment)
    assert status == 0, checks
    assert checks["database"]["found"] == "0 samples"
    assert checks["face_detection"]["found"] == f"ready at {pair.url}: Facenet, 0 samples"
    assert checks["feature_extraction"]["found"] == f"ready at {pair.extraction.url}: Facenet"
    status, checks = ran({}, "--host", pair.url)
    assert (status, list(checks)) == (0, ["service"])


def test_it_says_what_is_wrong_and_what_to_do(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gallery.sqlite3").write_text("no database, and long enough to look at it" * 100)
    with served((200, b"<html>")) as (url, _):
        port = url.rpartition(":")[2]
        status, checks = ran(environment | {"MODELS_DIR": str(tmp_path), "FEATURE_EXTRACTION_PORT": port})
    assert status == 1
    wrong = {name: check["advice"] for name, check in checks.items() if not check["well"]}
    assert set(wrong) == {"models", "database", "feature_extraction"}
    assert "make run" in wrong["models"]
    assert "DATABASE_URL" in wrong["database"]
    assert "FEATURE_EXTRACTION_PORT" in wrong["feature_extraction"]


def test_a_changed_network_is_found(environment: dict[str, str], tmp_path: Path, models_dir: Path) -> None:
    for path in models_dir.iterdir():
        if path.is_file():
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "pnet.onnx").unlink()
    (tmp_path / "onet.onnx").unlink()
    (tmp_path / "onet.onnx").write_bytes(b"changed")
    status, checks = ran(environment | {"MODELS_DIR": str(tmp_path)})
    assert (status, checks["models"]["well"]) == (1, False)
    assert set(checks["models"]["found"].rpartition(": ")[2].split(", ")) == {"onet.onnx", "pnet.onnx"}


def test_a_bad_setting_is_named(environment: dict[str, str]) -> None:
    status, checks = ran(environment | {"MIN_FACE_PX": "few"})
    assert (status, checks["settings"]["well"]) == (1, False)
    assert "MIN_FACE_PX" in checks["settings"]["found"]


def test_a_service_that_is_asked_for_must_run() -> None:
    status, checks = ran({}, "--host", f"http://127.0.0.1:{free_port()}")
    assert status == 1
    assert "recognition serve" in checks["service"]["advice"]


def test_serve_starts_both_services(environment: dict[str, str], tmp_path: Path) -> None:
    hosts = {"FACE_DETECTION_HOST": "127.0.0.1", "FEATURE_EXTRACTION_HOST": "127.0.0.1"}
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "recognition", "serve"],
            cwd=ROOT / "face_detection",
            env=os.environ | environment | hosts,
            stdout=stream,
            stderr=stream,
        )
    wait_until(lambda: b"Ctrl-C stops both." in log.read_bytes(), process, log)
    assert answers(f"http://127.0.0.1:{environment['FACE_DETECTION_PORT']}")
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
