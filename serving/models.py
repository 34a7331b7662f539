"""Makes sure that the prepared models are there before the workers start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from recognition.config import ROOT


def prepare(models_dir: Path) -> None:
    """Run prepare_models.py in a process of its own; it does nothing when all is there.

    Its file lock makes two services that start at once prepare only once.

    Raises:
        SystemExit: it failed; it has said why on the terminal.
    """
    script = ROOT / "prepare_models.py"
    command = [sys.executable, str(script), "--models-dir", str(models_dir), "--if-missing"]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        sys.exit(3)
