"""deploy/nginx.conf in a real nginx: how it shares requests out, what it repeats, and what it says itself."""

from __future__ import annotations

import base64
import os
import re
import shutil
import socket
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests

from galleries import PostgreSQL
from running import ROOT, Service, free_port, wait_until

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
TIMEOUT_S = 60


@contextmanager
def balancer(folder: Path, detection: list[int], extraction: list[int]) -> Iterator[tuple[str, int]]:
    """The balancer before replicas at these ports, changed as docs/scaling.md has it for machines without
    Docker: its URL for callers, and its port for face_detection."""
    outer, inner = free_port(), free_port()
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    text = re.sub(r"^ *resolver.*\n", "", text, flags=re.MULTILINE)
    for server, ports in (("face-detection:6337", detection), ("feature-extraction:5000", extraction)):
        (options,) = re.findall(rf"server {server} resolve (.*;)", text)
        replicas = "\n".join(f"server 127.0.0.1:{port} {options}" for port in ports)
        text = text.replace(f"server {server} resolve {options}", replicas)
    text = text.replace("listen 8080", f"listen 127.0.0.1:{outer}")
    text = text.replace("listen 5000", f"listen 127.0.0.1:{inner}").replace("/tmp/", f"{folder}/")
    (folder / "nginx.conf").write_text(text, encoding="utf-8")
    user = "user root; " if os.geteuid() == 0 else ""
    command = [NGINX, "-e", "stderr", "-c", str(folder / "nginx.conf"), "-g", f"{user}daemon off;"]
    with (folder / "nginx.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(lambda: takes_connections(outer), process, folder / "nginx.log")
        yield f"http://127.0.0.1:{outer}", inner
    finally:
        process.terminate()
        process.wait(TIMEOUT_S)


def takes_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def dying_replica() -> Iterator[tuple[int, list[str]]]:
    """A replica that crashes over every request: its port, and the first lines of what it was asked."""
    asked: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline().decode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1], asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("path", "tried"),
    [
        ("/face-recognition", 2),
        ("/detect", 2),
        ("/verify", 2),
        ("/update-samples", 1),  # it may have been stored before the replica died
        ("/clear-samples", 1),
    ],
)
def test_only_what_changes_nothing_is_sent_to_another_replica(path: str, tried: int, tmp_path: Path) -> None:
    with dying_replica() as (one, first), dying_replica() as (two, second):
        with balancer(tmp_path, [one, two], [free_port()]) as (url, _):
            answer = requests.post(url + path, json={}, timeout=TIMEOUT_S)
        assert len(first + second) == tried
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "2"
    assert as_the_services(answer)["code"] == "service_unavailable"


def test_an_embedding_is_asked_of_another_replica(tmp_path: Path) -> None:
    with dying_replica() as (one, first), dying_replica() as (two, second):
        with balancer(tmp_path, [free_port()], [one, two]) as (_, inner):
            requests.post(f"http://127.0.0.1:{inner}/embeddings", data=b"x", timeout=TIMEOUT_S)
        assert len(first + second) == 2


def test_what_the_balancer_itself_refuses_has_the_services_form(tmp_path: Path) -> None:
    with balancer(tmp_path, [free_port()], [free_port()]) as (url, _):
        large = requests.post(f"{url}/detect", data=bytes(64 * 1024 * 1024 + 1), timeout=TIMEOUT_S)
        assert (large.status_code, as_the_services(large)["code"]) == (413, "body_too_large")
        hidden = requests.get(f"{url}/metrics", timeout=TIMEOUT_S)
        assert (hidden.status_code, as_the_services(hidden)["code"]) == (404, "not_found")
        long = requests.get(f"{url}/health", headers={"X-Long": "x" * 40_000}, timeout=TIMEOUT_S)
        assert (long.status_code, as_the_services(long)["error"]) == (400, "Invalid request.")
        named = requests.get(f"{url}/metrics", headers={"X-Request-Id": "mine"}, timeout=TIMEOUT_S)
        assert as_the_services(named)["request_id"] == "mine"


def test_its_log_has_neither_keys_nor_names(tmp_path: Path) -> None:
    shown = ("/api/v1/recognition/subjects", "/static/app.js")
    secret = ("/recognition/subjects/Jane%20Doe", "//recognition/subjects/Jane", "/static/a-key/images/1")
    with balancer(tmp_path, [free_port()], [free_port()]) as (url, _):
        for path in (*shown, *(f"/api/v1{each}" for each in secret)):
            requests.get(url + path, timeout=TIMEOUT_S)
    log = (tmp_path / "nginx.log").read_text()
    lines = [line for line in log.splitlines() if "request_id=" in line]
    assert len(lines) == 5 and all(path in log for path in shown)
    assert "Jane" not in log and "a-key" not in log


def as_the_services(answer: requests.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert set(body) == {"error", "code", "detail", "request_id"}
    assert answer.headers["X-Request-Id"] == body["request_id"]
    return body


def test_two_replicas_of_each_service_go_on_when_one_of_each_dies(
    tmp_path: Path, models_dir: Path, postgresql: PostgreSQL, photographs: dict[str, list[Path]]
) -> None:
    ports = [free_port() for _ in range(4)]
    with (
        ExitStack() as stack,
        postgresql.database() as database,
        balancer(tmp_path, ports[:2], ports[2:]) as (url, inner),
    ):
        settings = {
            "MODELS_DIR": str(models_dir),
            "WORKERS": "1",
            "FEATURE_EXTRACTION_URL": f"http://127.0.0.1:{inner}",
            "DATABASE_URL": postgresql.url(database),
        }
        folders = ["face_detection", "face_detection", "feature_extraction", "feature_extraction"]
        replicas = [
            Service(folder, settings, port, tmp_path / f"{port}.log")
            for folder, port in zip(folders, ports, strict=True)
        ]
        for replica in replicas:
            stack.callback(replica.stop)
            replica.start()
        enrolled = [
            {"id": name, "name": name, "image": base64.b64encode(paths[0].read_bytes()).decode()}
            for name, paths in photographs.items()
        ]
        answer = requests.post(f"{url}/update-samples", json=enrolled, timeout=TIMEOUT_S)
        assert answer.json()["success"] == list(photographs)

        def recognised(number: int) -> tuple[int, list[str]]:
            body = {"image": enrolled[number % len(enrolled)]["image"], "limit": 1}
            for _ in range(2):
                # No proxy can hide that a replica died between the head and the body of its answer.
                with suppress(requests.exceptions.ChunkedEncodingError):
                    answer = requests.post(f"{url}/face-recognition", json=body, timeout=TIMEOUT_S)
                    break
            return answer.status_code, [face["name"] for face in answer.json()]

        with ThreadPoolExecutor(4) as pool:
            asked = {pool.submit(recognised, number): number for number in range(40)}
            for done, answered in enumerate(as_completed(asked)):
                assert answered.result() == (200, [enrolled[asked[answered] % len(enrolled)]["name"]])
                if done == 10:
                    replicas[0].kill()
                if done == 20:
                    replicas[2].kill()
    log = (tmp_path / "nginx.log").read_text()
    assert {f"127.0.0.1:{port}" for port in ports} <= set(re.findall(r"127\.0\.0\.1:\d+", log))
