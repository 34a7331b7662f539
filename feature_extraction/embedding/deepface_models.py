"""Loads recognisers through deepface."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding.catalogue import MODELS
from serving.deepface import reason, set_up, values_sha256

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class ModelUnavailable(Exception):
    """The model cannot be loaded, for the one reason that the message gives."""


def load(name: str, *, models_dir: Path, deepface_home: Path | None, threads: int) -> tuple[Forward, str]:
    """Load one of deepface's recognisers; deepface downloads weights that are missing.

    Args:
        name: as deepface and the catalogue call it.
        models_dir, deepface_home: what lies in MODELS_DIR or the user's home counts unless a home is named.
        threads: that one call may use.

    Returns:
        its forward pass, float32 (n, S, S, 3) BGR in [0, 1] -> float32 (n, d), safe to use from several
        threads, and a digest of its weights: of their values, or of the file if they are no Keras model's.

    Raises:
        ModelUnavailable: weights or a package are missing, or do not fit.
    """
    model = MODELS[name]
    needs_tensorflow = model.weights.endswith(".h5")
    os.environ["DEEPFACE_BACKEND_ENGINE"] = "tensorflow" if needs_tensorflow else "onnx"
    try:
        folder = set_up(model.weights, models_dir=models_dir, deepface_home=deepface_home, threads=threads)
        # Imported here: they take seconds and half a gigabyte, which the prepared models do without.
        if needs_tensorflow:
            with _without_stderr():  # it tells of missing GPUs and the like whatever the log level
                import tensorflow  # noqa: F401
        from deepface.modules import modeling
        from deepface.modules.preprocessing import resize_image

        client: Any = modeling.build_model("facial_recognition", name)
        digest = _digest(client.model, folder / model.weights)
        forward = _forward(client, resize_image)
        forward(np.zeros((2, model.input_size, model.input_size, 3), np.float32))  # the first is the slowest
    except Exception as e:  # deepface raises whatever its parts do
        raise ModelUnavailable(f"EMBEDDING_MODEL={name}: {reason(e, deepface_home)}") from e
    return forward, digest


def _forward(client: Any, resize: Callable[..., Any]) -> Forward:
    """Return a recogniser's forward pass on the pixels that deepface would give it."""
    width, height = client.input_shape
    lock = threading.Lock()

    def forward(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        fitted = np.concatenate([resize(crop, (height, width)) for crop in pixels])
        with lock:  # Keras builds its functions on the first call, and dlib keeps its tensors in the model
            outputs = client.forward(fitted)
        return np.asarray(outputs, dtype=np.float32).reshape(len(pixels), client.output_shape)

    return forward


def _digest(model: Any, file: Path) -> str:
    """Name weights by their values, or by their file's bytes if they are no Keras model's."""
    if hasattr(model, "get_weights"):
        return values_sha256(model.get_weights())
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Send what this process writes to its standard error, native code too, nowhere."""
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  os.devnull is a name, not a path of ours
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
