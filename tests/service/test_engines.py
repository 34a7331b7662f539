"""Which device an engine runs on: the one that was asked for, or none at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedding.engines import ENGINES, DeviceUnavailable, Engine
from embedding.network import load
from running import ROOT, free_port

# An ONNX Runtime with CUDA's provider on a machine without CUDA, where the real one takes the CPU.
WITHOUT_LIBRARIES = """
def get_available_providers():
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]

def preload_dlls():
    pass

class SessionOptions:
    pass

class InferenceSession:
    def __init__(self, file, options, providers):
        assert providers == get_available_providers()

    def get_providers(self):
        return ["CPUExecutionProvider"]
"""


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_missing_file_is_an_os_error(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere\.onnx"):
        ENGINES[engine](tmp_path / "nowhere.onnx", 1, "CPU")


def test_openvino_takes_only_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match=r"EMBEDDING_DEVICE=GPU: .*EMBEDDING_ENGINE=onnxruntime"):
        ENGINES["openvino"](tmp_path / "nowhere.onnx", 1, "GPU")


def test_models_that_run_through_deepface_take_only_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceUnavailable, match="EMBEDDING_DEVICE=CUDA: EMBEDDING_MODEL=ArcFace runs only on"
    ):
        load("ArcFace", tmp_path, threads=1, engine="onnxruntime", device="CUDA")


def test_an_unknown_device_stops_the_start_in_one_sentence(models_dir: Path) -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-w", "1", "-b", f"127.0.0.1:{free_port()}", "wsgi:app"],
        cwd=ROOT / "feature_extraction",
        env=os.environ
        | {"MODELS_DIR": str(models_dir), "EMBEDDING_ENGINE": "onnxruntime", "EMBEDDING_DEVICE": "Abacus"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 3
    sentence = (
        "feature_extraction cannot start: EMBEDDING_DEVICE=Abacus: the installed ONNX Runtime has only "
    )
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith(sentence)]
    assert "CPU" in line
    assert "onnxruntime-gpu" in line


def test_a_device_that_onnx_runtime_gives_up_stops_the_start_in_one_sentence(
    models_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text(WITHOUT_LIBRARIES)
    outcome = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, '.'); import wsgi"],
        cwd=ROOT / "feature_extraction",
        env=os.environ
        | {
            "MODELS_DIR": str(models_dir),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
            "EMBEDDING_ENGINE": "onnxruntime",
            "EMBEDDING_DEVICE": "CUDA",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert outcome.returncode == 3
    assert (
        "feature_extraction cannot start: EMBEDDING_DEVICE=CUDA: ONNX Runtime cannot use it" in outcome.stderr
    )
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(("engine", "other"), [("openvino", "onnxruntime"), ("onnxruntime", "openvino")])
def test_only_the_chosen_engine_is_imported(engine: str, other: str, models_dir: Path) -> None:
    script = f"import sys; sys.path.insert(0, '.'); import wsgi; print({other!r} in sys.modules)"
    outcome = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT / "feature_extraction",
        env=os.environ | {"MODELS_DIR": str(models_dir), "EMBEDDING_ENGINE": engine},
        capture_output=True,
        text=True,
        check=True,
    )
    assert outcome.stdout.strip() == "False"
