"""Loads recognisers through deepface, which, like TensorFlow, is imported only when one is asked for."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding.catalogue import MODELS

Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]

WEIGHTS = Path(".deepface/weights")  # where deepface looks, below its DEEPFACE_HOME


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
    homes = [deepface_home] if deepface_home else [models_dir, Path.home()]
    home = next((home for home in homes if (home / WEIGHTS / model.weights).is_file()), homes[0])
    needs_tensorflow = model.weights.endswith(".h5")
    # Read by deepface, TensorFlow and OpenMP when they are imported.
    os.environ |= {
        "DEEPFACE_HOME": str(home),
        "DEEPFACE_BACKEND_ENGINE": "tensorflow" if needs_tensorflow else "onnx",
        "TF_USE_LEGACY_KERAS": "1",  # deepface is written for Keras 2
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "-1",  # every worker would take all of a GPU's memory
    }
    try:
        (home / WEIGHTS).mkdir(parents=True, exist_ok=True)
        if needs_tensorflow:
            with _without_stderr():  # it tells of missing GPUs and the like whatever the log level
                import_module("tensorflow")
        resize = import_module("deepface.modules.preprocessing").resize_image
        client: Any = import_module("deepface.modules.modeling").build_model("facial_recognition", name)
        digest = _digest(client.model, home / WEIGHTS / model.weights)
        forward = _forward(client, resize)
        forward(np.zeros((2, model.input_size, model.input_size, 3), np.float32))  # the first is the slowest
    except Exception as e:  # deepface raises whatever its parts do
        where = "DEEPFACE_HOME" if deepface_home else "MODELS_DIR"
        raise ModelUnavailable(f"EMBEDDING_MODEL={name}: {reason(e, where)}") from e
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


def reason(error: Exception, home: str) -> str:
    """Say in one sentence why deepface could not load something, and what to put where if a file is missing.

    home: the name of the setting that says where deepface's files are.
    """
    text = str(error) or type(error).__name__
    if missing := re.search(r"downloading (\S+) from (\S+)", text):
        file, address = missing[1], missing[2].rstrip(",.")
        unpacked = ", unpacked," if address.endswith((".bz2", ".zip")) else ""
        return (
            f"the weights are missing and cannot be downloaded; put {address}{unpacked} "
            f"at <{home}>/{WEIGHTS}/{file}"
        )
    return text.splitlines()[0]


def _digest(model: Any, file: Path) -> str:
    """Name weights by their values, as prepare_models.py does, or by their file's bytes."""
    if not hasattr(model, "get_weights"):
        return hashlib.sha256(file.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(f"{tuple(map(int, array.shape))}\n".encode("ascii"))
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()


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
