"""The services as processes: how they start, what they hold, how they fail and stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from running import ROOT, Pair, answers, free_port, running_pair, wait_until

TIMEOUT_S = 60
MEMORY_LIMIT_KB = 500_000


def start_serve(environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Away from the checkout."""
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "recognition", "serve"],
            cwd=log.parent,
            env=os.environ | environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_starts_both_and_stops_both(tmp_path: Path, models_dir: Path, stop_signal: int) -> None:
    ports = free_port(), free_port()
    environment = {
        "FACE_DETECTION_PORT": str(ports[0]),
        "FEATURE_EXTRACTION_PORT": str(ports[1]),
        "FACE_DETECTION_HOST": "127.0.0.1",
        "FEATURE_EXTRACTION_HOST": "127.0.0.1",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
    }
    log = tmp_path / "log"
    process = start_serve(environment, log)
    wait_until(lambda: b"Ctrl-C stops both." in log.read_bytes(), process, log)
    url = f"http://127.0.0.1:{ports[0]}"
    assert f"Open {url} in a browser" in log.read_text()
    assert "Other machines" not in log.read_text()
    answer = requests.post(f"{url}/update-samples", json=[], timeout=TIMEOUT_S)
    assert answer.status_code == 200
    process.send_signal(stop_signal)
    assert process.wait(60) == 0
    assert not any(answers(f"http://127.0.0.1:{port}") for port in ports)
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(("host", "local"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")])
def test_serve_says_where_to_open_it(tmp_path: Path, models_dir: Path, host: str, local: str) -> None:
    ports = free_port(), free_port()
    environment = {
        "FACE_DETECTION_PORT": str(ports[0]),
        "FEATURE_EXTRACTION_PORT": str(ports[1]),
        "FACE_DETECTION_HOST": host,
        "FEATURE_EXTRACTION_HOST": host,
        "WORKERS": "1",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
    }
    log = tmp_path / "log"
    process = start_serve(environment, log)
    wait_until(lambda: b"Ctrl-C stops both." in log.read_bytes(), process, log)
    try:
        assert f"Open http://{local}:{ports[0]} in a browser" in log.read_text()
        everywhere = f"Other machines reach it at this machine's address, port {ports[0]}."
        assert (everywhere in log.read_text()) == (host != "::1")
        ready = requests.get(f"http://{local}:{ports[0]}/ready", timeout=TIMEOUT_S)  # asks the other service
        assert ready.status_code == 200, ready.text
    finally:
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("service", ["face_detection", "feature_extraction"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
def test_serve_does_not_start_where_another_program_listens(
    tmp_path: Path, models_dir: Path, service: str, host: str
) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as other:
        variable = service.upper()
        port = str(other.getsockname()[1])
        environment = {
            "FACE_DETECTION_PORT": str(free_port()),
            "FEATURE_EXTRACTION_PORT": str(free_port()),
            f"{variable}_HOST": host,
            f"{variable}_PORT": port,
            "MODELS_DIR": str(models_dir),
        }
        process = start_serve(environment, tmp_path / "log")
        assert process.wait(60) == 1
    assert f"{service} cannot start: port {port} is in use" in (tmp_path / "log").read_text()


def test_serve_does_not_call_an_address_of_another_machine_a_port_in_use(
    tmp_path: Path, models_dir: Path
) -> None:
    environment = {"FACE_DETECTION_HOST": "203.0.113.1", "MODELS_DIR": str(models_dir)}  # RFC 5737
    environment |= {"FACE_DETECTION_PORT": str(free_port()), "FEATURE_EXTRACTION_PORT": str(free_port())}
    process = start_serve(environment, tmp_path / "log")
    assert process.wait(60) == 1
    log = (tmp_path / "log").read_text()
    assert "face_detection cannot start: it cannot listen at 203.0.113.1" in log
    assert "in use" not in log


def test_a_bad_setting_stops_serve(tmp_path: Path) -> None:
    process = start_serve({"MAX_BODY_BYTES": "much"}, tmp_path / "log")
    assert process.wait(60) == 3
    assert (tmp_path / "log").read_text().startswith("Error: MAX_BODY_BYTES: ")


def test_the_launcher_script_serves(tmp_path: Path, models_dir: Path) -> None:
    port = free_port()
    environment = {
        "FACE_DETECTION_PORT": str(port),
        "FACE_DETECTION_HOST": "127.0.0.1",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
    }
    log = tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "face_detection.py"],
            cwd=ROOT / "face_detection",
            env=os.environ | environment,
            stdout=stream,
            stderr=stream,
        )
    wait_until(lambda: answers(f"http://127.0.0.1:{port}"), process, log)
    process.terminate()
    assert process.wait(60) == 0


@pytest.mark.parametrize("folder", ["face_detection", "feature_extraction"])
def test_a_bad_setting_stops_the_start_and_is_named(folder: str, models_dir: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "gunicorn", "wsgi:app"],
        cwd=ROOT / folder,
        env=os.environ | {"MAX_BODY_BYTES": "much", "MODELS_DIR": str(models_dir)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 3
    assert f"{folder} cannot start: MAX_BODY_BYTES" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_database_that_cannot_be_opened_stops_the_start_in_one_sentence(
    tmp_path: Path, models_dir: Path
) -> None:
    (tmp_path / "gallery.sqlite3").write_bytes(b"no database" * 1000)
    outcome = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-w", "1", "-b", f"127.0.0.1:{free_port()}", "wsgi:app"],
        cwd=ROOT / "face_detection",
        env=os.environ
        | {"MODELS_DIR": str(models_dir), "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 3
    assert "face_detection cannot start: DATABASE_URL: The database cannot be used" in outcome.stderr
    assert "File " not in outcome.stderr.split("cannot start")[0]


def test_no_serving_process_imports_the_preparations_libraries(models_dir: Path, tmp_path: Path) -> None:
    forbidden = [
        "tensorflow",
        "tf_keras",
        "keras",
        "deepface",
        "mtcnn",
        "tf2onnx",
        "torch",
    ]
    for folder in ("face_detection", "feature_extraction"):
        script = (
            "import sys; sys.path.insert(0, '.'); import wsgi; "
            f"print(sorted(set({forbidden!r}) & set(sys.modules)))"
        )
        outcome = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT / folder,
            env=os.environ
            | {"MODELS_DIR": str(models_dir), "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert outcome.stdout.strip() == "[]"


def test_every_process_stays_small(
    pair: Pair, photographs: dict[str, list[Path]], as_base64: Callable[[Path], str]
) -> None:
    body = {"image": as_base64(photographs["madonna"][0])}
    for _ in range(20):
        assert requests.post(f"{pair.url}/face-recognition", json=body, timeout=TIMEOUT_S).ok
    for service in (pair.detection, pair.extraction):
        assert service.process is not None
        children = (
            Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
        )
        assert len(children) == 2
        for pid in children:
            status = Path(f"/proc/{pid}/status").read_text()
            (resident,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
            assert int(resident) < MEMORY_LIMIT_KB


def test_a_worker_that_dies_takes_no_metrics_with_it(tmp_path: Path, models_dir: Path) -> None:
    with running_pair(tmp_path, models_dir) as pair:
        service = pair.extraction
        assert service.process is not None
        children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
        first = children.read_text().split()
        os.kill(int(first[0]), signal.SIGTERM)
        wait_until(
            lambda: first[0] not in children.read_text().split() and len(children.read_text().split()) == 2,
            service.process,
            service.log,
        )
        for _ in range(8):
            assert requests.get(f"{service.url}/ready", timeout=TIMEOUT_S).ok
        assert "embedding_requests_total" in requests.get(f"{service.url}/metrics", timeout=TIMEOUT_S).text


def test_the_embedding_service_may_die_and_come_back(
    tmp_path: Path,
    models_dir: Path,
    photographs: dict[str, list[Path]],
    as_base64: Callable[[Path], str],
) -> None:
    image = as_base64(photographs["madonna"][0])
    with running_pair(tmp_path, models_dir) as pair:
        sample = {"id": "m", "name": "madonna", "image": image}
        assert requests.post(f"{pair.url}/update-samples", json=[sample], timeout=TIMEOUT_S).ok
        pair.extraction.kill()
        for path, body in (
            ("/face-recognition", {"image": image}),
            ("/update-samples", [sample | {"id": "not stored"}]),
        ):
            answer = requests.post(pair.url + path, json=body, timeout=TIMEOUT_S)
            assert answer.status_code == 503
            assert answer.json()["code"] == "embedding_unavailable"
            assert "Retry-After" in answer.headers
        assert requests.get(f"{pair.url}/samples/not%20stored", timeout=TIMEOUT_S).status_code == 404
        assert requests.get(f"{pair.url}/health", timeout=TIMEOUT_S).ok
        answer = requests.get(f"{pair.url}/ready", timeout=TIMEOUT_S)
        assert (answer.status_code, answer.json()["code"]) == (503, "embedding_unavailable")
        pair.extraction.start()
        assert requests.get(f"{pair.url}/ready", timeout=TIMEOUT_S).ok
        answer = requests.post(f"{pair.url}/face-recognition", json={"image": image}, timeout=TIMEOUT_S)
        assert [face["id"] for face in answer.json()] == ["m"]
