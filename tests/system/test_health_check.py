"""deploy/health.py: what a container's probes make of a service's answers."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from running import ROOT, free_port

KEY = "the-key"


class Server(HTTPServer):
    """A service that answers what it is told, and remembers what it was asked."""

    answer: tuple[int, dict[str, str]] = (200, {})
    asked: tuple[str, str | None] | None = None


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked = self.path, self.headers["Authorization"]
        status, body = self.server.answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def is_healthy(tmp_path: Path, service: str, port: int, *arguments: str, **environment: str) -> bool:
    folder = tmp_path / service
    folder.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "health.py"), *arguments],
        cwd=folder,
        env={f"{service.upper()}_PORT": str(port), **environment},
        stderr=subprocess.DEVNULL,
    )
    return done.returncode == 0


@pytest.mark.parametrize(
    ("service", "variable"), [("face_detection", "MONITOR_KEY"), ("feature_extraction", "EMBEDDING_SECRET")]
)
def test_readiness_is_asked_for_with_the_services_own_key(
    server: Server, tmp_path: Path, service: str, variable: str
) -> None:
    secrets = {"MONITOR_KEY": "another", "EMBEDDING_SECRET": "another"} | {variable: KEY}
    assert is_healthy(tmp_path, service, server.server_port, "ready", **secrets)
    assert server.asked == ("/ready", f"Bearer {KEY}")
    assert is_healthy(tmp_path, service, server.server_port, "ready")
    assert server.asked == ("/ready", None)
    assert is_healthy(tmp_path, service, server.server_port, **secrets)
    assert server.asked == ("/health", None)


@pytest.mark.parametrize(
    ("status", "code", "ready"),
    [
        (503, "gallery_unavailable", False),
        (503, "embedding_unavailable", False),
        (503, "no_face", False),
        (500, "internal_error", False),
        # Calls that put these right have to arrive, and other galleries may be fine.
        (503, "gallery_model_mismatch", True),
        (503, "model_unknown", True),
        (503, "disk_full", True),
        # It answers, if not to this one.
        (401, "unauthorized", True),
        (403, "forbidden", True),
        (429, "rate_limited", True),
    ],
)
def test_a_pod_is_not_ready_only_if_it_can_answer_nothing(
    server: Server, tmp_path: Path, status: int, code: str, ready: bool
) -> None:
    server.answer = status, {"code": code}
    assert is_healthy(tmp_path, "face_detection", server.server_port, "ready") is ready
    assert not is_healthy(tmp_path, "face_detection", server.server_port)


def test_a_service_that_is_not_there_is_neither_healthy_nor_ready(tmp_path: Path) -> None:
    port = free_port()
    assert not is_healthy(tmp_path, "face_detection", port)
    assert not is_healthy(tmp_path, "face_detection", port, "ready")
