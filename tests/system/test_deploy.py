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
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from embedding import config as embedding_config
from installing import PACKAGES, build_wheel, new_environment
from recognition import config as recognition_config
from running import ROOT, Service, free_port

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "face-recognition@.service"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
NGINX = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
VARIANTS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))
    for name in ("compose.yaml", "compose.sqlite.yaml")
}
CONFIGS = {"face-detection": recognition_config, "feature-extraction": embedding_config}
LOCKS = ("requirements.lock", "requirements-prepare.lock")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TIMEOUT_S = 60


def instructions() -> Iterator[tuple[str, list[str]]]:
    """The Dockerfile's instructions after its last FROM, the image that remains."""
    text = re.sub(r"\\\n|^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    for line in text[text.rindex("FROM ") :].splitlines()[1:]:
        if line:
            name, _, arguments = line.partition(" ")
            yield name, shlex.split(arguments)


def set_in_the_image() -> dict[str, str]:
    return dict(pair.split("=", 1) for name, pairs in instructions() if name == "ENV" for pair in pairs)


# compose.yaml, compose.sqlite.yaml


def environment_of(variant: str, service: str) -> dict[str, str]:
    """A service's environment in a Compose file, with the default of each ${NAME:-default}."""
    given: dict[str, Any] = VARIANTS[variant]["services"][service]["environment"]
    return {name: re.sub(r"\$\{\w+:[-?](.*?)\}", r"\1", str(value)) for name, value in given.items()}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("service", CONFIGS)
def test_every_setting_reaches_the_service_that_reads_it(variant: str, service: str) -> None:
    config: Any = CONFIGS[service]
    fields = {name.upper() for name in config.Settings.model_fields}
    about = VARIANTS[variant]["services"][service]
    assert about["env_file"] == [{"path": ".env", "required": False}]
    # What a Compose file sets itself nobody can change: just where the parts find each other.
    environment = environment_of(variant, service)
    fixed = {name for name in fields & environment.keys() if "$" not in str(about["environment"][name])}
    address = {f"{service.replace('-', '_').upper()}_{part}" for part in ("HOST", "PORT")}
    topology = {"FEATURE_EXTRACTION_URL", "DATABASE_URL"} if service == "face-detection" else set()
    assert fixed == address | topology | {"MODELS_DIR"}
    # Everything else there is PostgreSQL's own, or a secret that is kept from who has no use for it.
    assert all(name == "PGPASSWORD" or environment[name] == "" for name in environment.keys() - fields)
    config.read({name: value for name, value in environment.items() if name in fields})


def test_callers_reach_one_service_and_nothing_else() -> None:
    for variant, entrance in (("compose.yaml", "balancer"), ("compose.sqlite.yaml", "face-detection")):
        services, networks = VARIANTS[variant]["services"], VARIANTS[variant]["networks"]
        outside = {name for name, about in networks.items() if not (about or {}).get("internal")}
        assert [name for name, about in services.items() if outside & set(about["networks"])] == [entrance]
        assert [name for name, about in services.items() if "ports" in about] == [entrance]
        (port,) = services[entrance]["ports"]
        assert port.startswith("${PUBLISH:-127.0.0.1:6337}:")  # nor does another machine


def test_each_finds_the_others_where_they_listen() -> None:
    image = set_in_the_image()
    listens = {
        f"face-detection:{image['FACE_DETECTION_PORT']}",
        f"feature-extraction:{image['FEATURE_EXTRACTION_PORT']}",
    }
    assert set(re.findall(r"^ +server (\S+) resolve", NGINX, re.MULTILINE)) == listens
    assert {server.partition(":")[0] for server in listens} <= VARIANTS["compose.yaml"]["services"].keys()
    outer, inner = re.findall(r"listen (\d+);", NGINX)
    assert VARIANTS["compose.yaml"]["services"]["balancer"]["ports"][0].endswith(f":{outer}")
    alone = VARIANTS["compose.sqlite.yaml"]["services"]["face-detection"]
    assert alone["ports"][0].endswith(f":{image['FACE_DETECTION_PORT']}")
    for variant, extraction in (
        ("compose.yaml", f"http://balancer:{inner}"),
        ("compose.sqlite.yaml", f"http://feature-extraction:{image['FEATURE_EXTRACTION_PORT']}"),
    ):
        assert environment_of(variant, "face-detection")["FEATURE_EXTRACTION_URL"] == extraction
        for service in CONFIGS:
            environment, name = environment_of(variant, service), service.replace("-", "_").upper()
            assert environment[f"{name}_HOST"] == "0.0.0.0"
            assert environment[f"{name}_PORT"] == image[f"{name}_PORT"]
            assert environment["MODELS_DIR"] == image["MODELS_DIR"]


def test_the_gallery_in_sqlite_is_on_a_volume() -> None:
    database = environment_of("compose.sqlite.yaml", "face-detection")["DATABASE_URL"]
    assert database == set_in_the_image()["DATABASE_URL"]
    (volume,) = VARIANTS["compose.sqlite.yaml"]["services"]["face-detection"]["volumes"]
    assert database.startswith(f"sqlite:///{volume.partition(':')[2]}/")


# The lock files


def locked(name: str) -> dict[str, Requirement]:
    """The packages of a lock file by their names; each has a version, and hashes."""
    text = (DEPLOY / name).read_text(encoding="utf-8").replace("\\\n", "")
    requirements = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            requirement, *hashes = line.split(" --hash=sha256:")
            assert hashes, line
            assert all(re.fullmatch("[0-9a-f]{64}", value.strip()) for value in hashes), line
            parsed = Requirement(requirement.strip())
            assert re.fullmatch(r"==[^*,]+", str(parsed.specifier)), line
            requirements[canonicalize_name(parsed.name)] = parsed
    return requirements


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_files_have_what_the_project_needs(name: str) -> None:
    needed = list(PYPROJECT["project"]["dependencies"])
    if name == "requirements-prepare.lock":
        needed += PYPROJECT["project"]["optional-dependencies"]["prepare"]
        needed += PYPROJECT["build-system"]["requires"]  # the wheel is made in that stage
    packages = locked(name)
    for requirement in map(Requirement, needed):
        (version,) = packages[canonicalize_name(requirement.name)].specifier
        assert version.version in requirement.specifier, f"{requirement}: `make lock`"


def test_models_are_prepared_with_the_versions_that_serve() -> None:
    serving, preparing = map(locked, LOCKS)
    assert {name: preparing[name].specifier for name in serving} == {
        name: package.specifier for name, package in serving.items()
    }


def test_the_image_lacks_what_only_preparation_needs() -> None:
    extra = {Requirement(text).name for text in PYPROJECT["project"]["optional-dependencies"]["prepare"]}
    assert (
        locked("requirements.lock").keys().isdisjoint(map(canonicalize_name, extra | {"openvino-telemetry"}))
    )


# The image


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory, models_dir: Path) -> Path:
    """The image's /app, made as the Dockerfile makes it, with `models` from this machine."""
    app = tmp_path_factory.mktemp("image")
    for name, arguments in instructions():
        if name == "COPY" and not arguments[0].startswith("--from"):
            *sources, target = arguments
            (app / target).mkdir(exist_ok=True)
            for source in sources:
                shutil.copy(ROOT / source, app / target)
    (app / "models").symlink_to(models_dir)
    return app


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the project's wheel, and of all that is installed here just what the image has."""
    installed = locked("requirements.lock").keys()
    absent = {
        module
        for module, distributions in importlib.metadata.packages_distributions().items()
        if installed.isdisjoint(map(canonicalize_name, distributions))
    } - PACKAGES.keys()
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    return new_environment(tmp_path_factory.mktemp("python"), wheel, without=absent)


def test_the_context_has_just_what_the_dockerfile_copies() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = set()
    for arguments in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        copied |= {source.rstrip("/") for source in arguments.split()[:-1]}
    within = {path for path in copied if any(path.startswith(f"{folder}/") for folder in copied)}
    assert sent == copied - within
    assert all((ROOT / path).exists() for path in copied)
    assert lines.index("*") < min(lines.index(f"!{name}") for name in sent)


def test_the_image_recognises_a_face(
    image: Path, python: Path, photographs: dict[str, list[Path]], tmp_path: Path
) -> None:
    environment = {
        name: value.replace("/app/", f"{image}/") for name, value in set_in_the_image().items()
    } | {"PYTHONPATH": ""}
    extraction = Service(
        str(image / "feature_extraction"), environment, free_port(), tmp_path / "extraction.log", python
    )
    environment |= {"FEATURE_EXTRACTION_URL": extraction.url}
    detection = Service(
        str(image / "face_detection"), environment, free_port(), tmp_path / "detection.log", python
    )
    enrolled, probe = (base64.b64encode(path.read_bytes()).decode() for path in photographs["madonna"][:2])
    (image / "data").mkdir()
    migrate = [python.with_name("recognition"), "gallery", "migrate"]
    for options in [], ["--check"]:
        subprocess.run([*migrate, *options], env=os.environ | environment, check=True)
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
            assert is_healthy(image, service) == is_healthy(image, service, "ready") == 0
    finally:
        detection.stop()
        extraction.stop()
    assert (image / "data" / "gallery.sqlite3").is_file()
    assert is_healthy(image, detection) != 0


def is_healthy(image: Path, service: Service, *what: str) -> int:
    """The exit status of the image's health check beside this service."""
    name = f"{Path(service.folder).name.upper()}_PORT"
    return subprocess.run(
        [sys.executable, str(image / "health.py"), *what],
        cwd=service.folder,
        env=os.environ | {name: str(service.port)},
        stderr=subprocess.DEVNULL,
    ).returncode


# The unit


@pytest.fixture
def unit() -> ConfigParser:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    return unit


def test_the_unit_reads_the_settings_that_commands_read(unit: ConfigParser, tmp_path: Path) -> None:
    about = unit["Service"]
    (setting,) = about["Environment"].split()
    assert setting == "RECOGNITION_SETTINGS=/etc/face-recognition.env"
    assert "EnvironmentFile" not in about  # a command would not have what is read into the environment there
    settings = recognition_config.read({"RECOGNITION_SETTINGS": str(DEPLOY / "face-recognition.env")})
    assert settings.database_url == f"sqlite:////var/lib/{about['StateDirectory']}/gallery.sqlite3"
    assert settings.face_detection_host == "127.0.0.1"


def test_the_unit_runs_a_module_and_can_be_reloaded(unit: ConfigParser) -> None:
    """The scripts of a virtual environment have its path in them, so a module moves more safely."""
    assert unit["Service"]["ExecStart"] == "/opt/face-recognition/.venv/bin/python -m gunicorn wsgi:app"
    assert unit["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"
    for service in ("face_detection", "feature_extraction"):
        folder = Path(unit["Service"]["WorkingDirectory"].replace("%i", service)).name
        assert (ROOT / folder / "wsgi.py").is_file()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8").replace("/opt/face-recognition/.venv/bin/python", sys.executable)
    path = tmp_path / UNIT.name.replace("@", "@face_detection")
    path.write_text(text, encoding="utf-8")
    outcome = subprocess.run(
        ["systemd-analyze", "verify", "--recursive-errors=no", str(path)], capture_output=True, text=True
    )
    assert (outcome.returncode, outcome.stderr) == (0, "")
