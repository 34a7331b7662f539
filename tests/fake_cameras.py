"""Cameras and a service of the tests' own: squares for faces, and streams that break when told to."""

from __future__ import annotations

import base64
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH, HEIGHT = 320, 240
COLOURS = {"Ann": (0, 0, 255), "Ben": (255, 0, 0), "somebody": (0, 255, 0)}  # BGR
KNOWN = ("Ann", "Ben")
LENGTH = 10.0  # of vectors
BOUNDARY = b"frame"
USER, PASSWORD = "admin", "geheim"


def picture(
    *faces: tuple[str, float, float], side: int = 60, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> np.ndarray:
    """A dark picture with a square for each face: who, and where its middle is."""
    frame = np.full((size[1], size[0], 3), 40, np.uint8)
    for name, x, y in faces:
        corner = round(x - side / 2), round(y - side / 2)
        cv2.rectangle(frame, corner, (corner[0] + side, corner[1] + side), COLOURS[name], -1)
    return frame


def jpeg_of(frame: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()


def video(path: Path, frames: list[np.ndarray], rate: float = 5) -> Path:
    """Write a video; its format is that of the name."""
    coding = "mp4v" if path.suffix == ".mp4" else "MJPG"
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*coding), rate, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def rotated(path: Path, degrees: int) -> Path:
    """Let an MP4 say how it is to be turned, as phones do: in the track's header (ISO 14496-12, 8.3.2)."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = struct.pack(">9i", *(n << 16 for n in (cos, sin, 0, -sin, cos, 0)), 0, 0, 1 << 30)
    data = path.read_bytes()
    start = data.index(b"tkhd") + 4 + 4 + 5 * 4 + 8 + 8  # version 0: times, id, duration; layer and volume
    path.write_bytes(data[:start] + matrix + data[start + len(matrix) :])
    return path


def faces_of(jpeg: bytes, dimension: int) -> list[dict[str, Any]]:
    """What the service of the tests sees: squares, largest first."""
    frame = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    found = []
    for place, colour in enumerate(COLOURS.values()):
        mask = (np.abs(frame.astype(int) - colour).sum(axis=2) < 150).astype(np.uint8)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(mask)
        for x, y, w, h, pixels in boxes[1:].tolist():
            if pixels < 100:
                continue
            vector = np.zeros(dimension, np.float32)
            vector[place] = LENGTH
            points = (0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8)
            names = "left_eye", "right_eye", "nose", "mouth_left", "mouth_right"
            found.append(
                {
                    "bbox": f"{x}, {y}, {w}, {h}",
                    "confidence": 0.99,
                    "quality": 0.9,
                    "reasons": [],
                    "landmarks": {
                        each: [x + part[0] * w, y + part[1] * h]
                        for each, part in zip(names, points, strict=True)
                    },
                    "embedding": vector.tolist(),
                }
            )
    return sorted(found, key=lambda face: -int(face["bbox"].split(",")[2]))


@dataclass
class FakeService:
    """The service as a watcher sees it, with two people enrolled."""

    url: str = ""
    dimension: int = 8
    fingerprint: str = "first"
    away: bool = False
    blind: bool = False
    hang: Callable[[], object] = lambda: None  # what it does before it takes an event
    error_always: tuple[int, str] | None = None
    frames: int = 0
    refused: int = 0
    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    posted: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        if self.error_always:
            self.refused += 1
            return self.error(*self.error_always)
        if self.away:
            self.refused += 1
            return self.error(503, "embedding_unavailable")
        if path == "/ready":
            return 200, {"threshold": 9.0, "distance_range": [0.0, 2 * LENGTH]}
        if path == "/embeddings":
            self.frames += 1
            jpeg = body[body.index(b"\xff\xd8") : body.rindex(b"\xff\xd9") + 2]
            faces = [] if self.blind else faces_of(jpeg, self.dimension)
            return 200, {"model": "squares", "fingerprint": self.fingerprint, "faces": faces}
        if path == "/events":
            self.hang()
            return self.event(json.loads(body))
        if path.removeprefix("/events/") in self.events:
            return 200, self.events[path.removeprefix("/events/")]
        return self.error(404, "not_found")

    def event(self, visit: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if not visit["embeddings"]:
            return self.go_on(visit)
        if visit["fingerprint"] != self.fingerprint:
            return self.error(409, "model_changed")
        assert 1 <= len(visit["embeddings"]) <= 32
        assert base64.b64decode(visit["picture"])[:2] == b"\xff\xd8"
        name = list(COLOURS)[int(np.mean(visit["embeddings"], axis=0).argmax())]
        known = name in KNOWN
        taken = ("id", "camera", "since", "until", "frames", "bbox", "quality")
        event = {each: visit[each] for each in taken} | {
            "name": name if known else None,
            "person": f"person {name}" if known else None,
            "sample": f"sample {name}" if known else None,
            "distance": 1.5,
            "false_match": None,
            "unknown": None,
            "picture": False,
        }
        self.posted.append(event)
        self.events[event["id"]] = event
        return 200, event

    def go_on(self, visit: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if visit["id"] not in self.events:
            return self.error(404, "not_found")
        event = self.events[visit["id"]] | {each: visit[each] for each in ("since", "until", "frames")}
        self.posted.append(event)
        self.events[event["id"]] = event
        return 200, event

    def error(self, status: int, code: str) -> tuple[int, dict[str, Any]]:
        return status, {"error": code, "code": code, "detail": f"It is so: {code}.", "request_id": "1"}


class Handler(BaseHTTPRequestHandler):
    """HTTP that says nothing to anybody else."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """Forgets its threads: those of streams end with their tests."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Answer requests at a port."""
    server = Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def fake_service() -> Iterator[FakeService]:
    service = FakeService()

    class Answering(Handler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = service.answer(self.path.partition("?")[0], body)
            rendered = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(rendered)))
            self.end_headers()
            self.wfile.write(rendered)

        do_GET = do_POST

    with serving(Answering) as port:
        service.url = f"http://127.0.0.1:{port}"
        yield service


@dataclass
class Camera:
    """An MJPEG camera over HTTP with a password. What its stream does is said from outside.

    show: makes the next picture.
    breaks: how the stream is to break now: `close`, `half` (in the middle of a picture), `stall`; None: not.
    refuses: whether a new connection is refused.
    connections: how many have had a picture.
    """

    port: int = 0
    show: Callable[[], np.ndarray] = lambda: picture()
    breaks: str | None = None
    refuses: bool = False
    connections: int = 0
    refused: int = 0
    over: threading.Event = field(default_factory=threading.Event)
    pace_s: float = 0.02

    @property
    def address(self) -> str:
        return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}/video.mjpg?token={PASSWORD}"

    def stream(self, write: Callable[[bytes], Any]) -> None:
        self.connections += 1
        while not self.over.is_set():
            data = jpeg_of(self.show())
            part = b"--%s\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (
                BOUNDARY,
                len(data),
                data,
            )
            how, self.breaks = self.breaks, None
            if how == "close":
                return
            if how == "half":
                write(part[: len(part) // 2])
                return
            if how == "stall":
                self.over.wait()
                return
            write(part)
            self.over.wait(self.pace_s)


@contextmanager
def camera(show: Callable[[], np.ndarray]) -> Iterator[Camera]:
    one = Camera(show=show)
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Streaming(Handler):
        def do_GET(self) -> None:
            self.close_connection = True
            if one.refuses or self.headers.get("Authorization") != expected:
                one.refused += 1
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}")
            self.end_headers()
            with suppress(OSError):
                one.stream(self.wfile.write)

    with serving(Streaming) as port:
        one.port = port
        try:
            yield one
        finally:
            one.over.set()


def secrets_in(*texts: str) -> list[str]:
    return re.findall(PASSWORD, " ".join(texts))
