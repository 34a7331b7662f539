"""Clients that send slowly, or not at all, or take no answer: they hold nobody else up."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import requests

from galleries import MODEL, a_sample, vectors_of
from recognition.gallery import open_gallery
from running import Service, free_port

TIMEOUT_S = 30
LIMIT_S = 0.5
THREADS = 2
MANY = 2 * THREADS
LARGE = 200  # samples, with 12 MB of metadata together


def service(folder: Path, models_dir: Path, limit_s: float) -> Service:
    """face_detection with few threads, where a request may take `limit_s` to arrive."""
    settings = {
        "MODELS_DIR": str(models_dir),
        "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
        "WORKERS": "1",
        "THREADS": str(THREADS),
        "REQUEST_READ_TIMEOUT_S": str(limit_s),
    }
    return Service("face_detection", settings, free_port(), folder / "log")


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Service]:
    """It waits half a second for a request, and has much to answer."""
    folder = tmp_path_factory.mktemp("impatient")
    with closing(open_gallery(f"sqlite:///{folder / 'gallery.sqlite3'}", lock_timeout_s=5)) as gallery:
        samples = [a_sample(str(n), metadata=60_000 * "x") for n in range(LARGE)]
        gallery.upsert(samples, vectors_of(*range(LARGE)), MODEL)
    running = service(folder, models_dir, LIMIT_S)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Service]:
    """It waits ten minutes for a request, which no test does."""
    running = service(tmp_path_factory.mktemp("patient"), models_dir, 600)
    try:
        running.start()
        yield running
    finally:
        running.stop()


def connected(to: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", to.port), timeout=TIMEOUT_S)


def head(length: int) -> bytes:
    lines = [
        "POST /face-recognition HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def everything(client: socket.socket) -> bytes:
    """What the service sends until it closes the connection."""
    answer = b""
    with suppress(ConnectionResetError):
        while piece := client.recv(65536):
            answer += piece
    return answer


def is_dropped(client: socket.socket) -> bool:
    """Wait for the service to reset the connection, and read nothing."""
    poll = select.poll()
    poll.register(client, select.POLLHUP)
    return bool(poll.poll(TIMEOUT_S * 1000))


def answers(to: Service) -> bool:
    return requests.get(f"{to.url}/health", timeout=TIMEOUT_S).json()["status"] == "ok"


def test_more_unfinished_heads_than_threads_are_closed_in_time(impatient: Service) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(impatient)) for _ in range(MANY)]
        for client in clients:
            client.sendall(head(10)[:-2])
        assert answers(impatient)
        assert [everything(client) for client in clients] == [b""] * MANY


def test_an_unfinished_body_is_a_408(impatient: Service) -> None:
    with connected(impatient) as client:
        client.sendall(head(10) + b"123")
        start, _, body = everything(client).partition(b"\r\n\r\n")
    assert start.startswith(b"HTTP/1.1 408 ")
    answer = json.loads(body)
    assert set(answer) == {"error", "code", "detail", "request_id"}
    assert answer["code"] == "request_timeout"


@pytest.mark.parametrize("part", ["head", "body", "chunks"])
def test_a_byte_now_and_then_does_not_extend_the_limit(impatient: Service, part: str) -> None:
    begun = {
        "head": b"GET /health HTTP/1.1\r\nX: ",
        "body": head(10**6),
        "chunks": head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked"),
    }[part]
    with connected(impatient) as client:
        client.sendall(begun)
        for _ in range(10 * TIMEOUT_S):
            if select.select([client], [], [], 0.1)[0]:
                break
            client.sendall(b"1\r\nx\r\n" if part == "chunks" else b"x")
        else:
            pytest.fail("it is still being read")
        assert everything(client).startswith(b"" if part == "head" else b"HTTP/1.1 408 ")


def test_clients_that_take_no_answer_lose_their_threads(impatient: Service) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(MANY)]
        for client in clients:
            client.settimeout(TIMEOUT_S)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", impatient.port))
            client.sendall(f"GET /samples?limit={LARGE} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert answers(impatient)
        assert all(is_dropped(client) for client in clients)


def test_the_log_says_nothing_of_slow_clients_but_their_lines(impatient: Service) -> None:
    assert "Traceback" not in impatient.log.read_text()


def test_a_connection_is_kept_longer_than_one_request_may_take(impatient: Service) -> None:
    until = time.monotonic() + 2 * LIMIT_S
    with connected(impatient) as client:
        while time.monotonic() < until:
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}\n"):
                piece = client.recv(65536)
                assert piece
                answer += piece


def test_a_slow_body_within_the_limit_is_read(patient: Service) -> None:
    with connected(patient) as client:
        client.sendall(head(8))
        for _ in range(8):
            assert not select.select([client], [], [], 0.05)[0]
            client.sendall(b"x")
        assert client.recv(20).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", head(10) + b"x"], ids=["nothing", "head", "body"])
def test_slow_clients_lose_their_threads_to_waiting_requests(patient: Service, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(connected(patient)).sendall(sent)
        assert answers(patient)


def test_clients_that_do_not_hang_up_keep_nobody_from_connecting(patient: Service) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(patient)) for _ in range(TIMEOUT_S)]
        for client in clients:  # gunicorn's own worker accepts nobody for two seconds after each
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for client in clients:
            assert client.recv(20).startswith(b"HTTP/1.1 200 ")


def test_an_answer_that_comes_before_the_body_arrives_whole(patient: Service) -> None:
    with connected(patient) as client:
        client.sendall(head(50_000).replace(b"application/json", b"text/plain") + 40_000 * b"x")
        answer = everything(client)
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert answer.endswith(b"}\n")


def test_a_client_learns_that_its_large_body_is_refused(patient: Service) -> None:
    body = bytes(10_000_000)  # more than the buffers between both hold
    for _ in range(20):
        answer = requests.post(f"{patient.url}/detect", data=body, timeout=TIMEOUT_S)
        assert answer.status_code == 415


def refused_again_and_again(service: Service, times: int) -> int:
    """Send large bodies of a type that is not taken; return how many are answered on one connection."""
    with connected(service) as client:
        for number in range(times):
            answer = b""
            try:
                client.sendall(head(10**6).replace(b"application/json", b"text/plain") + bytes(10**6))
                while not answer.endswith(b"}\n"):
                    piece = client.recv(65536)
                    if not piece:
                        return number
                    answer += piece
            except ConnectionError:
                return number
            assert answer.startswith(b"HTTP/1.1 415 ")
    return times


def test_a_connection_is_kept_after_a_large_body_was_refused(patient: Service) -> None:
    assert refused_again_and_again(patient, 3) == 3


def test_so_is_each_of_as_many_as_there_are_threads(patient: Service) -> None:
    with ThreadPoolExecutor(THREADS) as clients:
        kept = list(clients.map(refused_again_and_again, [patient] * THREADS, [50] * THREADS))
    assert kept == [50] * THREADS


def test_a_client_that_never_stops_sending_is_cut_off(patient: Service) -> None:
    with connected(patient) as client:
        client.sendall(head(10**13).replace(b"application/json", b"text/plain"))
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(bytes(10**6))


def test_a_stop_does_not_wait_for_slow_clients(tmp_path: Path, models_dir: Path) -> None:
    stopped = service(tmp_path, models_dir, LIMIT_S)
    stopped.start()
    with connected(stopped) as client:
        client.sendall(b"GET / HT")
        stopped.stop()
