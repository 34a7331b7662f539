"""Requests that gunicorn refuses before the application sees them: the contract's errors, and little work."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from running import Pair, Service

TIMEOUT_S = 30
HEAD = b"POST /face-recognition HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n"
SECRET = b"iVBORw0KGgo"
REFUSED = {
    "line": (SECRET + b"\r\n\r\n", 400, "invalid_request"),
    "version": (b"GET /" + SECRET + b" HTTP/9.9\r\n\r\n", 400, "invalid_request"),
    "header": (HEAD + SECRET + b"\r\n\r\n", 400, "invalid_request"),
    "line feeds": (b"GET /" + SECRET + b" HTTP/1.1\nHost: x\n\n", 400, "invalid_request"),
    "two hosts": (HEAD + b"Host: " + SECRET + b"\r\n\r\n", 400, "invalid_request"),
    "length": (HEAD + b"Content-Length: " + SECRET + b"\r\n\r\n", 400, "invalid_request"),
    "long line": (b"GET /" + SECRET + 40_000 * b"x" + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
    "endless line": (b"GET /" + SECRET + 40_000 * b"x", 414, "uri_too_long"),
    "expectation": (HEAD + b"Expect: " + SECRET + b"\r\n\r\n", 417, "expectation_failed"),
    "long header": (HEAD + b"X: " + SECRET + 10_000 * b"x" + b"\r\n\r\n", 431, "headers_too_large"),
    "headers": (HEAD + 101 * (b"X: " + SECRET + b"\r\n") + b"\r\n", 431, "headers_too_large"),
    "endless headers": (HEAD + 90_000 * b"X: 56789\r\n", 431, "headers_too_large"),
    "coding": (HEAD + b"Transfer-Encoding: " + SECRET + b"\r\n\r\n", 501, "unsupported_transfer_coding"),
}
BOTH = ("detection", "extraction")


@pytest.fixture(params=BOTH)
def service(request: pytest.FixtureRequest, session_pair: Pair) -> Service:
    running: Service = getattr(session_pair, request.param)
    return running


def connected(to: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", to.port), timeout=TIMEOUT_S)


def answers_in(client: socket.socket) -> Iterator[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of each answer until the service closes the connection."""
    received = b""
    with suppress(ConnectionResetError):
        while piece := client.recv(65536):
            received += piece
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["Content-Length"])
        yield int(first.split()[1]), headers, received[:length]
        received = received[length:]


@pytest.mark.parametrize("case", REFUSED)
def test_what_gunicorn_refuses_has_the_form_of_all_errors(service: Service, case: str) -> None:
    sent, status, code = REFUSED[case]
    with connected(service) as client:
        client.sendall(sent)
        ((answered, headers, body),) = answers_in(client)
    assert answered == status
    assert headers["Content-Type"] == "application/json"
    error = json.loads(body)
    assert set(error) == {"error", "code", "detail", "request_id"}
    assert error["code"] == code
    assert (error["error"] == "Invalid request.") == (status == 400)
    assert re.fullmatch("[0-9a-f]{32}", error["request_id"])
    assert headers["X-Request-Id"] == error["request_id"]
    assert SECRET not in body
    log = service.log.read_text()
    assert error["request_id"] in log
    assert SECRET.decode() not in log


def test_a_refusal_has_the_callers_request_id(service: Service) -> None:
    with connected(service) as client:
        client.sendall(HEAD + b"x-request-id: door-7\r\nExpect: something\r\n\r\n")
        ((status, headers, body),) = answers_in(client)
    assert (status, headers["X-Request-Id"], json.loads(body)["request_id"]) == (417, "door-7", "door-7")


def test_a_refusal_on_a_connection_that_was_kept_arrives(service: Service) -> None:
    asked = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    with connected(service) as client:
        client.sendall(asked)
        assert client.recv(12) == b"HTTP/1.1 200"
        client.sendall(b"GET /" + 100_000 * b"x")
        answers = client.makefile("rb").read()
    assert b"HTTP/1.1 414 " in answers
    assert answers.endswith(b"}\n")


def test_a_wrongly_chunked_body_that_nobody_reads_gets_one_answer(service: Service) -> None:
    with connected(service) as client:
        client.sendall(CHUNKED.replace(b"/face-recognition", b"/nowhere") + b"not a length\r\n")
        assert [status for status, _, _ in answers_in(client)] == [404]


def test_the_longest_id_and_name_fit(pair: Pair) -> None:
    longest = b"GET /samples/" + 500 * b"%F0%9F%91%A9" + b"?name=" + 1000 * b"%F0%9F%91%A9" + b" HTTP/1.1\r\n"
    with connected(pair.detection) as client:
        client.sendall(longest + b"Host: x\r\nConnection: close\r\n\r\n")
        ((status, _, body),) = answers_in(client)
    assert (status, json.loads(body)["code"]) == (400, "invalid_request")  # it takes no name


def test_a_head_may_come_byte_by_byte(service: Service) -> None:
    with connected(service) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\r\nGET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
            client.sendall(bytes([byte]))
        assert [status for status, _, _ in answers_in(client)] == [200]
