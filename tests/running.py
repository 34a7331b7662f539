"""Both services as real processes on free ports of the loopback interface."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 60


@dataclass
class Service:
    """One of the services under gunicorn. `start` may be called again after `stop`: the port stays."""

    folder: str
    environment: dict[str, str]
    port: int
    log: Path
    python: str | Path = sys.executable
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [self.python, "-m", "gunicorn", "-b", f"127.0.0.1:{self.port}", "wsgi:app"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT / self.folder, env=os.environ | self.environment, stdout=log, stderr=log
            )
        wait_until(lambda: answers(self.url), self.process, self.log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(40)
            self.process = None

    def kill(self) -> None:
        """Stop it and its workers at once, as a crash would."""
        assert self.process is not None
        for pid in [self.process.pid, *workers_of(self)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


def workers_of(service: Service) -> list[int]:
    """The processes that serve, of which the first one is the oldest."""
    assert service.process is not None
    pid = str(service.process.pid)
    return [int(worker) for worker in subprocess.check_output(["ps", "-o", "pid=", "--ppid", pid]).split()]


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None, log: Path) -> None:
    """Poll a condition that a running process brings about; its log is shown when it does not."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert process is not None
        assert time.monotonic() < deadline, log.read_text()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            raise AssertionError(log.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Pair:
    """Both services, wired together, with a database of their own."""

    extraction: Service
    detection: Service
    folder: Path

    @property
    def url(self) -> str:
        return self.detection.url


def link_models(folder: Path, models_dir: Path) -> Path:
    """Make a models folder of its own of what is prepared, for what writes into the manifest."""
    folder.mkdir(exist_ok=True)
    for path in [*models_dir.glob("*.onnx"), models_dir / "demo"]:
        (folder / path.name).symlink_to(path.absolute())
    shutil.copyfile(models_dir / "manifest.json", folder / "manifest.json")
    return folder


@contextmanager
def running_pair(folder: Path, models_dir: Path, **settings: str) -> Iterator[Pair]:
    shared = {"MODELS_DIR": str(models_dir)} | settings
    extraction = Service("feature_extraction", shared, free_port(), folder / "extraction.log")
    detection = Service(
        "face_detection",
        {
            "FEATURE_EXTRACTION_URL": extraction.url,
            "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
        }
        | shared,
        free_port(),
        folder / "detection.log",
    )
    try:
        extraction.start()
        detection.start()
        yield Pair(extraction, detection, folder)
    finally:
        detection.stop()
        extraction.stop()


@contextmanager
def echoing() -> Iterator[str]:
    """Answer every request with what was asked for, and by whom: JSON with `path` and `authorization`.

    `success` is the same as text, for the client script, which prints that.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fields = {"path": self.path, "authorization": self.headers.get("Authorization")}
            body = json.dumps({**fields, "success": json.dumps(fields)}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with serving_requests(Handler) as url:
        yield url


@contextmanager
def serving_requests(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def served(*answers: tuple[int, bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Give these answers, one after the other, the last for ever: where, and what was sent to it."""
    left, sent = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            status, body = left.pop(0) if len(left) > 1 else left[0]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            pass

    with serving_requests(Handler) as url:
        yield url, sent
