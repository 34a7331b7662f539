"""Starts both services, says where they are, and stops both on Ctrl-C: what `make run` runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT / "face_detection"), str(ROOT / "feature_extraction")]

from embedding import config as embedding_config  # noqa: E402  needs the path above
from recognition import config as recognition_config  # noqa: E402

STOP_LIMIT_S = 40.0  # gunicorn gives requests under way 30 s
POLL_S = 0.1

READY = """
  face recognition   {detection}
  embeddings         {extraction}

Try, in another terminal, in this folder:
  python3 test_request.py
  curl -F file=@me.jpg -F include_unknown=true {detection}/face-recognition
Ctrl-C stops both.
"""


def main() -> int:
    """Run until Ctrl-C, SIGTERM, or until one of the services ends. Returns the exit status."""
    detection = recognition_config.from_environment()
    extraction = embedding_config.from_environment()
    places = {
        "feature_extraction": (extraction.feature_extraction_host, extraction.feature_extraction_port),
        "face_detection": (detection.face_detection_host, detection.face_detection_port),
    }
    urls = [f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}" for host, port in places.values()]
    for name, (host, port) in places.items():
        if _taken(host, port):
            print(
                f"{name} cannot start: port {port} is in use; {name.upper()}_PORT sets another",
                file=sys.stderr,
            )
            return 1
    asked_for = os.environ.get("FEATURE_EXTRACTION_URL") or urls[0]
    script = str(ROOT / "prepare_models.py")
    prepare = [sys.executable, script, "--models-dir", str(detection.models_dir), "--if-missing"]
    for stopping in (signal.SIGTERM, signal.SIGHUP):  # a closed terminal is a stop as well
        signal.signal(stopping, _interrupt)
    services: list[subprocess.Popen[bytes]] = []
    try:
        if subprocess.run(prepare).returncode != 0:
            return 1
        services.append(_start("feature_extraction", os.environ))
        services.append(_start("face_detection", {**os.environ, "FEATURE_EXTRACTION_URL": asked_for}))
        while not all(_answers(url) for url in urls):
            if any(service.poll() is not None for service in services):
                return 1
            time.sleep(POLL_S)
        print(READY.format(detection=urls[1], extraction=urls[0]), flush=True)
        while all(service.poll() is None for service in services):
            time.sleep(POLL_S)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(services)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _start(folder: str, environment: os._Environ[str] | dict[str, str]) -> subprocess.Popen[bytes]:
    """Start gunicorn in a session of its own, so that Ctrl-C reaches this program alone."""
    command = [sys.executable, "-m", "gunicorn", "wsgi:app"]
    return subprocess.Popen(command, cwd=ROOT / folder, env=environment, start_new_session=True)


def _taken(host: str, port: int) -> bool:
    """Tell whether another program listens there: its answers would pass for ours."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def _answers(url: str) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _stop(services: list[subprocess.Popen[bytes]]) -> None:
    """Stop the services, the one that callers talk to first, each within STOP_LIMIT_S."""
    for service in reversed(services):
        service.terminate()
    for service in services:
        try:
            service.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            service.kill()


if __name__ == "__main__":
    sys.exit(main())
