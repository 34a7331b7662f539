"""Faces a second of the embedding network with its preprocessing: what an engine and a device are worth.

`python benchmarks/embedding_speed.py` measures the default, and on a GPU
`python benchmarks/embedding_speed.py --engine onnxruntime --device CUDA`. The batch sizes take turns, so that
whatever else the machine does hits all of them. requirements.txt and the prepared models are all it needs.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "feature_extraction"))

import numpy as np

from embedding import network
from embedding.engines import DeviceUnavailable

ROOT = Path(__file__).resolve().parents[1]
MODELS = Path(os.environ.get("MODELS_DIR", ROOT / "models"))
PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "numpy")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=["openvino", "onnxruntime"], default="openvino")
    parser.add_argument("--device", default="CPU", help="as EMBEDDING_DEVICE (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="as EMBEDDING_THREADS (%(default)s)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 64], help="as EMBEDDING_BATCH")
    parser.add_argument("--rounds", type=int, default=10, help="more of them tell more (%(default)s)")
    arguments = parser.parse_args()
    try:
        embed = network.load(
            "Facenet",
            MODELS,
            threads=arguments.threads,
            engine=arguments.engine,
            device=arguments.device,
            batch=max(arguments.batches),
        ).embed
    except DeviceUnavailable as e:
        sys.exit(str(e))
    crops = np.random.default_rng(0).integers(0, 256, (max(arguments.batches), 160, 160, 3), np.uint8)
    seconds: dict[int, list[float]] = {batch: [] for batch in arguments.batches}
    for measured in [False] + [True] * arguments.rounds:  # the first of every size is the slowest
        for batch, times in seconds.items():
            began = time.perf_counter()
            embed(crops[:batch])
            if measured:
                times.append(time.perf_counter() - began)
    print(f"{arguments.engine} on {arguments.device}, {arguments.threads} threads; {machine()}")
    print("| batch | faces a second | median ms |")
    print("| ---: | ---: | ---: |")
    for batch, times in seconds.items():
        median = statistics.median(times)
        print(f"| {batch} | {batch / median:.1f} | {1000 * median:.1f} |")


def machine() -> str:
    """Name the processor, NVIDIA's GPUs and the versions that matter."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    devices = [f"{model.group(1) if model else platform.processor()}, {os.cpu_count()} cores"]
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        devices += subprocess.run(query, capture_output=True, text=True).stdout.splitlines()
    versions = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(devices) + "; " + ", ".join(versions)


if __name__ == "__main__":
    main()
