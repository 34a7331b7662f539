"""The benchmark of pgvector's indexes: a small run tells of every one, and each is used."""

from __future__ import annotations

import subprocess
import sys

from running import ROOT


def test_a_small_run_tells_of_every_index() -> None:
    command = [sys.executable, "benchmarks/vector_indexes.py", "--size", "3000", "--probes", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "- SQLite: " in done.stdout
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith(("| HNSW", "| none"))]
    assert len(rows) == 4
    assert rows[0][-1] == rows[-1][-1] == "1.000 |"  # the service's own and the exact one
    assert "samples a second go in" in done.stdout
