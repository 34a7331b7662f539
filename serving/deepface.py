"""What loading a network through deepface takes, whichever network it is. Imports none of it itself."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from serving.runtimes import stop_reports

WEIGHTS = Path(".deepface/weights")  # where deepface looks, below its DEEPFACE_HOME


def set_up(file: str, *, models_dir: Path, deepface_home: Path | None, threads: int) -> Path:
    """Choose deepface's home, and set the environment that deepface and its libraries read when imported.

    Args:
        file: in deepface's weights folder, which tells that the network's weights are there; "" for none.
        models_dir, deepface_home: what lies in MODELS_DIR or the user's home counts unless a home is named.
        threads: that TensorFlow or PyTorch may use for one picture.

    Returns:
        the folder of weights, which exists

    Raises:
        OSError: it cannot be made.
    """
    homes = [deepface_home] if deepface_home else [models_dir, Path.home()]
    home = next((home for home in homes if (home / WEIGHTS / file).is_file()), homes[0])
    set_environment(home)
    os.environ |= {
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": str(threads),
    }
    (home / WEIGHTS).mkdir(parents=True, exist_ok=True)
    return home / WEIGHTS


def set_environment(home: Path) -> None:
    """Set what deepface and its libraries read when they are imported; home: where deepface's files are."""
    stop_reports()  # some of its networks run on ONNX Runtime
    os.environ |= {
        "DEEPFACE_HOME": str(home),
        "TF_USE_LEGACY_KERAS": "1",  # deepface is written for Keras 2
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",  # every worker would take all of a GPU's memory
        "YOLO_OFFLINE": "true",  # or the package of the YOLO detectors looks for updates and reports its use
    }


def reason(error: Exception, deepface_home: Path | None) -> str:
    """Say in one sentence why deepface could not load something, and where to put a file that is missing."""
    text = str(error) or type(error).__name__
    if missing := re.search(r"downloading (\S+) from (\S+)", text):
        file, address = missing[1], missing[2].rstrip(",.")
        unpacked = ", unpacked," if address.endswith((".bz2", ".zip")) else ""
        home = "DEEPFACE_HOME" if deepface_home else "MODELS_DIR"
        return (
            f"the weights are missing and cannot be downloaded; put {address}{unpacked} "
            f"at <{home}>/{WEIGHTS}/{file}"
        )
    if isinstance(error, ModuleNotFoundError) and error.name in ("deepface", "tensorflow", "tf_keras"):
        return f"{error.name} is not installed; it comes with the extra `prepare` of this project"
    return text.splitlines()[0]


def values_sha256(weights: Iterable[Any]) -> str:
    """Name weights by their values alone: SHA-256 over each array's shape and float32 little-endian bytes.

    Files that store the same values differently, and other versions of the tools, give the same name.
    """
    digest = hashlib.sha256()
    for array in weights:
        digest.update(f"{tuple(map(int, array.shape))}\n".encode("ascii"))
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()
