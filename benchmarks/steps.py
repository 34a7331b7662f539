"""Where the milliseconds of one request go: as this service works, and as its historical form did."""

from __future__ import annotations

import base64
import io
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from embedding import network as embedding_network
from embedding import preprocess
from recognition.detector import load_mtcnn
from recognition.matching import nearest as matching
from recognition.pictures import crops
from recognition.pictures.encoded import from_base64
from serving import pictures as images

MAX_PIXELS = 64_000_000
LENGTH = 10.0  # of the vectors that are searched

Steps = dict[str, list[float]]


def _timed(steps: Steps, step: str, run: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    result = run()
    steps.setdefault(step, []).append(1000 * (time.perf_counter() - began))
    return result


def now(models: Path, threads: int, gallery: np.ndarray) -> Callable[[bytes, Steps], None]:
    """Load our detector and network; the result runs one picture and notes each step's milliseconds."""
    detect = load_mtcnn(models, threads=threads)
    network = embedding_network.load("Facenet", models, threads=threads)
    norms = matching.squared_norms(gallery)

    def run(data: bytes, steps: Steps) -> None:
        text = base64.b64encode(data).decode("ascii")
        raw = _timed(steps, "base64", lambda: from_base64(text))
        pixels = _timed(steps, "decode", lambda: images.decode(raw, MAX_PIXELS).pixels)
        faces = _timed(steps, "detect", lambda: detect(pixels))[:1]
        cut = _timed(steps, "crop", lambda: crops.crop_faces(pixels, faces, network.model.input_size))
        sent = _timed(steps, "pack", lambda: _npy(cut))
        vectors = _timed(steps, "embed", lambda: network.embed(np.load(io.BytesIO(sent))))
        _timed(steps, "search", lambda: matching.nearest(vectors, gallery, norms, 1))

    return run


def before(gallery: np.ndarray) -> Callable[[bytes, Steps], None]:
    """Load the `mtcnn` package and deepface's Keras network; the result runs one picture as once was done.

    The picture is searched at its full size, the face travels as a PNG, and each vector of the gallery is
    read from JSON text and compared in Python.
    """
    from deepface import DeepFace
    from mtcnn import MTCNN

    detect = MTCNN().detect_faces
    keras = DeepFace.build_model("Facenet")
    rows = [json.dumps(vector.tolist()) for vector in gallery]

    def crop(pixels: np.ndarray, faces: list[dict[str, Any]]) -> np.ndarray:
        x, y, w, h = faces[0]["box"] if faces else (0, 0, pixels.shape[1], pixels.shape[0])
        x, y = max(x, 0), max(y, 0)
        return np.asarray(cv2.resize(pixels[y : y + h, x : x + w], (160, 160)))

    def run(data: bytes, steps: Steps) -> None:
        text = base64.b64encode(data).decode("ascii")
        raw = _timed(steps, "base64", lambda: base64.b64decode(text))
        pixels = _timed(steps, "decode", lambda: np.array(Image.open(io.BytesIO(raw)).convert("RGB")))
        faces = _timed(steps, "detect", lambda: detect(pixels))
        cut = _timed(steps, "crop", lambda: crop(pixels, faces))
        sent = _timed(steps, "pack", lambda: cv2.imencode(".png", cut[:, :, ::-1])[1].tobytes())
        vector = _timed(steps, "embed", lambda: keras.forward(preprocess.standardise(_png(sent)[None])))
        probe = np.asarray(vector).ravel()
        _timed(steps, "search", lambda: min(float(np.linalg.norm(json.loads(row) - probe)) for row in rows))

    return run


def _npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _png(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]


def profile(pictures: Sequence[bytes], models: Path, threads: int, samples: int, peers: bool) -> list[str]:
    """Measure both ways on the same pictures, alternating, and render the medians as Markdown."""
    drawn = np.random.default_rng(0).normal(size=(samples, 128))
    gallery = (LENGTH * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    ways = {"now": now(models, threads, gallery)}
    if peers:
        ways["before"] = before(gallery)
    times: dict[str, Steps] = {way: {} for way in ways}
    for data in [pictures[0], *pictures]:
        for way, run in ways.items():
            run(data, times[way])
    medians = {
        way: {step: statistics.median(ms[1:]) for step, ms in steps.items()} for way, steps in times.items()
    }
    lines = [
        f"One request, step by step, medians of {len(pictures)} photographs in one process, {samples} "
        f"samples, {threads} threads; before: the `mtcnn` package at full size, a PNG to the other service, "
        "deepface's Keras network without the mirror image, JSON rows compared in Python.",
        "",
        "| step | " + " | ".join(f"{way}, ms" for way in ways) + " |",
        "| --- |" + " ---: |" * len(ways),
    ]
    for step in medians["now"]:
        lines.append(f"| {step} | " + " | ".join(f"{medians[way][step]:.1f}" for way in ways) + " |")
    totals = (f"{sum(steps.values()):.1f}" for steps in medians.values())
    return [*lines, "| all | " + " | ".join(totals) + " |"]
