"""The part of Frigate that is spoken to: its HTTP API and its messages, by its documentation."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class Handler(BaseHTTPRequestHandler):
    """GET /api/events/<id>/snapshot.jpg and POST /api/events/<id>/sub_label, by Frigate's documentation."""

    server: Api

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        _, api, events, event_id, what = url.path.split("/")
        assert (api, events, what) == ("api", "events", "snapshot.jpg")
        self.server.asked.append(unquote(event_id))
        self.answer(self.server.pictures.get(unquote(event_id)), "image/jpeg")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        _, api, events, event_id, what = self.path.split("/")
        assert (api, events, what) == ("api", "events", "sub_label")
        assert set(body) == {"subLabel", "subLabelScore"}
        assert 0 < body["subLabelScore"] <= 1
        assert len(body["subLabel"]) <= 100
        with self.server.changed:
            self.server.labels.append((unquote(event_id), body["subLabel"], body["subLabelScore"]))
            self.server.changed.notify_all()
        self.answer(b'{"success": true, "message": "..."}', "application/json")

    def answer(self, body: bytes | None, kind: str) -> None:
        failing = self.server.failing and self.server.failing.pop(0)
        self.send_response(failing or (404 if body is None else 200))
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


class Api(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pictures: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.labels: list[tuple[str, str, float]] = []
        self.failing: list[int] = []
        self.changed = threading.Condition()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running_api() -> Iterator[Api]:
    api = Api()
    thread = threading.Thread(target=api.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield api
    finally:
        api.shutdown()
        thread.join()
        api.server_close()


def message(event_id: str, snapshot: float, kind: str = "update", **after: object) -> bytes:
    fields = {"id": event_id, "label": "person", "has_snapshot": True, "sub_label": None}
    fields |= {"snapshot": {"frame_time": snapshot}, "frame_time": snapshot + 1, **after}
    return json.dumps({"type": kind, "before": {}, "after": fields}).encode()
