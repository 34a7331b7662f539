"""Loads the embedding network: a callable that turns face crops into vectors, and what is known about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedding import catalogue, deepface_models, preprocess
from embedding.catalogue import MODELS
from embedding.engines import ENGINES, DeviceUnavailable, Engine
from embedding.gathering import gather
from serving.model import Model

PREPARED = {"Facenet": "facenet", "Facenet512": "facenet512"}  # what prepare_models.py has made ONNX files of


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded embedding model.

    embed: uint8 (n, S, S, 3) RGB, S the model's input size -> float32 (n, dimension); n may be 0. May be
        called from several threads.
    """

    model: Model
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def load(
    name: str,
    models_dir: Path,
    *,
    threads: int,
    engine: Engine = "openvino",
    device: str = "CPU",
    batch: int = 2,
    gather_ms: float = 0,
    deepface_home: Path | None = None,
) -> Network:
    """Load a model of the catalogue: into an engine if it was prepared for it, else through deepface.

    Args:
        models_dir: where prepare_models.py has put its files.
        threads: that one call may use.
        engine, device: what runs a prepared model, and on what.
        batch: the most crops of one run of the network, mirrored ones beside; on a CPU more than 2 are hardly
            faster, and cost memory.
        gather_ms: how long, in milliseconds, a call waits for others to share a run with; 0: not at all.
        deepface_home: the folder of deepface's `.deepface/weights`; None looks in models_dir and the user's.

    Raises:
        OSError: the prepared files are not there.
        ModelUnavailable: deepface cannot load it.
        DeviceUnavailable: it cannot run on that device.
    """
    model = MODELS[name]
    if name in PREPARED:
        manifest = json.loads((models_dir / "manifest.json").read_text(encoding="utf-8"))
        about = manifest["networks"][PREPARED[name]]
        forward = ENGINES[engine](models_dir / about["file"], threads, device)
        weights = about["weights"]["values_sha256"]
    elif device != "CPU":
        raise DeviceUnavailable(f"EMBEDDING_DEVICE={device}: EMBEDDING_MODEL={name} runs only on the CPU.")
    else:
        forward, weights = deepface_models.load(
            name, models_dir=models_dir, deepface_home=deepface_home, threads=threads
        )
    before, behind = model.preprocessing.network_input, model.preprocessing.merged
    if gather_ms:
        rows = len(before(np.zeros((1, model.input_size, model.input_size, 3), np.uint8)))  # of one crop
        forward = gather(forward, limit=batch * rows, wait_s=gather_ms / 1000)

    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [np.empty((0, model.dimension), dtype=np.float32)]
        for start in range(0, len(crops), batch):
            outputs = behind(forward(before(crops[start : start + batch])))
            parts.append(preprocess.scaled(outputs, model.length))
        return np.concatenate(parts)

    described = Model(
        name,
        model.dimension,
        model.input_size,
        model.threshold,
        (0.0, 2 * model.length),
        fingerprint(name, weights, model.preprocessing.version),
    )
    return Network(described, embed)


def prepared_models(models_dir: Path) -> dict[str, catalogue.Model]:
    """Return what is known of the models that are prepared, by their fingerprints."""
    try:
        networks = json.loads((models_dir / "manifest.json").read_text(encoding="utf-8"))["networks"]
    except (OSError, ValueError, KeyError):
        return {}
    known = {}
    for name, file in PREPARED.items():
        if file in networks:
            weights, model = networks[file]["weights"]["values_sha256"], MODELS[name]
            known[fingerprint(name, weights, model.preprocessing.version)] = model
    return known


def fingerprint(name: str, weights_sha256: str, preprocessing: str) -> str:
    """Name a model by what makes its vectors: 32 hexadecimal digits.

    `weights_sha256` is over the weights' values and not over a file's bytes, so that two machines that
    converted the same weights with different tools can share a gallery.
    """
    return hashlib.sha256(f"{name}\n{weights_sha256}\n{preprocessing}".encode()).hexdigest()[:32]
