"""What runs an ONNX file: OpenVINO in bfloat16 where the CPU has it, or float32 ONNX Runtime, on a GPU too.

Only the chosen one is imported: each takes 20 MB of every worker.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
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


class NetworkUnfit(Exception):
    """The file is no network of one input of crops, for the one reason that the message gives."""


def run_on_openvino(file: Path, threads: int, device: str) -> Forward:
    """Load an ONNX file of one input and one output into OpenVINO, on the CPU.

    In bfloat16 it is 1.7 to 1.9 times as fast as float32 ONNX Runtime. A distance between two faces moves by
    0.01 on average and by less than 0.1 at most (75,000 pairs of LFW's development pictures), a vector of
    length 10 by 0.1 on average and 0.25 at most. CPUs without it, arm64 among them, run float32.

    Raises:
        OSError: the file is not there.
        DeviceUnavailable: another device is asked for.
        NetworkUnfit: the file is not a network of that form.
    """
    if device != "CPU":
        raise DeviceUnavailable(f"EMBEDDING_DEVICE={device}: this needs EMBEDDING_ENGINE=onnxruntime.")
    if not file.is_file():
        raise FileNotFoundError(file.name)
    core = import_openvino().Core()
    has_bfloat16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    try:
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
        shape = [each.get_length() if each.is_static else None for each in compiled.input().partial_shape]
    except RuntimeError as e:
        raise NetworkUnfit(f"{file.name}: it has not one input and one output that OpenVINO can run") from e
    request = compiled.create_infer_request()
    one_at_a_time = threading.Lock()  # a second request would hold its own activations, and wait all the same

    def forward(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        with one_at_a_time:
            return np.array(request.infer([pixels])[0], dtype=np.float32)

    return _fitted(forward, shape)


def run_on_onnxruntime(file: Path, threads: int, device: str) -> Forward:
    """Load an ONNX file of one input and one output into ONNX Runtime, in float32.

    Args:
        device: one of its execution providers, named without that ending: CUDA. What it cannot do is left to
            the CPU.

    Raises:
        OSError: the file is not there.
        DeviceUnavailable: this ONNX Runtime has no such provider, or it does not start here.
        NetworkUnfit: the file is not a network of that form.
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
    chosen = list(dict.fromkeys([providers[device], providers["CPU"]]))
    try:
        session = onnxruntime.InferenceSession(str(file), options, providers=chosen)
    except Exception as e:  # it has a class of its own for each fault
        raise NetworkUnfit(f"{file.name}: ONNX Runtime cannot read it") from e
    if session.get_providers()[0] != chosen[0]:  # ONNX Runtime has only logged it, and taken the CPU
        raise DeviceUnavailable(
            f"EMBEDDING_DEVICE={device}: ONNX Runtime cannot use it here, as its own lines above say; "
            "CUDA needs NVIDIA's driver, and the libraries that come with onnxruntime-gpu[cuda,cudnn]."
        )
    session.disable_fallback()  # a device that fails later is an error as well, no reason to take the CPU
    (name, shape), *more = [(each.name, each.shape) for each in session.get_inputs()]
    if more:
        raise NetworkUnfit(f"{file.name}: it has {1 + len(more)} inputs, not one")
    shape = [each if isinstance(each, int) else None for each in shape]
    return _fitted(lambda pixels: session.run(None, {name: pixels})[0], shape)


def _fitted(forward: Forward, shape: Sequence[int | None]) -> Forward:
    """Give a network the pixels as it wants them: channels first or last, so many rows at a time.

    shape: of its input; None: of any length.
    """
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise NetworkUnfit(f"its input has the shape {list(shape)}, which is not that of pictures")
    rows, channels_first = shape[0], shape[3] != 3
    sides = tuple(shape[2:] if channels_first else shape[1:3])

    def run(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        if any(side not in (None, given) for side, given in zip(sides, pixels.shape[1:3], strict=True)):
            raise ValueError(f"the network takes pictures of {sides} px")  # OpenVINO would take others, too
        if channels_first:
            pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        if rows is None or rows == len(pixels):
            return forward(pixels)
        filled = np.resize(pixels, (-(-len(pixels) // rows) * rows, *pixels.shape[1:]))
        outputs = [forward(filled[start : start + rows]) for start in range(0, len(filled), rows)]
        return np.concatenate(outputs)[: len(pixels)]

    return run


def check(forward: Forward, name: str, *, side: int, values: int) -> None:
    """See to it that a network takes crops and gives as many values of each as it should.

    Args:
        name: to call it by.
        side: of the crops, in pixels.

    Raises:
        NetworkUnfit: it does not.
    """
    try:
        outputs = forward(np.zeros((1, side, side, 3), np.float32))
    except Exception as e:  # of whatever runs it
        raise NetworkUnfit(f"{name}: it does not take pictures of {side} px") from e
    if outputs.shape != (1, values):
        raise NetworkUnfit(f"{name}: it gives {list(outputs.shape[1:])} values, not {values}")


ENGINES: dict[Engine, Callable[[Path, int, str], Forward]] = {
    "openvino": run_on_openvino,
    "onnxruntime": run_on_onnxruntime,
}
