"""benchmarks/faces.py runs, on few faces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from running import ROOT


def run(models_dir: Path, *arguments: str) -> str:
    command = [sys.executable, "benchmarks/faces.py", "--models-dir", str(models_dir), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_tells_how_far_vectors_move(models_dir: Path, demo: Path) -> None:
    output = run(models_dir, "vectors", "--images", str(demo / "val"), "--half", "none", "--people", "3")
    assert "256 px, quality 98: moved 0." in output


def test_it_tells_what_faces_cost(models_dir: Path) -> None:
    output = run(models_dir, "cost", "--samples", "30", "--sqlite-only")
    assert "a search by it: with faces" in output
    assert output.count("bytes a sample") == 2
