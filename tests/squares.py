"""Pictures of squares, which are taken for faces, and CompreFace's dialect over a service that sees them so.

A square's red says whose face it is: the vectors of two reds are known, and so is their distance. Its blue
says how sure the detector is. All around is white.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flask import Flask
from flask.testing import FlaskClient
from numpy.typing import NDArray
from PIL import Image
from werkzeug.test import TestResponse

from recognition.app import create_app
from recognition.config import read
from recognition.faces import Box, Face
from recognition.gallery import Gallery
from serving.attributes import Attributes
from serving.model import Model
from serving.readers import every_format

MODEL = Model("a model", 4, 8, 9.0, (0.0, 20.0), "fingerprint")
PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)  # of landmarks
SURE = 0.99
BLUE = 200  # of a square of whose face the detector is certain
KEYS = {
    "recognition": "3e8f0e5a-77aa-4c0b-9d39-08c1f1a3a001",
    "detection": "3e8f0e5a-77aa-4c0b-9d39-08c1f1a3a002",
    "verification": "3e8f0e5a-77aa-4c0b-9d39-08c1f1a3a003",
}
RECOGNITION, DETECTION, VERIFICATION = KEYS.values()
UNKNOWN = "3e8f0e5a-77aa-4c0b-9d39-08c1f1a3afff"
every_format()


@dataclass(frozen=True)
class Square:
    """A face: how red it is, how large, and how sure."""

    red: int = 50
    side: int = 60
    confidence: float = SURE


def picture(*squares: Square, height: int = 120) -> NDArray[np.uint8]:
    """Squares beside each other, 20 px between them and around."""
    pixels = np.full((height, 20 + sum(square.side + 20 for square in squares) or 40, 3), 255, np.uint8)
    left = 20
    for square in squares:
        pixels[20 : 20 + square.side, left : left + square.side] = (
            square.red,
            0,
            round(BLUE * square.confidence),
        )
        left += square.side + 20
    return pixels


def encoded(pixels: NDArray[np.uint8], form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form, **options)
    return stream.getvalue()


def png(*squares: Square) -> bytes:
    return encoded(picture(*squares))


ONE, NONE = png(Square()), png()


def detector(pixels: NDArray[np.uint8]) -> list[Face]:
    """Find the squares: what is not as blue as white, but for what reaches from one side to the other."""
    there = pixels[:, :, 2].astype(int) < (BLUE + 255) // 2
    edges = np.flatnonzero(np.diff(np.pad(there.any(axis=0).astype(int), 1)))
    faces = []
    for left, right in edges.reshape(-1, 2):
        rows = np.flatnonzero(there[:, left:right].any(axis=1))
        top, bottom = rows[0], rows[-1] + 1
        if right - left == pixels.shape[1]:
            continue
        blue = int(pixels[(top + bottom) // 2, (left + right) // 2, 2])
        width, height = right - left, bottom - top
        landmarks = (PLACES * (width, height) + (left, top)).astype(np.float32)
        box = Box(float(left), float(top), float(width), float(height))
        faces.append(Face(box, min(blue / BLUE, 1.0), landmarks))
    return faces


class Embedder:
    """The vector of a red: on a quarter of a circle of radius 10. `guess`: at every face's age and gender."""

    def __init__(self, guess: Attributes | None = None) -> None:
        self.guess = guess

    def model(self, name: str | None = None) -> Model:
        return MODEL

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        middle = model.input_size // 2
        return np.array([vector(crop[middle, middle, 0]) for crop in crops], np.float32).reshape(-1, 4)

    def attributes(self, crops: NDArray[np.uint8]) -> list[Attributes | None]:
        return len(crops) * [self.guess]


def vector(red: float) -> list[float]:
    angle = red / 255 * math.pi / 2
    return [10 * math.cos(angle), 10 * math.sin(angle), 0, 0]


def unit(red: float) -> list[float]:
    return [value / 10 for value in vector(red)]


def distance(one: float, other: float) -> float:
    """Of the vectors of two reds, in [0, 14.2]; they are alike below 9, which is a difference of 151."""
    return 20 * math.sin(abs(one - other) / 255 * math.pi / 4)


def entry(name: str, kind: str, key: str, gallery: str = "") -> str:
    """What the setting COMPREFACE_SERVICES says of a service."""
    bound = f":{gallery}" if gallery else ""
    return f"{name}:{kind}:{hashlib.sha256(key.encode()).hexdigest()}{bound}"


SERVICES = " ".join(entry(kind, kind, key) for kind, key in KEYS.items())


def app_of_squares(gallery: Gallery, guess: Attributes | None = None, **settings: str) -> Flask:
    """The service over a gallery, with one service in CompreFace's dialect of each kind."""
    read_settings = read({"MIN_QUALITY": "0", "COMPREFACE_SERVICES": SERVICES} | settings)
    return create_app(read_settings, detector=detector, embedder=Embedder(guess), gallery=gallery)


@dataclass(frozen=True)
class Caller:
    """Whoever calls a service of CompreFace's, with a key; None: without one."""

    client: FlaskClient
    key: str | None = RECOGNITION

    def ask(
        self,
        method: str,
        path: str,
        *,
        file: bytes | None = None,
        name: str = "image.jpg",
        form: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> TestResponse:
        """Send a request to a path under /api/v1; file: a picture in a form, beside what `form` has."""
        if file is not None or form is not None:
            parts = {"file": (io.BytesIO(file), name)} if file is not None else {}
            more["data"] = {**parts, **(form or {})}
            more["content_type"] = "multipart/form-data"
        key = {} if self.key is None else {"x-api-key": self.key}
        return self.client.open(
            f"/api/v1{path}", method=method, headers={**key, **(headers or {})}, buffered=True, **more
        )

    def ok(self, method: str, path: str, status: int = 200, **more: Any) -> Any:
        """Send a request and return the JSON of its answer."""
        answer = self.ask(method, path, **more)
        assert answer.status_code == status, answer.data
        assert answer.mimetype == "application/json"
        return answer.json

    def add(self, subject: str, *squares: Square, **more: Any) -> str:
        """Add an example, and return its id."""
        added = self.ok(
            "POST",
            "/recognition/faces",
            201,
            file=png(*(squares or (Square(),))),
            query_string={"subject": subject},
            **more,
        )
        image_id: str = added["image_id"]
        assert added == {"image_id": image_id, "subject": subject}
        return image_id


def uploaded(data: bytes, name: str = "image.jpg") -> tuple[io.BytesIO, str]:
    """A file of a form; made anew for each request, since it is read."""
    return io.BytesIO(data), name
