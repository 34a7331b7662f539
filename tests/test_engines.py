"""The engines that run the prepared networks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from embedding.engines import ENGINES, Engine
from running import ROOT


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_missing_file_is_an_os_error(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"nowhere\.onnx"):
        ENGINES[engine](tmp_path / "nowhere.onnx", 1)


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
