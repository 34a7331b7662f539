"""Both services as processes, with keys, a secret and a JSON log: what they refuse, write down and count."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner
from PIL import Image

from recognition.__main__ import cli
from recognition.embedder import EmbeddingClient
from recognition.errors import EmbeddingUnavailable
from running import ROOT, Pair, Service, answers, free_port, running_pair, wait_until
from serving import keys

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
        "LOG_FORMAT": "json",
        "ALLOW_GET_CLEAR": "0",
        "DEFAULT_EXPIRES_DAYS": "30",
    }
    with running_pair(folder, models_dir, **settings) as pair:
        yield pair


def lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines()]


def raw(service: Service, sent: bytes) -> bytes:
    """Send these bytes over a connection of their own, and read until the service closes it."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


def a_picture() -> str:
    stream = io.BytesIO()
    Image.effect_noise((100, 100), 90).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


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
    assert "no keys are set" not in guarded.detection.log.read_text()


def test_the_command_line_sends_its_key(guarded: Pair) -> None:
    for key, status, told in ((KEY, 0, ""), (WATCHER, 3, "scope"), (STRANGER, 3, "key"), ("", 3, "key")):
        listed = ["samples", "list", "--host", guarded.url]
        by_option = CliRunner().invoke(cli, [*listed, "--key", key])
        by_variable = CliRunner(env={"API_KEY": key}).invoke(cli, listed)
        for result in (by_option, by_variable):
            assert (result.exit_code, told in result.stderr) == (status, True), result.output
            assert key == "" or key not in result.output


def test_without_keys_the_log_says_so(pair: Pair) -> None:
    assert pair.detection.log.read_text().count("no keys are set") == 1


def test_the_log_says_how_long_things_are_kept(pair: Pair, guarded: Pair) -> None:
    assert guarded.detection.log.read_text().count("is deleted after 30 days") == 1
    assert "DEFAULT_EXPIRES_DAYS" not in pair.detection.log.read_text()


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


JANE: dict[str, Any] = {"id": "private-id", "name": "Jane-Doe", "metadata": {"consent": "Jane-Doe"}}
ABOUT_PEOPLE = (
    ("POST", "/persons", JANE),
    ("POST", "/persons", JANE),  # there is one with this id already
    ("GET", "/persons?q=Jane-Doe", None),
    ("GET", "/persons/private-id", None),
    ("PATCH", "/persons/private-id", {"name": "Jane-Doe"}),
    ("POST", "/persons", JANE | {"id": "private-id-2"}),
    ("PATCH", "/samples/private-id", {"name": "Jane-Doe"}),  # two people have it
    ("GET", "/samples/private-id/face", None),
    ("POST", "/persons/private-id-2/merge", {"into": "private-id"}),
    ("POST", "/persons/private-id/unmerge", {"id": "private-id-2", "name": "Jane-Doe", "revision": 1}),
    ("GET", "/persons/private-id/export", None),
    ("GET", "/doctor", None),
    ("POST", "/galleries", {"name": "Jane-Doe"}),
    ("GET", "/persons?gallery=Jane-Doe", None),
    ("DELETE", "/galleries/Jane-Doe", None),
    ("DELETE", "/persons/private-id?receipt=1", None),
)


def test_no_log_has_a_key_a_secret_a_picture_or_a_name(guarded: Pair) -> None:
    picture = a_picture()
    private = ["private-id", "Jane-Doe", KEY, WATCHER, STRANGER, SECRET, KEPT.digest.hex()]
    private += [picture[start : start + 24] for start in range(0, len(picture) - 24, 24)]
    body = [{"id": "private-id", "name": "Jane-Doe", "image": picture}]
    url = guarded.url
    for headers in (ADMIN, {"x-api-key": STRANGER}, {"x-api-key": WATCHER}):
        ids = headers | {"X-Request-Id": "asks-everything"}
        requests.post(f"{url}/update-samples", json=body, headers=ids, timeout=TIMEOUT_S)
        requests.post(f"{url}/update-samples", json=[*body, {"id": 1}], headers=ids, timeout=TIMEOUT_S)
        requests.post(f"{url}/face-recognition", json={"image": picture}, headers=ids, timeout=TIMEOUT_S)
        requests.post(f"{url}/detect?{picture}", data=picture, headers=ids, timeout=TIMEOUT_S)
        requests.get(f"{url}/samples/private-id?x={KEY}", headers=ids, timeout=TIMEOUT_S)
        file = {"file": ("Jane-Doe.jpg", base64.b64decode(picture), "image/jpeg")}
        for path in ("/samples", "/corrections"):
            for strict in ("true", "false"):
                form = {"name": "Jane-Doe", "metadata": '"private-id"', "strict": strict}
                requests.post(url + path, data=form, files=file, headers=ids, timeout=TIMEOUT_S)
        for method, path, sent in ABOUT_PEOPLE:
            requests.request(method, url + path, json=sent, headers=ids, timeout=TIMEOUT_S)
        requests.delete(f"{url}/samples?name=Jane-Doe", headers=ids, timeout=TIMEOUT_S)
        requests.get(f"{url}/Jane-Doe/{KEY}", headers=ids, timeout=TIMEOUT_S)
    # What is no HTTP: a picture where a request should begin, a chunk or a header that is none.
    head = f"POST /detect HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nx-api-key: {KEY}\r\n"
    chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
    for service in (guarded.detection, guarded.extraction):
        raw(service, picture.encode() + b"\r\n\r\n")
        raw(service, f"GET /{picture}\r\n\r\n".encode())
        raw(service, f"GET / HTTP/1.1\r\nHost: x\r\nx-api-key : {KEY}\r\n\r\n".encode())
        raw(service, f"GET / HTTP/1.1\r\nHost: x\r\nx-api-key: \x00{KEY}\r\n\r\n".encode())
    text = picture.encode()
    for broken in (text + b"\r\n", text[:100], b"1000\r\n" + text[:500], b"64\r\n" + text[:200]):
        answer = raw(guarded.detection, chunked + broken)
        assert answer.split()[1] == b"400"
    requests.get(f"{url}/health", headers={"X-Request-Id": "the-last"}, timeout=TIMEOUT_S)
    log = guarded.detection.log
    wait_until(lambda: "the-last" in log.read_text(), guarded.detection.process, log)
    for service in (guarded.detection, guarded.extraction):
        text = service.log.read_text()
        assert [hidden for hidden in private if hidden in text] == []
        refused = [line["ip"] for line in lines(service) if line["message"] == "refused"]
        assert refused == ["127.0.0.1"] * 4  # it is told that there was something
    assert not [line for line in lines(guarded.detection) if line["level"] == "ERROR"]
    assert {line["status"] for line in lines(guarded.detection) if "status" in line} >= {
        200,
        400,
        401,
        403,
        404,
    }


def _answered(service: Service, request_id: str) -> list[dict[str, Any]]:
    """The lines of a POST under this id; that it asked for the model first, from time to time, is another."""
    told = [line for line in lines(service) if line.get("request_id") == request_id]
    return [line for line in told if line.get("method") == "POST"]


def test_both_logs_are_json_and_tell_of_one_request_under_one_id(
    guarded: Pair, photographs: dict[str, list[Path]]
) -> None:
    with photographs["madonna"][0].open("rb") as picture:
        answer = requests.post(
            f"{guarded.url}/face-recognition",
            files={"file": picture},
            headers=ADMIN | {"X-Request-Id": "one-request"},
            timeout=TIMEOUT_S,
        )
    assert answer.ok
    for service in (guarded.detection, guarded.extraction):
        answered = partial(_answered, service, "one-request")
        wait_until(lambda answered=answered: bool(answered()), service.process, service.log)  # type: ignore[misc]
        (line,) = answered()
        assert {"time", "level", "message", "ms", "embed_ms", "faces"} <= set(line)
        assert (line["method"], line["status"], line["faces"]) == ("POST", 200, 1)
    assert line["route"] == "/embeddings"
    assert {line["logger"] for line in lines(guarded.detection)} >= {"gunicorn.error", "serving.observe"}


def test_metrics_are_those_of_all_workers_and_outlive_one(guarded: Pair) -> None:
    service = guarded.detection

    def told(name: str) -> float:
        answer = requests.get(f"{service.url}/metrics", headers={"x-api-key": WATCHER}, timeout=TIMEOUT_S)
        answer.raise_for_status()
        return sum(float(line.split()[-1]) for line in answer.text.splitlines() if line.startswith(name))

    counted = 'recognition_requests_total{route="/samples/count",status="200"}'
    before = told(counted)
    for _ in range(8):
        assert requests.get(f"{service.url}/samples/count", headers=ADMIN, timeout=TIMEOUT_S).ok
    assert told(counted) == before + 8
    assert service.process is not None
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
    first = children.read_text().split()[0]
    os.kill(int(first), 9)
    wait_until(
        lambda: first not in children.read_text().split() and len(children.read_text().split()) == 2,
        service.process,
        service.log,
    )
    assert told(counted) == before + 8


def test_what_a_dead_worker_was_doing_is_no_longer_under_way(
    tmp_path: Path, models_dir: Path, photographs: dict[str, list[Path]]
) -> None:
    picture = photographs["madonna"][0].read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        environment = {
            "FEATURE_EXTRACTION_URL": f"http://127.0.0.1:{never_answers.getsockname()[1]}",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
            "MODELS_DIR": str(models_dir),
            "WORKERS": "1",
        }
        service = Service("face_detection", environment, free_port(), tmp_path / "log")

        def running() -> bool:
            """Tell whether a request is at work; the metrics answer although the other service hangs."""
            text = requests.get(f"{service.url}/metrics", timeout=TIMEOUT_S).text
            return "\nrecognition_running 1.0\n" in text

        service.start()
        try:
            assert service.process is not None
            children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children")
            (worker,) = children.read_text().split()
            with socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT_S) as asks:
                url = f"{service.url}/face-recognition"
                request = requests.Request("POST", url, files={"file": picture}).prepare()
                assert isinstance(request.body, bytes)
                lines = ["POST /face-recognition HTTP/1.1\r\nHost: x\r\n"]
                lines += [f"{name}: {value}\r\n" for name, value in request.headers.items()]
                asks.sendall("".join([*lines, "\r\n"]).encode() + request.body)
                wait_until(running, service.process, service.log)
                os.kill(int(worker), 9)
            wait_until(
                lambda: worker not in children.read_text().split() and answers(service.url),
                service.process,
                service.log,
            )
            assert not running()
        finally:
            service.stop()


@pytest.mark.parametrize(
    ("folder", "variable", "value"),
    [
        ("face_detection", "API_KEYS", f"door:recognise:{KEY}"),
        ("face_detection", "EMBEDDING_SECRET", "short-secret"),
        ("feature_extraction", "EMBEDDING_SECRET", "short-secret"),
    ],
    ids=["a key itself", "a short secret", "the other's short secret"],
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
