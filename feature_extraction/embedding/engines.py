"""What runs an ONNX file: OpenVINO in bfloat16 where the CPU has it, or float32 ONNX Runtime, on a GPU too.

Only the chosen one is imported: each takes 20 MB of every worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from serving.runtimes import import_onnxruntime, import_openvino

Engine = Literal["openvino", "onnxruntime"]

PROVIDER = "ExecutionProvider"  # how all names of ONNX Runtime's providers end

# float32 (n, S, S, 3) -> float32 (n, d); may be called from several threads
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]


class DeviceUnavailable(Exception):
    """The model cannot run on EMBEDDING_DEVICE, for the one reason that the message gives."""


def run_on_openvino(file: Path, threads: int, device: str) -> Forward:
    """Load an ONNX file of one input and one output into OpenVINO, on the CPU.

    In bfloat16 it is 1.7 to 1.9 times as fast as float32 ONNX Runtime. A distance between two faces moves by
    0.01 on average and by less than 0.1 at most (75,000 pairs of LFW's development pictures), a vector of
    length 10 by 0.1 on average and 0.25 at most. CPUs without it, arm64 among them, run float32.

    Raises:
        OSError: the file is not there.
        DeviceUnavailable: another device is asked for.
    """
    if device != "CPU":
        raise DeviceUnavailable(f"EMBEDDING_DEVICE={device}: this needs EMBEDDING_ENGINE=onnxruntime.")
    if not file.is_file():
        raise FileNotFoundError(file.name)
    core = import_openvino().Core()
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


def run_on_onnxruntime(file: Path, threads: int, device: str) -> Forward:
    """Load an ONNX file of one input and one output into ONNX Runtime, in float32.

    Args:
        device: one of its execution providers, named without that ending: CUDA. What it cannot do is left to
            the CPU.

    Raises:
        OSError: the file is not there.
        DeviceUnavailable: this ONNX Runtime has no such provider, or it does not start here.
    """
    onnxruntime = import_onnxruntime()
    providers = {name.removesuffix(PROVIDER): name for name in onnxruntime.get_available_providers()}
    if device not in providers:
        raise DeviceUnavailable(
            f"EMBEDDING_DEVICE={device}: the installed ONNX Runtime has only {', '.join(providers)}; "
            "for CUDA install onnxruntime-gpu instead of onnxruntime."
        )
    if not file.is_file():
        raise FileNotFoundError(file.name)
    if device == "CUDA":
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip has installed them
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    wanted = list(dict.fromkeys([providers[device], providers["CPU"]]))
    session = onnxruntime.InferenceSession(str(file), options, providers=wanted)
    if session.get_providers()[0] != wanted[0]:  # ONNX Runtime has only logged it, and taken the CPU
        raise DeviceUnavailable(
            f"EMBEDDING_DEVICE={device}: ONNX Runtime cannot use it here, as its own lines above say; "
            "CUDA needs NVIDIA's driver, and the libraries that come with onnxruntime-gpu[cuda,cudnn]."
        )
    session.disable_fallback()  # a device that fails later is an error as well, no reason to take the CPU
    input_name = session.get_inputs()[0].name
    return lambda pixels: session.run(None, {input_name: pixels})[0]


ENGINES: dict[Engine, Callable[[Path, int, str], Forward]] = {
    "openvino": run_on_openvino,
    "onnxruntime": run_on_onnxruntime,
}
