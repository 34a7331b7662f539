"""The benchmark of changes of the model: a small run says what it has measured."""

from __future__ import annotations

import subprocess
import sys

from running import ROOT


def test_a_small_run_tells_what_it_took() -> None:
    command = [sys.executable, "benchmarks/changing.py", "--samples", "60", "--databases", "sqlite"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    there, back, forgotten = run.stdout.splitlines()[-3:]
    assert there.startswith("to new: 60 embedded in ")
    assert back.startswith("to old: 0 embedded in ")
    assert forgotten.startswith("60 vectors forgotten in ")
