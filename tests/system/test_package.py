"""The distribution: what its wheel holds, what it needs, and that it serves where there is no checkout."""

from __future__ import annotations

import ast
import base64
import importlib.metadata
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import requests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from installing import PACKAGES, build_wheel, new_environment
from running import ROOT, answers, free_port, wait_until

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which the wheel is installed."""
    return new_environment(tmp_path_factory.mktemp("environment"), wheel)


def test_the_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    about = f"face_recognition_service-{PROJECT['version']}.dist-info"
    expected = {
        str(Path(package) / path.relative_to(folder))
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.startswith(f"{about}/")}
        licence = archive.read(f"{about}/licenses/LICENSE")
    assert held == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= held
    assert licence == (ROOT / "LICENSE").read_bytes()


def test_it_serves_where_there_is_no_checkout(
    python: Path, tmp_path: Path, models_dir: Path, photographs: dict[str, list[Path]]
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    ports = free_port(), free_port()
    environment = outside(
        HOME=str(home),
        MODELS_DIR=str(models_dir),
        FACE_DETECTION_HOST="127.0.0.1",
        FACE_DETECTION_PORT=str(ports[0]),
        FEATURE_EXTRACTION_HOST="127.0.0.1",
        FEATURE_EXTRACTION_PORT=str(ports[1]),
    )
    script = "import sys; print(*(__import__(name).__file__ for name in sys.argv[1:]), sep='\\n')"
    places = subprocess.check_output(
        [python, "-c", script, *PACKAGES], cwd=elsewhere, env=environment, text=True
    )
    assert all(Path(place).is_relative_to(python.parents[1]) for place in places.splitlines())

    command = python.with_name("recognition")
    version = subprocess.check_output([command, "--version"], cwd=elsewhere, env=environment, text=True)
    assert PROJECT["version"] in version

    url, log = f"http://127.0.0.1:{ports[0]}", tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [command, "serve"], cwd=elsewhere, env=environment, stdout=stream, stderr=stream
        )
    try:
        wait_until(lambda: answers(url), process, log)
        enrolled, probe = (
            base64.b64encode(path.read_bytes()).decode() for path in photographs["madonna"][:2]
        )
        sample = {"id": "m", "name": "madonna", "image": enrolled}
        answer = requests.post(f"{url}/update-samples", json=[sample], timeout=TIMEOUT_S)
        assert answer.json()["success"] == ["m"]
        answer = requests.post(f"{url}/face-recognition", json={"image": probe}, timeout=TIMEOUT_S)
        assert [face["name"] for face in answer.json()] == ["madonna"]
        assert requests.get(url, timeout=TIMEOUT_S).ok  # the page, of files that are no modules
    finally:
        process.terminate()
        status = process.wait(TIMEOUT_S)
    assert status == 0, log.read_text()
    assert not any(answers(f"http://127.0.0.1:{port}") for port in ports)
    (gallery,) = tmp_path.rglob("gallery.sqlite3")
    assert gallery.is_relative_to(home)
    assert list(elsewhere.iterdir()) == []
    assert not list(python.parents[1].rglob("*.sqlite3"))


def outside(**settings: str) -> dict[str, str]:
    """This process's environment without what leads into the checkout, or away from HOME; with `settings`."""
    leads = ("PYTHON", "XDG_", "RECOGNITION_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(leads)}
    inherited.pop("DATABASE_URL", None)
    return inherited | {"PYTHONDONTWRITEBYTECODE": "1"} | settings


# What it depends on


def imported(package: Path) -> Iterator[str]:
    """The top-level modules that a package's files import, wherever in them."""
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.partition(".")[0]


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


@pytest.mark.parametrize("package", PACKAGES)
def test_whatever_is_imported_is_declared(package: str) -> None:
    # Other recognisers and detectors run through these two, where a setting chooses one: the extra `prepare`.
    chosen = {"deepface", "tensorflow"}
    optional = {  # extras
        **{"imagecodecs": "jxl", "paho": "mqtt", "pymilvus": "milvus", "milvus_lite": "milvus"},
        **{"ray": "ray", "pyarrow": "ray"},
    }
    modules = set(imported(PACKAGES[package])) - sys.stdlib_module_names - PACKAGES.keys() - {"_typeshed"}
    declared = names(PROJECT["dependencies"])
    if package == "preparation":
        declared |= names(EXTRAS["prepare"])
    else:
        modules -= chosen | optional.keys()
    distributions = importlib.metadata.packages_distributions()
    undeclared = {
        module
        for module in modules
        if declared.isdisjoint(map(canonicalize_name, distributions.get(module, [])))
    }
    assert undeclared == set()
    assert chosen <= names(EXTRAS["prepare"])
    for module, extra in optional.items():
        assert names(EXTRAS[extra]) & set(map(canonicalize_name, distributions[module]))


def test_the_historical_commands_install_the_same_list() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["-e .[prepare]"]
