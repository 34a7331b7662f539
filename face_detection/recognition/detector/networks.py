"""The detectors' networks as plain calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.runtimes import import_onnxruntime

Floats = NDArray[np.float32]


def load_network(path: Path, threads: int = 1) -> Callable[[NDArray[Any]], Floats]:
    """Load one of the detectors' networks as preparation writes them.

    The callable of P-Net, R-Net or O-Net takes float32 (n, h, w, 3), RGB in [0, 255]: n patches of 24 x 24 px
    (R-Net) or 48 x 48 px (O-Net), or any pictures of one size, both sides 12 px or more (P-Net). It returns
    float32 (n, 5), (n, 15) or, for P-Net, (n, 5, rows, columns): the logit of "face", four offsets of the box
    (left, top, right, bottom, in box sizes) and, from O-Net, x of five landmarks, then y. YuNet's takes and
    returns what `preparation.yunet.rearranged` says. It may be called from several threads.

    threads: how many one call may use: its own, and others that all calls share.

    Raises FileNotFoundError, and ValueError if the file holds another kind of network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; `recognition models prepare` makes it")
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work in a loop would take a core from other requests, and from the other service.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_mem_pattern = False  # it remembers every input shape, and those of pictures never end
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in (*session.get_inputs(), *session.get_outputs())]
    if names != ["pixels", "values"]:  # older versions rearranged the graph here, not in preparation
        raise ValueError(f"{path} is from an older version; `recognition models prepare` makes it anew")

    def run(pixels: NDArray[Any]) -> Floats:
        return np.asarray(session.run(None, {"pixels": pixels})[0], dtype=np.float32)

    return run
