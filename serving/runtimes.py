"""The libraries that run networks, imported so that they report nothing: the only place that imports them.

Each reports its use to its maker unless it is told otherwise before it is imported.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def import_openvino() -> Any:
    """Return the module openvino. Raises ImportError."""
    stop_reports()
    import openvino  # here: it takes 20 MB of every process, and most need no more than one of the two

    return openvino


def import_onnxruntime() -> Any:
    """Return the module onnxruntime. Raises ImportError."""
    stop_reports()
    import onnxruntime  # here, as above

    return onnxruntime


def stop_reports() -> None:
    """Stop the reports of this process and its children. To be called before what may import the libraries.

    OpenVINO 2026.4 imports openvino_telemetry, which writes a usage file into the home folder and sends its
    content to Google Analytics at once; where that package is missing OpenVINO has a stub that does nothing.
    ONNX Runtime 1.32 writes a device id into ~/.cache/Microsoft and sends events some half a minute later,
    unless this variable is set when it is imported. Older ones report nothing on Linux.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # so that importing it fails
