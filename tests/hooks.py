"""A server that takes webhooks, and fails as servers do."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from brokers import LIMIT_S

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Answers with what the test has told, one after the other, and then with 204."""

    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.changed:
            self.server.received.append((dict(self.headers.items()), body))
            answer = self.server.answers.pop(0) if self.server.answers else status(204)
            self.server.changed.notify_all()
        answer(self)

    def log_message(self, *_: object) -> None:
        pass


class Hook(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Answer] = []
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.changed = threading.Condition()
        self.over = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook"

    def wait(self, number: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.received) >= number, LIMIT_S), self.received

    def ids(self) -> list[str]:
        return [json.loads(body)["id"] for _, body in self.received]


def status(code: int, **headers: str) -> Answer:
    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def silence(handler: Handler) -> None:
    handler.server.over.wait(LIMIT_S)
    handler.close_connection = True


def reset(handler: Handler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()
    handler.close_connection = True
    handler.wfile = handler.rfile = open(os.devnull, "rb")  # noqa: SIM115, PTH123  nothing more to write to


def half(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 20")
    handler.close_connection = True


@contextmanager
def running_hook() -> Iterator[Hook]:
    hook = Hook()
    thread = threading.Thread(target=hook.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hook
    finally:
        hook.over.set()
        hook.shutdown()
        thread.join()
        hook.server_close()
