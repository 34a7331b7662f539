"""Fixtures: the prepared models, the demo photographs, and both services running."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from running import ROOT, Pair, running_pair


@pytest.fixture(scope="session")
def models_dir() -> Path:
    folder = Path(os.environ.get("MODELS_DIR", ROOT / "models"))
    command = [sys.executable, str(ROOT / "prepare_models.py"), "--models-dir", str(folder)]
    assert subprocess.run(command).returncode == 0
    return folder


@pytest.fixture(scope="session")
def demo(models_dir: Path) -> Path:
    return models_dir / "demo"


@pytest.fixture(scope="session")
def photographs(demo: Path) -> dict[str, list[Path]]:
    """Demo photographs for enrolment by person, in a stable order."""
    return {folder.name: sorted(folder.glob("*.jpg")) for folder in sorted((demo / "train").iterdir())}


@pytest.fixture(scope="session")
def session_pair(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Iterator[Pair]:
    with running_pair(tmp_path_factory.mktemp("pair"), models_dir) as pair:
        yield pair


@pytest.fixture
def pair(session_pair: Pair) -> Pair:
    """The running services with an empty gallery."""
    assert requests.post(f"{session_pair.url}/clear-samples", timeout=30).ok
    return session_pair


@pytest.fixture(scope="session")
def as_base64() -> Callable[[Path], str]:
    return lambda path: base64.b64encode(path.read_bytes()).decode("ascii")
