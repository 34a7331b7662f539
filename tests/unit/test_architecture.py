"""Who may import whom: rules of folders, and what may stand only in one place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "serving": ROOT / "serving",
    "recognition": ROOT / "face_detection" / "recognition",
    "embedding": ROOT / "feature_extraction" / "embedding",
}
EVERYTHING = {"app", "cli"}  # the rooms that put the others together

# A room is a folder, or a file that lies beside the folders. It may see itself, the values, and these.
VALUES = {"errors", "strangers", "faces", "poses", "results", "visits", "bounds", "names", "client_keys"}
ROOMS = {
    "values": set(),
    "pictures": set(),
    "matching": set(),
    "detector": set(),
    "embedder": set(),
    "client": set(),
    "events": {"client"},
    "config": set(),
    "fonts": set(),
    "audit": set(),
    "admission": set(),
    "backgrounds": {"matching"},
    "gallery": {"matching", "backgrounds", "audit"},
    "seeing": {"pictures"},
    "enrolling": {"seeing", "pictures", "matching"},
    # Of the gallery it sees how a file is opened and encrypted.
    "archive": {"seeing", "enrolling", "pictures", "matching", "gallery"},
    "keeping": {"seeing", "pictures", "gallery"},
    "changing": {"seeing", "pictures", "gallery"},  # it is about the gallery's vectors, and no request's
    "takeover": {"gallery", "enrolling"},
    "cameras": {"pictures"},
    "service": {"seeing", "enrolling", "changing", "pictures", "matching", "admission"},
    "visiting": {"service", "seeing", "enrolling", "pictures", "matching", "gallery"},
    "web": {"service", "visiting", "gallery"},
    "probing": {"seeing", "enrolling", "admission", "gallery"},
    "compreface": {"service", "probing", "gallery"},
}
# What of serving/ has no edge to it: no Flask, no gunicorn, no environment. Every room may see it.
INNER = {
    "errors",
    "formats",
    "stages",
    "hangup",
    "validation",
    "request_id",
    "model",
    "attributes",
    "runtimes",
    "deepface",
    "credentials",
    "remarks",
    "keys",
    "version",
}
EDGE = {
    "app",
    "cli",
    "web",
    "compreface",
    "config",
    "wsgi",
    "gunicorn_conf",
    "__main__",
    "keys",
}  # see the rest, too
EMBEDDING_EDGE = {"app", "routes", "config", "wsgi", "gunicorn_conf"}

# Outside libraries that only these rooms may import; a room of serving/ is one of its files.
ONLY = {
    "flask": {"web", "compreface", "cli", "app", "routes", "serving"},
    "werkzeug": {"compreface", "cli", "serving"},
    "gunicorn": {"compreface", "serving"},
    "dotenv": {"serving"},
    "pydantic_settings": {"serving"},
    "platformdirs": {"serving"},
    "prometheus_client": {"web", "serving"},
    "sqlalchemy": {"gallery", "archive"},
    "alembic": {"gallery"},
    "pgvector": {"gallery"},
    "psycopg": {"gallery", "takeover"},
    "cryptography": {"gallery"},
    "click": {"cli", "gallery"},
    "rich": {"cli"},
    "setproctitle": {"cli"},
    "requests": {"client", "cli", "events"},
    "paho": {"events"},
    "ray": {"cli"},
    "pyarrow": {"archive"},
    "urllib3": {"embedder", "client", "takeover"},
    "onnxruntime": {"serving"},
    "openvino": {"serving"},
    "PIL": {"fonts", "serving"},
    "pillow_heif": {"serving"},
    "imagecodecs": {"serving"},
    "logging": {"gallery", "audit", "compreface", "cli", "serving"},
    "os": {
        "config",
        "audit",
        "archive",
        "cli",
        "cameras",
        "events",
        "serving",
        "deepface_models",
        "detector",
    },
    "subprocess": {"cameras", "cli", "serving", "takeover"},
    "tensorflow": {"deepface_models"},
    "deepface": {"cameras", "serving", "deepface_models", "detector"},
    "onnx": set(),
    "tf_keras": set(),
    "mtcnn": set(),
    "tf2onnx": set(),
}
# The core: arithmetic on arrays and values.
PURE = {
    "values",
    "pictures",
    "matching",
    "wire",
    "render",
    "preprocess",
    "catalogue",
    "similarity",
    "plugins",
    "head_pose",
    "motion",
    "tracking",
    "sources",
    "protocol",
    "address",
    "homeassistant",
}
IMPURE = {"flask", "sqlalchemy", "os", "logging", "requests", "urllib3", "socket", "subprocess", "time"}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"relative import in {path}"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(package: str, inner: tuple[str, ...]) -> str:
    if package == "serving":
        return "serving"
    return "values" if package == "recognition" and inner[0] in VALUES else inner[0]


FILES = [
    (package, room_of(package, inner), path)
    for package, folder in PACKAGES.items()
    for path in sorted(folder.rglob("*.py"))
    if (inner := path.relative_to(folder).with_suffix("").parts) != ("__init__",)
]
every_file = pytest.mark.parametrize(
    ("package", "room", "path"), FILES, ids=[str(path.relative_to(ROOT)) for *_, path in FILES]
)


@every_file
def test_arrows_point_inward(package: str, room: str, path: Path) -> None:
    for imported in imports(path):
        first, *rest = imported.split(".")
        if first in PACKAGES and first != package:
            # Of the services only `recognition`'s command line knows both: it puts them into one process.
            assert first == "serving" or room == "cli", f"{path.name} may not import {imported}"
            edge = EMBEDDING_EDGE if package == "embedding" else EDGE
            if first == "serving" and rest:
                assert rest[0] in INNER or room in edge or room == "admission", f"{room}: {imported}"
        if first == "recognition" and package == "recognition" and rest and room in ROOMS:
            seen = room_of("recognition", tuple(rest))
            if path.name == "__main__.py" and seen == "cli":  # an alias of a command
                continue
            assert seen in {room, "values", *ROOMS[room]}, f"{room} may not import {imported}"


def test_no_two_files_import_each_other_however_late() -> None:
    folders = PACKAGES | {"preparation": ROOT / "preparation"}
    names = {
        ".".join((package, *path.relative_to(folder).with_suffix("").parts)): path
        for package, folder in folders.items()
        for path in folder.rglob("*.py")
    }
    arrows = {name: [other for other in imports(path) if other in names] for name, path in names.items()}
    finished: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in finished:
            for other in arrows[name]:
                follow(other, (*way, name))
            finished.add(name)

    for name in names:
        follow(name, ())
    assert len(finished) > 100


@every_file
def test_libraries_stay_in_their_rooms(package: str, room: str, path: Path) -> None:
    for imported in imports(path):
        library = imported.partition(".")[0]
        assert room in ONLY.get(library, {room}), f"{room} may not import {imported}"


@every_file
def test_the_core_is_pure(package: str, room: str, path: Path) -> None:
    if room in PURE or path.stem in PURE:
        assert not {name.partition(".")[0] for name in imports(path)} & IMPURE


def test_every_room_has_a_rule() -> None:
    rooms = {room for package, room, _ in FILES if package == "recognition"}
    assert rooms == {*ROOMS, *EDGE - {"keys"}, "keys"}


@every_file
def test_status_numbers_stand_at_the_edge_alone(package: str, room: str, path: Path) -> None:
    if package == "serving" or room in ("web", "compreface", "client", "embedder", "events", "takeover"):
        return
    numbers = {
        node.value
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, int)
    }
    assert not numbers & {400, 401, 403, 404, 409, 413, 415, 429, 503}


# Imports inside a function: what a start would pay for otherwise, though few need it.
CLI = "face_detection/recognition/cli/"
LAZY: dict[str, set[str]] = {
    "serving/readers.py": {"pillow_heif", "serving"},  # 10 MB, and only the process that decodes needs them
    "serving/runtimes.py": {"onnxruntime", "openvino"},  # each takes 20 MB, and telemetry is off only by then
    "face_detection/recognition/app.py": {"recognition.compreface"},  # most services do without it
    "face_detection/recognition/detector/deepface_detectors.py": {"deepface.modules"},
    "feature_extraction/embedding/deepface_models.py": {
        "deepface.modules",
        "deepface.modules.preprocessing",
        "tensorflow",
    },
    "face_detection/recognition/archive/tables.py": {"recognition.gallery.cipher"},
    "face_detection/recognition/archive/buckets.py": {"pyarrow"},
    "face_detection/recognition/archive/parquet.py": {"pyarrow"},
    f"{CLI}cluster.py": {"ray", "ray.exceptions"},
    # Most galleries are searched without Milvus.
    "face_detection/recognition/gallery/milvus.py": {
        "milvus_lite.server_manager",
        "pymilvus",
        "pymilvus.exceptions",
    },
    "face_detection/recognition/gallery/opening.py": {
        "recognition.gallery.cipher",
        "recognition.gallery.milvus",
        "recognition.gallery.search_milvus",
    },
    "face_detection/recognition/gallery/migrations/__init__.py": {"recognition.gallery.migrations.upgrade"},
    # --help and shell completion answer without NumPy, SQLAlchemy and the models.
    f"{CLI}archive.py": {"recognition.cli"},
    f"{CLI}compreface.py": {"recognition", "recognition.gallery"},
    f"{CLI}doctor.py": {"recognition.cli.checks"},
    f"{CLI}gallery.py": {
        "embedding.network",
        "recognition.cli.changing",
        "recognition.cli.erasing",
        "recognition.cli.findings",
        "recognition.cli.opening",
        "recognition.cli.wishes",
        "recognition.gallery",
        "recognition.gallery.backup",
        "recognition.gallery.galleries",
        "recognition.gallery.faces",
        "recognition.gallery.reindexing",
        "recognition.gallery.transfer",
    },
    f"{CLI}migrate.py": {"recognition.cli.migration"},
    f"{CLI}models.py": {"preparation.manifest"},
    f"{CLI}outlets.py": {
        "recognition.events",
        "recognition.events.broker",
        "recognition.events.frigate",
        "recognition.events.lines",
        "recognition.events.mqtt",
        "recognition.events.outlets",
        "recognition.events.spool",
        "recognition.events.webhooks",
    },
    f"{CLI}recognise.py": {"recognition.cli"},
    f"{CLI}serve.py": {"embedding", "recognition", "serving.models"},
    f"{CLI}session.py": {"recognition"},
    f"{CLI}service.py": {"recognition.cli.local"},
    f"{CLI}unknowns.py": {"recognition.cli.strangers"},
    f"{CLI}watch.py": {"recognition.cli"},
}


@every_file
def test_imports_stand_at_the_top(package: str, room: str, path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            for child in ast.walk(node):
                if isinstance(child, ast.Import):
                    inside |= {alias.name for alias in child.names}
                elif isinstance(child, ast.ImportFrom):
                    inside.add(child.module or "")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("import_module", "__import__"), f"{path}: a plain import will do"
    assert inside == LAZY.get(str(path.relative_to(ROOT)), set())


@pytest.mark.parametrize("folder", PACKAGES.values(), ids=list(PACKAGES))
def test_every_folder_says_its_rule_in_few_lines(folder: Path) -> None:
    for init in folder.rglob("__init__.py"):
        if "migrations" not in init.parts:
            docstring = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8")))
            assert docstring and len(docstring.splitlines()) <= 10, init


def test_nothing_edits_the_path_of_modules() -> None:
    for path in ROOT.glob("[!.]*/**/*.py"):
        if not {"tests", "benchmarks", "docs"} & set(path.parts):
            assert not re.search(r"sys\.path(\.|\[|\s*[+=])", path.read_text(encoding="utf-8")), path


def test_the_services_folders_are_no_packages() -> None:
    assert not list(ROOT.glob("f*/__init__.py"))


def shapes(path: Path) -> list[tuple[int, str]]:
    """The lines of code with names, numbers and texts made alike: number and shape of each."""
    code = path.read_text(encoding="utf-8")
    passed_over = {
        line
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    shaped = []
    for number, line in enumerate(code.splitlines(), 1):
        line = line.partition("  # ")[0].strip()
        if number in passed_over or not re.search(r"\w", line) or line.startswith("#"):
            continue
        if re.fullmatch(r'"[^"]*",', line):  # one of a list of texts
            continue
        if re.fullmatch(r"\w+: [\w\[\], .|]+", line):  # a field, which says nothing but its type
            continue
        line = re.sub(r'[bfr]*"[^"]*"', "T", line)
        shaped.append((number, re.sub(r"\b(?!def|class|return|if|for|with|raise)[A-Za-z_]\w*", "n", line)))
    return shaped


ALIKE = 6  # lines


def test_no_six_lines_of_the_services_look_alike() -> None:
    seen: dict[tuple[str, ...], str] = {}
    for package in ("recognition", "embedding"):
        for path in sorted(PACKAGES[package].parent.rglob("*.py")):
            lines = shapes(path)
            for start in range(len(lines) - ALIKE + 1):
                window = tuple(shape for _, shape in lines[start : start + ALIKE])
                place = f"{package}: {path.relative_to(ROOT)}:{lines[start][0]}"
                other = seen.setdefault(window, place)
                assert other.partition(":")[0] == package, f"{place} looks like {other}"
