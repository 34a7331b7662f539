"""The distribution as others get it: its wheel, and environments that have the wheel but no checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Collection
from pathlib import Path

from running import ROOT

# Where each package of the distribution lies in the checkout.
PACKAGES = {
    "serving": ROOT / "serving",
    "preparation": ROOT / "preparation",
    "recognition": ROOT / "face_detection" / "recognition",
    "embedding": ROOT / "feature_extraction" / "embedding",
}
SOURCES = ("pyproject.toml", "README.md", "LICENSE")


def build_wheel(folder: Path) -> Path:
    """Build the wheel in an empty folder, from a copy: a build leaves files beside its sources."""
    source = folder / "source"
    for package in PACKAGES.values():
        shutil.copytree(
            package, source / package.relative_to(ROOT), ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    return wheel


def new_environment(folder: Path, wheel: Path, without: Collection[str] = ()) -> Path:
    """Make a virtual environment with the wheel, and return its Python.

    It sees what is installed here, without the modules that `without` names. The checkout is invisible in it,
    because no .pth file of a folder is read that a .pth file names.
    """
    venv.create(folder)
    python = folder / "bin" / "python"
    pip("--python", python, "install", "--no-deps", "--no-index", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (packages / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {set(without)!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r} in this environment', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    return python


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
