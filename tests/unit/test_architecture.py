"""Who may import whom, and what may stand only in one place."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# module of ours -> those of ours that it may import; modules of one folder may import each other
RECOGNITION = {
    "errors": set(),
    "faces": set(),
    "bounds": set(),
    "request_id": set(),
    "keys": set(),
    "config": {"keys"},
    "models": {"config"},
    "worker": {"config", "errors"},
    "stages": {"faces"},
    "logs": {"request_id"},
    "rate": {"errors"},
    "images": {"errors"},
    "decoding_process": {"images", "errors"},
    "decoding": {"decoding_process", "images", "errors"},
    "crops": {"faces"},
    "drawing": {"faces"},
    "matching": set(),
    "detector": {"faces", "errors"},
    "embedder": {"faces", "errors", "request_id"},
    "audit": {"errors", "request_id"},
    # the last three for its command, __main__.py
    "gallery": {"faces", "errors", "matching", "bounds", "audit", "config", "request_id"},
    "admission": {"errors", "stages"},
    "results": {"faces", "errors"},
    "metrics": {"faces", "stages"},
    "service": {"images", "crops", "drawing", "faces", "errors", "admission", "results", "stages"},
    "wire": {"images", "faces", "errors", "bounds"},
    "answers": set(),
    "render": {"answers", "faces", "results", "wire"},
    "access": {"errors", "keys", "rate", "request_id"},
    "browsers": set(),
    "observe": {"metrics", "request_id", "stages"},
    "routes": {"answers", "wire", "render", "errors", "keys", "metrics", "service"},
    "transfers": {"answers", "errors", "gallery", "service"},
    "openapi": {"answers", "bounds", "errors"},
    "operations": {"answers", "errors", "openapi", "wire"},
    "documentation": {"errors", "faces", "gallery", "keys", "openapi", "operations", "routes"},
    "app": {
        "access",
        "audit",
        "browsers",
        "config",
        "documentation",
        "errors",
        "images",
        "metrics",
        "observe",
        "rate",
        "routes",
        "service",
        "transfers",
        "admission",
        "decoding",
        "detector",
        "embedder",
        "gallery",
    },
    "client": set(),
    "local": {"config", "app", "client", "errors", "faces", "models"},
    "commands": {"client", "config", "local", "errors", "gallery"},
    "__main__": {"commands"},
}
EMBEDDING = {
    "errors": set(),
    "config": set(),
    "models": {"config"},
    "preprocess": set(),
    "catalogue": {"preprocess"},
    "deepface_models": {"catalogue"},
    "engines": set(),
    "logs": set(),
    "gathering": {"engines"},
    "metrics": set(),
    "network": {"preprocess", "catalogue", "deepface_models", "engines", "gathering"},
    "wire": {"errors"},
    "uploads_process": {"preprocess"},
    "uploads": {"uploads_process"},
    "service": {"network"},
    "answers": set(),
    "routes": {"answers", "wire", "errors", "service", "network", "metrics"},
    "openapi": {"answers", "wire"},
    "documentation": {"errors", "openapi", "routes"},
    "app": {
        "config",
        "documentation",
        "routes",
        "network",
        "preprocess",
        "uploads",
        "deepface_models",
        "engines",
    },
}
PACKAGES = {"face_detection/recognition": RECOGNITION, "feature_extraction/embedding": EMBEDDING}

# outside libraries that only some may import
ONLY = {
    "flask": {
        "access",
        "browsers",
        "observe",
        "routes",
        "transfers",
        "documentation",
        "app",
        "logs",
        "local",
    },
    "werkzeug": {"browsers", "routes", "documentation", "app", "local"},
    "sqlalchemy": {"gallery"},
    "alembic": {"gallery"},
    "pgvector": {"gallery"},
    "cryptography": {"gallery"},
    "click": {"gallery", "commands", "__main__"},
    "rich": {"gallery", "commands"},
    "requests": {"client", "local"},
    "urllib3": {"embedder", "client"},
    "onnxruntime": {"detector", "engines"},
    "openvino": {"engines", "commands"},
    "PIL": {"images", "decoding_process", "preprocess", "uploads_process"},
    "gunicorn": {"routes", "worker"},
    "logging": {"logs", "observe", "routes", "local"},
    "prometheus_client": {"metrics", "routes"},
    "os": {
        "config",
        "metrics",
        "deepface_models",
        "detector",  # deepface takes its settings from the environment
        "decoding",
        "decoding_process",
        "uploads",
        "uploads_process",
        "commands",  # folders and processes, not the environment
    },
    "subprocess": {"models", "decoding", "uploads"},
    "tensorflow": {"deepface_models"},
    "tf_keras": set(),
    "deepface": {"deepface_models", "detector"},
    "mtcnn": set(),
    "tf2onnx": set(),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"relative import in {path}"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "import_module"
        ):
            yield ast.literal_eval(node.args[0])


def modules(folder: str) -> Iterator[tuple[str, Path]]:
    package = ROOT / folder
    for path in sorted(package.rglob("*.py")):
        inner = path.relative_to(package).with_suffix("").parts
        if inner != ("__init__",):
            yield inner[0], path


FILES = [(folder, name, path) for folder in PACKAGES for name, path in modules(folder)]


@pytest.mark.parametrize(
    ("folder", "name", "path"), FILES, ids=[str(path.relative_to(ROOT)) for *_, path in FILES]
)
def test_arrows_point_inward(folder: str, name: str, path: Path) -> None:
    """Of one service alone `local` knows the other: it puts both into one process."""
    allowed = PACKAGES[folder]
    package = Path(folder).name
    others = {Path(other).name for other in PACKAGES} - {package}
    for imported in imports(path):
        parts = imported.split(".")
        assert parts[0] not in others or name == "local", f"{path} imports the other service"
        if parts[0] == package and len(parts) > 1:
            assert parts[1] == name or parts[1] in allowed[name], f"{name} may not import {imported}"
        if parts[0] in ONLY:
            assert name in ONLY[parts[0]], f"{name} may not import {imported}"


@pytest.mark.parametrize("folder", PACKAGES)
def test_the_table_names_just_the_modules_that_exist(folder: str) -> None:
    assert set(PACKAGES[folder]) == {name for name, _ in modules(folder)}


@pytest.mark.parametrize("folder", PACKAGES)
def test_one_file_of_a_service_imports_deepface(folder: str) -> None:
    libraries = {"deepface", "tensorflow"}
    files = {path for _, path in modules(folder) for name in imports(path) if name.split(".")[0] in libraries}
    assert len(files) == 1


@pytest.mark.parametrize("folder", PACKAGES)
def test_imports_stand_at_the_top(folder: str) -> None:
    for _, path in modules(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                inside = [child for child in ast.walk(node) if isinstance(child, ast.Import | ast.ImportFrom)]
                assert inside == [], f"{path}: {node.name} imports inside"


def test_the_services_folders_are_no_packages() -> None:
    assert not list(ROOT.glob("f*/__init__.py"))
