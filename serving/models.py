"""Makes sure that the prepared models are there before the workers start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from serving.variables import variables


def prepare(models_dir: Path) -> None:
    """Run the preparation in a process of its own; it does nothing when all is there.

    Its file lock makes two services that start at once prepare only once.

    Raises:
        SystemExit: it failed; it has said why on the terminal.
    """
    command = [sys.executable, "-m", "preparation", "--models-dir", str(models_dir), "--if-missing"]
    if subprocess.run(command, env=variables()).returncode != 0:
        sys.exit(3)
