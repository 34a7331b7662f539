"""What it costs a recognition to keep the face of somebody unknown.

    python benchmarks/unknowns.py --faces 10000 --requests 100

Two services recognise the same pictures in turn, one with KEEP_UNKNOWN=1, whose gallery has so many faces of
unknown people already, five of each, and one with KEEP_UNKNOWN=0. Each picture is a photograph of one face,
each time with other pixels changed, so that it is no picture that has come before. The galleries lie in
`--folder`, whose disk matters: each face is written to it before the answer. Printed are the medians, the
median of the ratios of neighbours, and what keeping alone takes, of somebody seen before and of somebody new.
"""

from __future__ import annotations

import argparse
import base64
import os
import statistics
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the services have it
sys.path.extend(
    str(Path(__file__).resolve().parents[1] / folder) for folder in ("face_detection", "feature_extraction")
)

import numpy as np
import simplejpeg
from flask.testing import FlaskClient
from numpy.typing import NDArray

from embedding.network import Network, load
from recognition import config
from recognition.app import create_app
from recognition.detector import load_mtcnn
from recognition.faces import Box, Face, KeptFace
from recognition.gallery import Gallery, open_gallery, unknown_keeping, unknown_rows
from recognition.seeing import fingerprint_of
from recognition.strangers import Seen
from serving.model import Model
from serving.pictures import decode

ROOT = Path(__file__).resolve().parents[1]
EACH = 5  # faces of one unknown person
SIDE_PX = 256  # of a kept face, the largest there is
MONTH = timedelta(days=30)


class Embedder:
    """A network where the service expects the client of the embedding service."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def model(self, name: str | None = None) -> Model:
        """Describe it."""
        return self._network.model

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Make vectors."""
        return self._network.embed(crops)

    def attributes(self, crops: NDArray[np.uint8]) -> list[None]:
        """Guess nothing."""
        return [None] * len(crops)


def fill(gallery: Gallery, model: Model, faces: int) -> NDArray[np.float32]:
    """Let a gallery have so many unknown faces, without pictures. Returns a vector of each person."""
    random = np.random.default_rng(1)
    length = model.distance_range[1] / 2
    people = random.normal(size=(-(-faces // EACH), model.dimension))
    people *= length / np.linalg.norm(people, axis=1, keepdims=True)
    for start in range(0, len(people), 100):
        some = np.repeat(people[start : start + 100], EACH, axis=0)
        near = random.normal(size=some.shape)
        vectors = some + 0.2 * length * near / np.linalg.norm(near, axis=1, keepdims=True)
        vectors *= length / np.linalg.norm(vectors, axis=1, keepdims=True)
        seen = [Seen(0.9, f"{start} {number}".encode()) for number in range(len(vectors))]
        keep(gallery, seen, vectors.astype(np.float32), model)
    return people.astype(np.float32)


def keep(gallery: Gallery, seen: list[Seen], vectors: NDArray[np.float32], model: Model) -> None:
    """Keep faces."""
    ids = unknown_keeping.keep(gallery, seen, vectors, fingerprint_of(model), model, kept_for=MONTH)
    assert None not in ids


def recognised_s(client: FlaskClient, jpeg: str) -> float:
    """Recognise a picture; returns how long it took, in seconds."""
    start = time.perf_counter()
    answer = client.post("/face-recognition", json={"image": jpeg})
    seconds = time.perf_counter() - start
    assert answer.json == [], answer.json
    return seconds


def measure(folder: Path, models_dir: Path, faces: int, requests: int) -> None:
    """Measure, and print."""
    network = load("Facenet", models_dir, threads=2)
    detector = load_mtcnn(models_dir, threads=2)
    galleries = {kept: open_gallery(f"sqlite:///{folder}/{kept}.sqlite3", 10) for kept in (0, 1)}
    people = fill(galleries[1], network.model, faces)
    clients = {
        kept: create_app(
            config.read({"KEEP_UNKNOWN": str(kept), "MODELS_DIR": str(models_dir)}),
            detector=detector,
            embedder=Embedder(network),
            gallery=gallery,
        ).test_client()
        for kept, gallery in galleries.items()
    }
    photographs = sorted((models_dir / "demo").rglob("*.jpg"))
    took: dict[int, list[float]] = {0: [], 1: []}
    for number in range(requests + 4):
        pixels = decode(photographs[number % len(photographs)].read_bytes(), max_pixels=10**8).pixels.copy()
        pixels[0, : number // len(photographs) + 1] ^= 255
        jpeg = base64.b64encode(simplejpeg.encode_jpeg(pixels, quality=95)).decode()
        for kept in sorted(clients, key=lambda each: (each + number) % 2):
            took[kept].append(recognised_s(clients[kept], jpeg))
    without, kept_s = took[0][4:], took[1][4:]
    ratio = statistics.median(one / other for one, other in zip(kept_s, without, strict=True))
    for what, seconds in (("without", without), ("keeping", kept_s)):
        print(f"recognition, {what}: {1000 * statistics.median(seconds):.1f} ms")
    print(f"ratio: {ratio:.3f}")
    noise = np.random.default_rng(2).integers(0, 256, (SIDE_PX // 8, SIDE_PX // 8, 3), np.uint8)
    picture = simplejpeg.encode_jpeg(np.ascontiguousarray(noise.repeat(8, 0).repeat(8, 1)), quality=98)
    face = KeptFace(picture, Face(Box(0, 0, 9, 9), 1.0, np.zeros((5, 2), np.float32)))
    for what, vectors in (
        ("somebody known", people[:requests]),
        ("somebody new", np.random.default_rng(3).normal(size=(requests, network.model.dimension))),
    ):
        alone = []
        for number, vector in enumerate(vectors):
            seen = [Seen(0.95, f"{what} {number}".encode(), face)]
            start = time.perf_counter()
            keep(galleries[1], seen, vector[None].astype(np.float32), network.model)
            alone.append(time.perf_counter() - start)
        print(f"keep, {what}: {1000 * statistics.median(alone):.1f} ms, with {len(picture) / 1024:.0f} KB")
    for gallery in galleries.values():
        gallery.close()


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", type=Path, default=ROOT / "models")
    parser.add_argument(
        "--folder", type=Path, help="where the galleries are made; default: a temporary folder"
    )
    parser.add_argument("--faces", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=100)
    asked = parser.parse_args()
    unknown_rows.MAX_GROUPS = max(unknown_rows.MAX_GROUPS, 2 * asked.faces)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        measure(Path(folder), asked.models, asked.faces, asked.requests)


if __name__ == "__main__":
    main()
