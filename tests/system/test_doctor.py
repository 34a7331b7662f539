"""`doctor` finds what keeps the services from working."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from recognition.cli.checks import disk_space
from recognition.gallery import open_gallery, services
from running import ROOT, Pair, free_port, served
from serving.version import VERSION


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
    return done.returncode, {check["name"]: check for check in checks}


@pytest.fixture
def environment(tmp_path: Path, models_dir: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
        "FACE_DETECTION_PORT": str(free_port()),
        "FEATURE_EXTRACTION_PORT": str(free_port()),
    }


def test_it_tells_of_client_keys_that_others_can_guess(environment: dict[str, str]) -> None:
    with closing(open_gallery(environment["DATABASE_URL"], lock_timeout_s=5)) as gallery:
        service = services.add(gallery, "door", "recognition", b"digest", guessable=True)
        status, checks = ran(environment)
        assert status == 0 and checks["client keys"]["ok"]
        assert "door" in checks["client keys"]["detail"] and checks["client keys"]["advice"]
        assert "client keys" not in ran(environment | {"COMPREFACE": "0"})[1]
        services.remove(gallery, service.id)
        assert "client keys" not in ran(environment)[1]


def test_before_the_first_start_all_is_well(environment: dict[str, str], tmp_path: Path) -> None:
    status, checks = ran(environment)
    assert status == 0
    assert list(checks) == [
        "version",
        "Python",
        "settings",
        "models",
        "processor",
        "gallery",
        "retention",
        "gallery's disk",
        "temporary folder",
        "feature_extraction",
        "face_detection",
    ]
    assert all(check["ok"] for check in checks.values())
    assert checks["version"]["detail"] == VERSION
    assert f"none yet at {environment['DATABASE_URL']}" in checks["gallery"]["detail"]
    assert "DATABASE_URL" in checks["gallery"]["advice"]
    assert " GiB free at " in checks["gallery's disk"]["detail"]
    assert " GiB free at " in checks["temporary folder"]["detail"]
    assert "is free" in checks["face_detection"]["detail"]
    assert not list(tmp_path.iterdir())


def test_it_sees_running_services(pair: Pair) -> None:
    environment = {
        **pair.detection.environment,
        "FACE_DETECTION_PORT": str(pair.detection.port),
        "FEATURE_EXTRACTION_PORT": str(pair.extraction.port),
    }
    status, checks = ran(environment)
    assert status == 0, checks
    assert checks["gallery"]["detail"] == f"0 samples in {environment['DATABASE_URL']}"
    assert checks["face_detection"]["detail"] == f"ready at {pair.url}: Facenet, 0 samples"
    assert checks["feature_extraction"]["detail"] == f"ready at {pair.extraction.url}: Facenet"
    status, checks = ran({}, "--host", pair.url)
    assert (status, list(checks)) == (0, ["service"])


def test_it_says_what_is_wrong_and_what_to_do(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "gallery.sqlite3").write_text("no database, and long enough to look at it" * 100)
    with served((200, b"<html>")) as (url, _):
        port = url.rpartition(":")[2]
        status, checks = ran(environment | {"MODELS_DIR": str(tmp_path), "FEATURE_EXTRACTION_PORT": port})
    assert status == 1
    wrong = {name: check["advice"] for name, check in checks.items() if not check["ok"]}
    assert set(wrong) == {"models", "gallery", "feature_extraction"}
    assert "make run" in wrong["models"]
    assert "DATABASE_URL" in wrong["gallery"]
    assert "FEATURE_EXTRACTION_PORT" in wrong["feature_extraction"]


def test_a_changed_network_is_found(environment: dict[str, str], tmp_path: Path, models_dir: Path) -> None:
    for path in models_dir.iterdir():
        if path.is_file():
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "pnet.onnx").unlink()
    (tmp_path / "onet.onnx").unlink()
    (tmp_path / "onet.onnx").write_bytes(b"changed")
    status, checks = ran(environment | {"MODELS_DIR": str(tmp_path)})
    assert (status, checks["models"]["ok"]) == (1, False)
    assert set(checks["models"]["detail"].rpartition(": ")[2].split(", ")) == {"onet.onnx", "pnet.onnx"}


def test_networks_that_are_chosen_and_not_prepared_are_named(
    environment: dict[str, str], tmp_path: Path, models_dir: Path
) -> None:
    for path in models_dir.glob("*.onnx"):
        (tmp_path / path.name).symlink_to(path)
    manifest = json.loads((models_dir / "manifest.json").read_text())
    for name in ("yunet", "mobilefacenet"):
        manifest["networks"].pop(name, None)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    environment |= {"MODELS_DIR": str(tmp_path)}
    assert ran(environment)[1]["models"]["ok"]
    status, checks = ran(environment | {"DETECTOR": "yunet", "EMBEDDING_MODEL": "MobileFaceNet"})
    assert (status, checks["models"]["ok"]) == (1, False)
    named = checks["models"]["detail"].rpartition(": ")[2].split(", ")
    assert sorted(named) == ["mobilefacenet.onnx", "yunet.onnx"]
    assert ran(environment | {"DETECTOR": "centerface"})[1]["models"]["ok"]


def test_a_bad_setting_is_named(environment: dict[str, str]) -> None:
    status, checks = ran(environment | {"MIN_FACE_PX": "few"})
    assert (status, checks["settings"]["ok"]) == (1, False)
    assert "MIN_FACE_PX" in checks["settings"]["detail"]


def test_the_settings_file_that_was_read_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text(f"DATABASE_URL=sqlite:///{tmp_path / 'elsewhere'}\n")
    del environment["DATABASE_URL"]
    status, checks = ran(environment | {"RECOGNITION_SETTINGS": str(file)})
    assert status == 0
    assert f"from {file} and the environment" in checks["settings"]["detail"]
    assert f"none yet at sqlite:///{tmp_path / 'elsewhere'}" in checks["gallery"]["detail"]
    file.unlink()
    status, checks = ran(environment | {"RECOGNITION_SETTINGS": str(file)})
    assert (status, checks["settings"]["ok"]) == (1, False)
    assert str(file) in checks["settings"]["detail"]


def test_a_full_disk_is_found(tmp_path: Path) -> None:
    """Of a file in a folder that is not there yet."""
    asked: list[Path] = []

    def usage(folder: Path) -> Any:
        asked.append(folder)
        return SimpleNamespace(free=100 * 2**20)

    check = disk_space("gallery's disk", tmp_path / "new" / "gallery.sqlite3", usage)
    assert asked == [tmp_path]
    assert (check.ok, check.detail) == (False, f"0.1 GiB free at {tmp_path}")
    assert "free some space" in check.advice


@contextmanager
def another_program() -> Iterator[str]:
    """One that answers at the loopback of IPv6; gives its port."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6

    with Server(("::1", 0), BaseHTTPRequestHandler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield str(server.server_port)
        finally:
            server.shutdown()
            serving.join()


def test_a_port_of_another_program_is_found_at_the_services_own_address(environment: dict[str, str]) -> None:
    with another_program() as port:
        status, checks = ran(environment | {"FACE_DETECTION_HOST": "::1", "FACE_DETECTION_PORT": port})
        assert (status, checks["face_detection"]["ok"]) == (1, False)
        assert f"http://[::1]:{port}" in checks["face_detection"]["detail"]
    status, checks = ran(environment | {"FACE_DETECTION_HOST": "203.0.113.1"})  # nobody's: RFC 5737
    assert (status, checks["face_detection"]["ok"]) == (1, False)
    assert "203.0.113.1" in checks["face_detection"]["detail"]


def test_a_service_that_is_asked_for_must_run() -> None:
    status, checks = ran({}, "--host", f"http://127.0.0.1:{free_port()}")
    assert status == 1
    assert "recognition serve" in checks["service"]["advice"]
