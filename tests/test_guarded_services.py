"""Both services as processes, with keys and a secret: what they refuse, and what they say of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from recognition import keys
from recognition.embedder import EmbeddingClient
from recognition.errors import EmbeddingUnavailable
from running import ROOT, Pair, free_port, running_pair

TIMEOUT_S = 60
SECRET = "the-secret-between-the-services-0123456789"
KEY, KEPT = keys.new("the-door", "admin")
WATCHER, WATCHES = keys.new("the-watcher", "monitor")
STRANGER = "Stranger" * 6
ADMIN = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "keys").write_text(f"{KEPT.entry()}\n{WATCHES.entry()}\n")
    settings = {
        "API_KEYS_FILE": str(folder / "keys"),
        "EMBEDDING_SECRET": SECRET,
        "ALLOW_GET_CLEAR": "0",
    }
    with running_pair(folder, models_dir, **settings) as pair:
        yield pair


def test_a_key_and_the_secret_let_a_recognition_through(
    guarded: Pair, photographs: dict[str, list[Path]], as_base64: Callable[[Path], str]
) -> None:
    image = as_base64(photographs["madonna"][0])
    sample = {"id": "m", "name": "madonna", "image": image}
    for path, body in (("/update-samples", [sample]), ("/face-recognition", {"image": image})):
        assert requests.post(guarded.url + path, json=body, timeout=TIMEOUT_S).status_code == 401
        answer = requests.post(guarded.url + path, json=body, headers=ADMIN, timeout=TIMEOUT_S)
        assert answer.status_code == 200, answer.text
    assert [face["id"] for face in answer.json()] == ["m"]
    ready = requests.get(f"{guarded.url}/ready", headers={"x-api-key": WATCHER}, timeout=TIMEOUT_S)
    assert (ready.status_code, ready.json()["authentication"]) == (200, True)
    assert "authentication is off" not in guarded.detection.log.read_text()


def test_without_keys_the_log_says_so(pair: Pair) -> None:
    assert pair.detection.log.read_text().count("authentication is off") == 1


def test_a_stranger_is_answered_before_the_body_comes(guarded: Pair) -> None:
    for key, status in ((STRANGER, b"401"), (WATCHER, b"403")):
        head = f"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nx-api-key: {key}\r\n"
        with socket.create_connection(("127.0.0.1", guarded.detection.port), timeout=TIMEOUT_S) as connection:
            connection.sendall(head.encode() + b"Content-Length: 60000000\r\n\r\n")
            assert connection.recv(65536).split()[1] == status


def test_the_embedding_service_asks_for_the_secret(guarded: Pair) -> None:
    url = guarded.extraction.url
    assert requests.get(f"{url}/health", timeout=TIMEOUT_S).status_code == 200
    bad = ({}, {"Authorization": f"Bearer {SECRET}x"}, {"Authorization": SECRET}, ADMIN)
    for method, path in (("GET", "/"), ("GET", "/model"), ("GET", "/metrics"), ("POST", "/embeddings")):
        for headers in bad:
            answer = requests.request(method, url + path, headers=headers, timeout=TIMEOUT_S)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert SECRET not in answer.text
    right = {"Authorization": f"Bearer {SECRET}"}
    assert requests.get(f"{url}/model", headers=right, timeout=TIMEOUT_S).status_code == 200
    client = EmbeddingClient(url, connect_timeout_s=5, read_timeout_s=5, secret="another")
    with pytest.raises(EmbeddingUnavailable, match="status 401"):
        client.model()


def test_the_client_script_sends_the_key_it_is_given(guarded: Pair) -> None:
    command = [sys.executable, str(ROOT / "test_request.py"), "--host", guarded.url, "clear"]
    for key, status in ((KEY, 0), (WATCHER, 1), ("", 1)):
        environment = os.environ | {"API_KEY": key}
        outcome = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert outcome.returncode == status, outcome.stderr


@pytest.mark.parametrize(
    ("folder", "variable", "value"),
    [
        ("face_detection", "API_KEYS", f"door:recognise:{KEY}"),
        ("face_detection", "EMBEDDING_SECRET", "short-secret"),
        ("feature_extraction", "EMBEDDING_SECRET", "short-secret"),
    ],
)
def test_a_bad_key_or_secret_stops_the_start_and_is_not_shown(
    folder: str, variable: str, value: str, models_dir: Path
) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{free_port()}", "wsgi:app"],
        cwd=ROOT / folder,
        env=os.environ | {variable: value, "MODELS_DIR": str(models_dir)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 3
    assert f"{folder} cannot start: {variable}: " in outcome.stderr
    assert value.rpartition(":")[2] not in outcome.stderr
