"""A TCP proxy that does to the embedding service's answers what broken neighbours and networks do."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer

import numpy as np

FOR_EVER_S = 60  # longer than any test waits

Fault = Callable[["Exchange"], None]


class Exchange(BaseRequestHandler):
    """One connection: each request goes to the embedding service, and its answer to `server.fault`."""

    server: Proxy

    def handle(self) -> None:
        self.number = 0  # of requests on this connection
        with suppress(ConnectionError, TimeoutError):
            while sent := received(self.request):
                self.number += 1
                self.server.requests += 1
                with socket.create_connection(self.server.behind, timeout=FOR_EVER_S) as service:
                    service.sendall(sent)
                    self.answer = received(service)
                self.head, _, self.body = self.answer.partition(b"\r\n\r\n")
                self.server.fault(self)

    def send(self, data: bytes) -> None:
        self.request.sendall(data)

    def send_body(self, body: bytes) -> None:
        """Answer well, but for the body."""
        lines = [line for line in self.head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        self.send(b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body]))

    def drip(self, data: bytes) -> None:
        """Send a byte now and then, none of which comes later than expected."""
        for byte in data:
            self.send(bytes([byte]))
            if self.server.over.wait(0.05):
                break

    def reset(self) -> None:
        """Close so that the other side gets an error."""
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.hang_up()

    def hang_up(self) -> None:
        self.request.close()
        raise ConnectionError

    def vectors(self) -> np.ndarray | None:
        """The vectors of the answer, if it has some."""
        return np.load(io.BytesIO(self.body)) if self.body.startswith(b"\x93NUMPY") else None


class Proxy(ThreadingTCPServer):
    """Listens at `address`; `fault` may be changed at any time."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], behind: tuple[str, int]) -> None:
        super().__init__(address, Exchange)
        self.behind = behind
        self.fault: Fault = well
        self.requests = 0
        self.over = threading.Event()  # who hangs or drips stops it


@contextmanager
def proxy(behind: int, port: int = 0) -> Iterator[Proxy]:
    """Run a proxy before the service at a port of this machine."""
    with Proxy(("127.0.0.1", port), ("127.0.0.1", behind)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()


def received(connection: socket.socket) -> bytes:
    """One message with its head and its body, of a length that the head tells; nothing at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    pieces, missing = [data], int(lengths[0]) - len(body) if lengths else 0
    while missing > 0:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def changed(change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """Answer with other vectors; of the model, with a description that is as wrong."""

    def fault(exchange: Exchange) -> None:
        vectors = exchange.vectors()
        exchange.send_body(json.dumps([1]).encode() if vectors is None else npy(change(vectors)))

    return fault


def well(exchange: Exchange) -> None:
    exchange.send(exchange.answer)


def hang(exchange: Exchange) -> None:
    exchange.server.over.wait(FOR_EVER_S)
    exchange.hang_up()


def endless(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n\r\n")
    until = time.monotonic() + FOR_EVER_S
    while time.monotonic() < until:
        exchange.send(bytes(2**20))


def half(exchange: Exchange) -> None:
    exchange.send(exchange.answer[: -len(exchange.body) // 2])
    exchange.hang_up()


def drip_head(exchange: Exchange) -> None:
    exchange.drip(exchange.answer)
    exchange.hang_up()


def drip_body(exchange: Exchange) -> None:
    exchange.send(exchange.head + b"\r\n\r\n")
    exchange.drip(exchange.body)
    exchange.hang_up()


def html(exchange: Exchange) -> None:
    exchange.send(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 20\r\n\r\n<html>a proxy</html>"
    )


def error(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


def no_http(exchange: Exchange) -> None:
    exchange.send(b"220 mail.example ESMTP ready\r\n")
    exchange.hang_up()


# What no good answer comes of.
BROKEN: dict[str, Fault] = {
    "hangs": hang,
    "drips its head": drip_head,
    "drips its body": drip_body,
    "never ends": endless,
    "resets": Exchange.reset,
    "hangs up": Exchange.hang_up,
    "answers half": half,
    "answers HTML": html,
    "answers 500": error,
    "speaks no HTTP": no_http,
    "sends the wrong shape": changed(lambda vectors: vectors[:, 1:]),
    "sends too many": changed(lambda vectors: np.concatenate([vectors, vectors])),
    "sends the wrong type": changed(lambda vectors: vectors.astype(np.float64)),
    "sends NaN": changed(lambda vectors: np.full_like(vectors, np.nan)),
}


def close_after_each(exchange: Exchange) -> None:
    """Answer well, and close without having said so."""
    well(exchange)
    exchange.hang_up()


def reset_when_used_again(exchange: Exchange) -> None:
    """Keep a connection open, and reset it when the next request has arrived on it."""
    if exchange.number > 1:
        exchange.reset()
    well(exchange)


# What another try gets over.
PASSING: dict[str, Fault] = {
    "closes after each": close_after_each,
    "resets when used again": reset_when_used_again,
}
