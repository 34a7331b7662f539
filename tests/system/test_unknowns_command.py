"""`recognition unknowns`, with services that keep unknown faces and without any service."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from recognition.cli.main import cli
from recognition.client import Client, ServiceError
from running import Pair

Photographs = dict[str, list[Path]]


class Program:
    """The program with an environment, and with options behind each command."""

    def __init__(self, environment: dict[str, str], *options: str) -> None:
        self.environment, self.options = environment, options

    def __call__(self, *arguments: object, status: int = 0) -> list[Any]:
        done = self.run(*arguments, "--json")
        assert done.exit_code == status, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def text(self, *arguments: object) -> str:
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return str(done.stdout)

    def run(self, *arguments: object) -> Any:
        return CliRunner(env=self.environment).invoke(cli, [*map(str, arguments), *self.options])


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, models_dir: Path) -> Iterator[Program]:
    if getattr(request, "param", "service") == "service":
        pair: Pair = request.getfixturevalue("keeping")
        for path in ("samples", "unknowns"):
            requests.delete(f"{pair.url}/{path}", timeout=30).raise_for_status()
        yield Program({}, "--host", pair.url)
        return
    url = f"sqlite:///{tmp_path / 'alone' / 'gallery.sqlite3'}"
    level = logging.getLogger("recognition").level
    environment = {"DATABASE_URL": url, "MODELS_DIR": str(models_dir), "KEEP_UNKNOWN": "1"}
    yield Program(environment)
    logging.getLogger("recognition").setLevel(level)


@pytest.mark.parametrize("run", ["service", "alone"], indirect=True)
def test_somebody_unknown_is_named(run: Program, photographs: Photographs, tmp_path: Path) -> None:
    run("enrol", photographs["mindy_kaling"][0], "--name", "Mindy")
    run("recognise", *photographs["madonna"][:3], *photographs["ben_afflek"][:2])
    first, second = run("unknowns", "list")
    assert (first["faces"], second["faces"]) == (3, 2)
    folder = tmp_path / "pictures"
    (shown,) = run("unknowns", "show", first["id"], "--faces", folder)
    assert len(shown["seen"]) == 3
    pictures = sorted(folder.iterdir())
    assert [path.name for path in pictures] == [f"{first['id']}-{n}.jpg" for n in (1, 2, 3)]
    assert all(path.read_bytes().startswith(b"\xff\xd8") for path in pictures)
    assert stat.S_IMODE(pictures[0].stat().st_mode) == 0o600
    (named,) = run("unknowns", "name", first["id"], "Madonna")
    assert len(named["samples"]) == 3
    assert "Madonna" in json.dumps(run("recognise", photographs["madonna"][4]))
    assert run.text("unknowns", "forget", second["id"]) == "1 unknown people forgotten.\n"
    assert run("unknowns", "list") == []


def test_what_else_there_is(run: Program, keeping: Pair, photographs: Photographs) -> None:
    run("recognise", photographs["madonna"][0], photographs["ben_afflek"][0], photographs["elton_john"][0])
    one, two, three = (each["id"] for each in run("unknowns", "list"))
    assert run.text("unknowns", "merge", one, two) == f"{one} is {two} now.\n"
    assert run.text("unknowns", "ignore", three) == f"{three} is ignored from now on.\n"
    assert [each["id"] for each in run("unknowns", "list")] == [two]
    assert [each["id"] for each in run("unknowns", "list", "--ignored")] == [three]
    assert run.text("unknowns", "show", two).splitlines()[0].startswith(f"{two}  2  20")
    run("enrol", photographs["mindy_kaling"][0], "--name", "Mindy")
    (person,) = run("people", "list")
    (named,) = run("unknowns", "name", two, "--person", person["id"])
    assert named["person"] == person["id"]
    for wrong in (("show", two), ("merge", two, three), ("ignore", two), ("forget", two), ("name", two, "A")):
        assert run.run("unknowns", *wrong).exit_code == 1
    for wrong in (
        ("name", three),
        ("name", three, "A", "--person", "b"),
        ("forget",),
        ("forget", "a", "--all"),
    ):
        assert run.run("unknowns", *wrong).exit_code == 2
    assert run("unknowns", "forget", "--all") == [{"deleted": 1}]
    assert run("unknowns", "list", "--ignored") == []


def test_the_client_tells_what_is_not_there(keeping: Pair) -> None:
    with Client(keeping.url) as service:
        for call in (
            lambda: service.unknown("nobody"),
            lambda: service.unknown_face("nobody", "a"),
            lambda: service.forget_unknown("no/body"),
        ):
            with pytest.raises(ServiceError) as refused:
                call()
            assert refused.value.code == "not_found"
