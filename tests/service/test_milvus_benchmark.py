"""The benchmark of Milvus: a small run tells of memory and of a file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from running import ROOT


def test_a_small_run_tells_of_both(tmp_path: Path) -> None:
    small = ["--size", "500", "--probes", "5", "--settle-s", "0", "--index", str(tmp_path / "index.db")]
    command = [sys.executable, "benchmarks/milvus.py", *small]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("|")]
    assert [row[0] for row in rows[2:]] == ["memory (SQLite)", "milvus-lite, a file"]
    assert {row[5] for row in rows[2:]} == {"1.000 of 5"}
