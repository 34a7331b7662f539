"""What runs an ONNX file: OpenVINO in bfloat16 where the CPU has it, or plain float32 ONNX Runtime.

Only the chosen one is imported: each takes 20 MB of every worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Engine = Literal["openvino", "onnxruntime"]

# float32 (n, S, S, 3) -> float32 (n, d); may be called from several threads
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def run_on_openvino(file: Path, threads: int) -> Forward:
    """Load an ONNX file of one input and one output into OpenVINO.

    In bfloat16 it is 1.7 to 1.9 times as fast as float32 ONNX Runtime. A distance between two faces moves by
    0.01 on average and by less than 0.1 at most (75,000 pairs of LFW's development pictures), a vector of
    length 10 by 0.1 on average and 0.25 at most. CPUs without it, arm64 among them, run float32.

    Raises:
        OSError: the file is not there.
    """
    if not file.is_file():
        raise FileNotFoundError(file.name)
    core = import_module("openvino").Core()
    has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    compiled = core.compile_model(
        str(file),
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "bf16" if has_bfloat16 else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # all workers would be pinned to the same cores
        },
    )
    request = compiled.create_infer_request()
    one_at_a_time = threading.Lock()  # a second request would hold its own activations, and wait all the same

    def forward(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_at_a_time:
            return np.array(request.infer([pixels])[0], dtype=np.float32)

    return forward


def run_on_onnxruntime(file: Path, threads: int) -> Forward:
    """Load an ONNX file of one input and one output into ONNX Runtime, in float32. Raises OSError."""
    if not file.is_file():
        raise FileNotFoundError(file.name)
    onnxruntime = import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {input_name: pixels})[0]


ENGINES: dict[Engine, Callable[[Path, int], Forward]] = {
    "openvino": run_on_openvino,
    "onnxruntime": run_on_onnxruntime,
}
