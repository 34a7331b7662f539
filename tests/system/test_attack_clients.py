"""Many clients at once that are slow, idle, or do not read: the others are served."""

from __future__ import annotations

import resource
import select
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from running import Service, free_port, wait_until, workers_of

TIMEOUT_S = 30
THREADS = 4
MANY = 160
ROOM = 40  # connections
FILES = 220
BODY = 100_000
PIECES = 20
FAST_PIECE_S = 0.1  # makes 50 KB/s
LIMIT = 1_000_000  # bytes of one body
LARGE = LIMIT - 1000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Service]:
    """It has few threads and little room, and waits ten minutes for a request, which no test does."""
    with running(tmp_path_factory.mktemp("few"), models_dir) as few:
        yield few


@contextmanager
def running(
    folder: Path, models_dir: Path, python: str | Path = sys.executable, **more: str
) -> Iterator[Service]:
    settings = {
        "MODELS_DIR": str(models_dir),
        "DATABASE_URL": f"sqlite:///{folder / 'gallery.sqlite3'}",
        "WORKERS": "1",
        "THREADS": str(THREADS),
        "REQUEST_READ_TIMEOUT_S": "600",
        "MAX_BODY_BYTES": str(LIMIT),
        "MAX_BODIES_BYTES": str(2 * LIMIT),
    }
    started = Service("face_detection", settings | more, free_port(), folder / "log", python)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def connected(to: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", to.port), timeout=TIMEOUT_S)


def head(length: int) -> bytes:
    lines = [
        "POST /detect HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def answers(to: Service) -> bool:
    return requests.get(f"{to.url}/health", timeout=TIMEOUT_S).ok


def send_slowly(to: Service) -> bytes:
    """Send a body in two seconds; return how the answer begins."""
    with connected(to) as client:
        client.sendall(head(BODY))
        for _ in range(PIECES):
            if select.select([client], [], [], FAST_PIECE_S)[0]:
                break
            client.sendall(BODY // PIECES * b"x")
        return client.recv(12)


def test_no_slow_body_is_refused_while_there_is_a_thread(service: Service) -> None:
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            assert answers(service)

    with ThreadPoolExecutor(THREADS) as pool:
        asking = pool.submit(ask)
        slow = [pool.submit(send_slowly, service) for _ in range(THREADS - 1)]
        try:
            assert [client.result() for client in slow] == [b"HTTP/1.1 400"] * len(slow)
        finally:
            over.set()
        asking.result()


def test_a_body_that_keeps_coming_is_read_even_while_others_wait(service: Service) -> None:
    with ThreadPoolExecutor(2 * THREADS) as pool:
        slow = [pool.submit(send_slowly, service) for _ in range(2 * THREADS)]
        assert [client.result() for client in slow] == [b"HTTP/1.1 400"] * len(slow)


def test_clients_that_do_not_read_leave_threads_to_others(service: Service) -> None:
    asked = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(3 * THREADS)]
        for client in clients:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", service.port))
            client.sendall(10 * asked)  # one alone may fit into the buffers between both
        for _ in range(10):
            assert answers(service)


@pytest.mark.parametrize("sent", [b"GET / HT", head(10) + b"x"], ids=["head", "body"])
def test_unfinished_requests_hold_nobody_up_however_many(service: Service, sent: bytes) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            stack.enter_context(connected(service)).sendall(sent)
        assert answers(service)


def test_idle_connections_make_room(tmp_path: Path, models_dir: Path) -> None:
    options = {"GUNICORN_CMD_ARGS": f"--worker-connections {ROOM}"}
    with (
        running(tmp_path, models_dir, **options) as small,
        ExitStack() as stack,
        requests.Session() as session,
    ):
        kept = [stack.enter_context(requests.Session()) for _ in range(ROOM // 2)]
        for client in kept:
            assert client.get(f"{small.url}/health", timeout=TIMEOUT_S).ok
        silent = [stack.enter_context(connected(small)) for _ in range(ROOM)]
        assert session.get(f"{small.url}/health", timeout=TIMEOUT_S).ok
        assert silent[0].recv(1) == b""  # the oldest ones are closed
        assert session.get(f"{small.url}/health", timeout=TIMEOUT_S).ok


def test_connections_stay_below_the_limit_of_open_files(tmp_path: Path, models_dir: Path) -> None:
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\nulimit -n {FILES}\nexec "{sys.executable}" "$@"\n')
    limited.chmod(0o700)
    with running(tmp_path, models_dir, limited) as small, ExitStack() as stack:
        workers = workers_of(small)
        for _ in range(2 * FILES):
            stack.enter_context(connected(small))
        assert answers(small)
        assert workers_of(small) == workers
        assert "cannot be accepted" not in small.log.read_text()


def test_a_worker_that_can_open_no_more_files_goes_on(service: Service) -> None:
    (worker,) = workers_of(service)
    before = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    files = len(list(Path(f"/proc/{worker}/fd").iterdir())) + ROOM
    with ExitStack() as stack:
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (files, before[1]))
        stack.callback(resource.prlimit, worker, resource.RLIMIT_NOFILE, before)
        for _ in range(2 * ROOM):
            stack.enter_context(connected(service))
        assert answers(service)
        assert workers_of(service) == [worker]
        assert "a connection cannot be accepted: Too many open files" in service.log.read_text()


def test_a_stop_does_not_wait_for_idle_connections(tmp_path: Path, models_dir: Path) -> None:
    options = {"GUNICORN_CMD_ARGS": "--graceful-timeout 600"}
    with running(tmp_path, models_dir, **options) as stopped, connected(stopped):
        assert answers(stopped)
        assert stopped.process is not None
        stopped.process.terminate()
        assert stopped.process.wait(TIMEOUT_S) == 0


PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("media", ["application/json", "multipart/form-data; boundary=b"])
def test_bodies_are_bounded_together(service: Service, media: str, chunked: bool) -> None:
    part = PART if "form" in media else b""
    begun = head(LARGE).replace(b"application/json", media.encode())
    if chunked:
        begun = begun.replace(f"Content-Length: {LARGE}".encode(), b"Transfer-Encoding: chunked")
        begun += f"{LARGE:x}\r\n".encode()
    begun += part.ljust(LARGE - 1, b"\0")

    def refused() -> bool:
        body = {"image": LIMIT // 2 * "x"}
        answer = requests.post(f"{service.url}/detect", json=body, timeout=TIMEOUT_S)
        return answer.status_code == 429 and answer.json()["code"] == "overloaded"

    with connected(service) as oldest:
        # Less than the body fits into the buffers between both: once it is sent, the service is reading it.
        oldest.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        oldest.sendall(begun)
        wait_until(refused, service.process, service.log)
        assert answers(service)
        oldest.sendall(b"x\r\n0\r\n\r\n" if chunked else b"x")
        assert oldest.recv(12) == b"HTTP/1.1 400"  # it had room, but is no JSON, or no form
        assert not refused()


def test_an_announced_body_takes_nobodys_room(service: Service) -> None:
    announced = head(LARGE).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")
    body = {"image": LARGE * "x"}
    with ExitStack() as stack:
        for _ in range(THREADS - 1):
            client = stack.enter_context(connected(service))
            client.sendall(announced)
            assert client.recv(12) == b"HTTP/1.1 100"
        assert requests.post(f"{service.url}/detect", json=body, timeout=TIMEOUT_S).status_code == 400
