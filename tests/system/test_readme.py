"""The commands and examples of README and docs/ are run, and what they print has the shape shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import pytest

from recognition.client import Client
from running import ROOT, Pair

# docs/scaling.md needs Docker, systemd or nginx: test_deploy.py and test_balancer.py.
PAGES = [
    "README.md",
    "docs/api.md",
    "docs/archives.md",
    "docs/cameras.md",
    "docs/command-line.md",
    "docs/events.md",
    "docs/operating.md",
    "docs/privacy.md",
    "docs/questions.md",
    "docs/upgrading.md",
]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
NEXT = "== next =="

# What is run elsewhere: it serves until it is stopped, or takes the whole set-up.
ELSEWHERE = {
    "make run": "test_launch.py::test_serve_starts_both_and_stops_both",
    "make test": "test_readme.py::test_what_is_run_elsewhere_is_run_there",  # it runs this one
    "python3 test_request.py": "test_client_script.py::test_the_demo_recognises_every_photograph",
    "cd feature_extraction && gunicorn -w 2 -b 0.0.0.0:5000 wsgi:app": "running.py::start",
    "cd face_detection && gunicorn -w 2 -b 0.0.0.0:6337 wsgi:app": "running.py::start",
    "cd face_detection && python3 face_detection.py": "test_launch.py::test_the_launcher_script_serves",
}


@dataclass(frozen=True)
class Example:
    """One command with the lines that it prints."""

    command: str
    output: list[str]


def blocks(kind: str) -> list[tuple[str, str]]:
    """The blocks of one kind, with the page and the line where they start."""
    return [
        (f"{page}:{text.count(chr(10), 0, block.start()) + 1}", block[1])
        for page, text in TEXTS.items()
        for block in re.finditer(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


def examples(block: str) -> list[Example]:
    """Commands start with `$ ` and go on, after a `|` or a `\\`, on the next line; `#` starts a comment."""
    parsed: list[Example] = []
    goes_on = False
    for line in block.splitlines():
        if line.startswith("$ "):
            parsed.append(Example(re.sub(r"\s+# .*", "", line[2:]), []))
        elif goes_on:
            parsed.append(Example(f"{parsed.pop().command}\n{line}", []))
        else:
            parsed[-1].output.append(line)
        goes_on = (line.startswith("$ ") or goes_on) and line.endswith(("|", "\\"))
    return parsed


SESSIONS = [pytest.param(examples(block), id=place) for place, block in blocks("console")]
PROGRAMS = [pytest.param(block, id=place) for place, block in blocks("python")]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, demo: Path) -> Path:
    """A home with the pictures that the pages speak of, and this repository in it."""
    home = tmp_path_factory.mktemp("home")
    for path in ROOT.iterdir():
        (home / path.name).symlink_to(path)
    first, second = sorted((demo / "train" / "madonna").glob("httpi*MMVBMTANDQ*")) + sorted(
        (demo / "train" / "madonna").glob("httpssmediacacheakpinimgcomxdc*")
    )
    shutil.copy(first, home / "me.jpg")
    shutil.copy(first, home / "party.jpg")
    shutil.copy(min((demo / "val" / "madonna").iterdir()), home / "other.jpg")
    (home / "people").mkdir()
    (home / "backups").mkdir()
    people = {"madonna": [first, second], "ben_afflek": sorted((demo / "train" / "ben_afflek").iterdir())[:2]}
    for person, paths in people.items():
        (home / "people" / person).mkdir()
        for number, path in enumerate(paths, 1):
            shutil.copy(path, home / "people" / person / f"{number}.jpg")
    shutil.copy(first, home / "people" / "madonna" / "again.jpg")
    shutil.copy(min((demo / "train" / "mindy_kaling").iterdir()), home / "people" / "Mindy.jpg")
    (home / "people" / "broken.jpg").write_bytes(b"no picture")
    frame = cv2.imread(str(first))
    writer = cv2.VideoWriter(
        str(home / "door.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (frame.shape[1], frame.shape[0])
    )
    for _ in range(10):
        writer.write(frame)
    writer.release()
    return home


@pytest.fixture
def service(pair: Pair, demo: Path) -> Iterator[Pair]:
    """The running services, with somebody enrolled who is in no example, and no other example's galleries."""
    with Client(pair.url) as client:
        client.enrol("0", "Jerry", min((demo / "train" / "jerry_seinfeld").iterdir()))
        yield pair
        for gallery in client.galleries():
            if gallery["name"] != "default":
                client.delete_gallery(gallery["name"])


def run(command: list[str], pair: Pair, home: Path, models_dir: Path) -> str:
    environment = {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MODELS_DIR": str(models_dir),
        **pair.detection.environment,
    }
    done = subprocess.run(
        command, cwd=home, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def test_the_examples_are_found() -> None:
    assert {str(session.id).partition(":")[0] for session in SESSIONS} == {*PAGES}
    assert len(PROGRAMS) >= 1


@pytest.mark.parametrize("session", SESSIONS)
def test_a_session_prints_what_is_shown(
    session: list[Example], service: Pair, home: Path, models_dir: Path
) -> None:
    here = [example for example in session if example.command not in ELSEWHERE]
    script = "".join(f"{example.command}\necho '{NEXT}'\n" for example in here)
    for written, meant in (
        ("http://127.0.0.1:6337", service.url),
        ("/backups/", f"{home}/backups/"),
        ("/home/me/", f"{home}/"),
        ("postgresql://me@db/faces", f"sqlite:///{home / 'other.sqlite3'}"),
    ):
        script = script.replace(written, meant)
    printed = run(["bash", "-c", script], service, home, models_dir).split(f"{NEXT}\n")[:-1]
    for example, output in zip(here, printed, strict=True):
        output = output.replace(str(home), "/home/me")
        assert [*map(shape, output.splitlines())] == [*map(shape, example.output)], example.command


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs(program: str, service: Pair, home: Path, models_dir: Path) -> None:
    program = program.replace("http://127.0.0.1:6337", service.url)
    assert run([sys.executable, "-c", program], service, home, models_dir).startswith("Me ")


def shape(line: str) -> Any:
    """What stays the same from run to run: of JSON its keys and types, of text all but numbers, ids, keys."""
    try:
        return structure(json.loads(line))
    except ValueError:
        without_ids = re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "ID", line)
        without_keys = re.sub(r"(?<![\w-])([0-9a-f]{64}|[\w-]{43})(?![\w-])", "KEY", without_ids)
        return re.sub(r"\d+(\.\d+)*", "0", " ".join(without_keys.split()))


def structure(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: structure(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [structure(inside) for inside in value]
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_run_elsewhere_is_run_there(command: str) -> None:
    file, _, name = ELSEWHERE[command].partition("::")
    (path,) = (ROOT / "tests").rglob(file)
    assert f"def {name}" in path.read_text(encoding="utf-8")
    assert any(example.command == command for _, block in blocks("console") for example in examples(block))
