"""deploy/: what can be told without Docker and systemd of how the product runs on many machines."""

from __future__ import annotations

import base64
import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from embedding import config as embedding_config
from recognition import config as recognition_config
from running import ROOT, Service, free_port

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
CONFIGS = {"face-detection": recognition_config, "feature-extraction": embedding_config}
TIMEOUT_S = 60


def instructions() -> Iterator[tuple[str, list[str]]]:
    """The Dockerfile's instructions after its last FROM, the image that remains."""
    text = re.sub(r"\\\n|^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    for line in text[text.rindex("FROM ") :].splitlines()[1:]:
        if line:
            name, _, arguments = line.partition(" ")
            yield name, shlex.split(arguments)


def environment_of(service: str) -> dict[str, str]:
    """A service's environment in compose.yaml, with the default of each ${NAME:-default}."""
    given: dict[str, Any] = COMPOSE["services"][service]["environment"]
    return {name: re.sub(r"\$\{\w+:[-?](.*?)\}", r"\1", str(value)) for name, value in given.items()}


# compose.yaml


@pytest.mark.parametrize("service", CONFIGS)
def test_compose_sets_what_the_services_read(service: str) -> None:
    config: Any = CONFIGS[service]
    given = environment_of(service)
    given.pop("PGPASSWORD", None)  # PostgreSQL's own client reads it
    assert given.keys() <= {field.name.upper() for field in fields(config.Settings)}
    config.read(given)  # and they can be used


def test_callers_reach_the_balancer_and_nothing_else() -> None:
    services, networks = COMPOSE["services"], COMPOSE["networks"]
    outside = {name for name, about in networks.items() if not about.get("internal")}
    assert [name for name, about in services.items() if outside & set(about["networks"])] == ["balancer"]
    assert [name for name, about in services.items() if "ports" in about] == ["balancer"]
    assert services["balancer"]["ports"] == ["${PUBLISH:-127.0.0.1:6337}:8080"]  # nor does another machine


def test_each_finds_the_others_where_they_listen() -> None:
    image = dict(pair.split("=") for name, pairs in instructions() if name == "ENV" for pair in pairs)
    listens = {
        f"face-detection:{image['FACE_DETECTION_PORT']}",
        f"feature-extraction:{image['FEATURE_EXTRACTION_PORT']}",
    }
    assert set(re.findall(r"^ +server (\S+) resolve", NGINX, re.MULTILINE)) == listens
    assert {server.partition(":")[0] for server in listens} <= COMPOSE["services"].keys()
    outer, inner = re.findall(r"listen (\d+);", NGINX)
    assert COMPOSE["services"]["balancer"]["ports"][0].endswith(f":{outer}")
    assert environment_of("face-detection")["FEATURE_EXTRACTION_URL"] == f"http://balancer:{inner}"


# The image


def serving_distributions() -> set[str]:
    """What `pip install -r requirements-serving.txt` installs, as the Dockerfile does it."""
    lines = (ROOT / "requirements-serving.txt").read_text(encoding="utf-8").splitlines()
    waiting = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    known: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in known:
            continue
        known.add((name, extras))
        for text in importlib.metadata.requires(name) or []:
            other = Requirement(text)
            if other.marker is None or any(
                other.marker.evaluate({"extra": extra}) for extra in extras | {""}
            ):
                waiting.append(other)
    removed = re.findall(r"pip uninstall --yes (\S+)", DOCKERFILE)
    return {name for name, _ in known} - set(removed)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """The image's /app, made as the Dockerfile makes it, with `models` from this machine."""
    app = tmp_path_factory.mktemp("image")
    for name, arguments in instructions():
        if name == "COPY" and not arguments[0].startswith("--from"):
            *sources, target = arguments
            for source in sources:
                if source.endswith("/"):
                    shutil.copytree(ROOT / source, app / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / source, app / target)
    (app / "models").symlink_to(models_dir)
    return app


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The image's environment, in which whatever pip has not installed there cannot be imported."""
    installed = serving_distributions()
    absent = {
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if not installed & {canonicalize_name(name) for name in distributions}
    }
    folder = tmp_path_factory.mktemp("absent")
    (folder / "sitecustomize.py").write_text(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {absent!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r} in the image', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    )
    set_there = dict(pair.split("=") for name, pairs in instructions() if name == "ENV" for pair in pairs)
    return {"PYTHONPATH": str(folder), **set_there}


def test_the_image_lacks_what_only_preparation_needs(environment: dict[str, str]) -> None:
    for module in ("tensorflow", "deepface", "mtcnn", "tf2onnx", "keras", "openvino_telemetry"):
        outcome = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            env=os.environ | environment,
            capture_output=True,
            text=True,
        )
        assert f"No module named '{module}' in the image" in outcome.stderr


def test_the_context_has_just_what_the_dockerfile_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for arguments in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        copied |= {source.rstrip("/") for source in arguments.split()[:-1]}
    assert sent == copied
    assert lines.index("*") < min(lines.index(f"!{name}") for name in sent)


def test_the_image_recognises_a_face(
    image: Path, environment: dict[str, str], photographs: dict[str, list[Path]], tmp_path: Path
) -> None:
    enrolled, probe = (base64.b64encode(path.read_bytes()).decode() for path in photographs["madonna"][:2])
    extraction = Service(
        str(image / "feature_extraction"), environment, free_port(), tmp_path / "extraction.log"
    )
    reached = environment | {"FEATURE_EXTRACTION_URL": extraction.url}
    detection = Service(str(image / "face_detection"), reached, free_port(), tmp_path / "detection.log")
    try:
        extraction.start()
        detection.start()
        sample = {"id": "m", "name": "madonna", "image": enrolled}
        answer = requests.post(f"{detection.url}/update-samples", json=[sample], timeout=TIMEOUT_S)
        assert answer.json()["success"] == ["m"]
        answer = requests.post(f"{detection.url}/face-recognition", json={"image": probe}, timeout=TIMEOUT_S)
        assert [face["name"] for face in answer.json()] == ["madonna"]
        assert requests.get(f"{detection.url}/ready", timeout=TIMEOUT_S).status_code == 200
        for service in (extraction, detection):
            assert is_healthy(image, service) == 0
    finally:
        detection.stop()
        extraction.stop()
    assert (image / "data" / "gallery.sqlite3").is_file()
    assert is_healthy(image, detection) != 0


def is_healthy(image: Path, service: Service) -> int:
    """The exit status of the image's health check beside this service."""
    name = f"{Path(service.folder).name.upper()}_PORT"
    return subprocess.run(
        [sys.executable, str(image / "health.py")],
        cwd=service.folder,
        env=os.environ | {name: str(service.port)},
        stderr=subprocess.DEVNULL,
    ).returncode


# The unit


def test_the_unit_keeps_the_gallery_where_it_may_write() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(DEPLOY / "face-recognition@.service")
    about = unit["Service"]
    given = dict(pair.split("=", 1) for pair in about["Environment"].split())
    settings = recognition_config.read(given)
    assert settings.database_url == f"sqlite:////var/lib/{about['StateDirectory']}/gallery.sqlite3"
