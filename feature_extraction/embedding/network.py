"""Loads the embedding network: a callable that turns face crops into vectors, and what is known about it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedding import cards, catalogue, deepface_models, preprocess
from embedding.catalogue import MODELS
from embedding.engines import ENGINES, DeviceUnavailable, Engine, NetworkUnfit, check
from embedding.gathering import gather
from serving.errors import NotFound
from serving.model import Model

# What prepare_models.py has made ONNX files of, by their names there.
PREPARED = {"Facenet": "facenet", "Facenet512": "facenet512", "MobileFaceNet": "mobilefacenet"}


@dataclass(frozen=True, slots=True)
class Network:
    """A loaded embedding model.

    embed: uint8 (n, S, S, 3) RGB, S the model's input size -> float32 (n, dimension); n may be 0. May be
        called from several threads.
    """

    model: Model
    embed: Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Networks:
    """The service's own network, and others that are prepared, loaded when somebody first asks for them.

    load: of a prepared model's name; raises OSError or KeyError where it is not prepared.
    """

    own: Network
    load: Callable[[str], Network] | None = None
    _others: dict[str, Network] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def named(self, name: str | None) -> Network:
        """Return the network of a model; None: the service's own.

        Raises:
            NotFound: it is neither that nor prepared.
        """
        if name is None or name == self.own.model.name:
            return self.own
        with self._lock:
            if name not in self._others:
                if self.load is None or name not in PREPARED:
                    raise NotFound("There is no such model here.")
                try:
                    self._others[name] = self.load(name)
                except (OSError, KeyError, ValueError, NetworkUnfit, DeviceUnavailable) as e:
                    raise NotFound("That model is not prepared here.") from e
            return self._others[name]


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
    onnx: Path | None = None,
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
        onnx: a network to load instead, with a card beside it; see cards.py.

    Raises:
        OSError: the files are not there.
        KeyError: it is not prepared.
        ModelUnavailable: deepface cannot load it.
        DeviceUnavailable: it cannot run on that device.
        CardUnfit, NetworkUnfit: what `onnx` names cannot be used.
    """
    model = MODELS[name]
    if onnx:
        card = cards.card_of(onnx, name)
        name, (model, weights) = card.name, cards.described(card, onnx)
        forward = ENGINES[engine](onnx, threads, device)
        check(forward, model.weights, side=model.input_size, values=model.dimension)
    elif name in PREPARED:
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
    if gather_ms:
        forward = gather(forward, limit=batch * (1 + model.mirrored), wait_s=gather_ms / 1000)

    before = partial(
        preprocess.network_input, scaling=model.scaling, colours=model.colours, mirrored=model.mirrored
    )

    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [np.empty((0, model.dimension), dtype=np.float32)]
        for start in range(0, len(crops), batch):
            outputs = forward(before(crops[start : start + batch]))
            outputs = preprocess.summed(outputs) if model.mirrored else outputs
            parts.append(preprocess.scaled(outputs, model.length))
        return np.concatenate(parts)

    described = Model(
        name,
        model.dimension,
        model.input_size,
        model.threshold,
        (0.0, 2 * model.length),
        fingerprint(name, weights, model.preprocessing),
        model.template,
        model.colours,
        model.scaled,
        model.mirrored,
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
            known[fingerprint(name, weights, model.preprocessing)] = model
    return known


def fingerprint(name: str, weights_sha256: str, preprocessing: str) -> str:
    """Name a model by what makes its vectors: 32 hexadecimal digits.

    `weights_sha256` is over the weights' values and not over a file's bytes, so that two machines that
    converted the same weights with different tools can share a gallery.
    """
    return hashlib.sha256(f"{name}\n{weights_sha256}\n{preprocessing}".encode()).hexdigest()[:32]
