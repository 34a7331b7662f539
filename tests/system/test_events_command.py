"""`recognition events` with the real services running and without: listed, shown, written, deleted."""

from __future__ import annotations

import csv
import json
import logging
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recognition.cli.events import COLUMNS
from recognition.cli.local import open_client
from recognition.cli.main import cli
from recognition.client import Client, ServiceError
from recognition.visits import EventJson
from running import Pair

Photographs = dict[str, list[Path]]


class Program:
    """The program with an environment and options, and a client of the same service."""

    def __init__(self, client: Client, environment: dict[str, str], *options: str) -> None:
        self.client, self.environment, self.options = client, environment, options

    def __call__(self, *arguments: object, status: int = 0) -> Result:
        done = CliRunner(env=self.environment).invoke(cli, [*map(str, arguments), *self.options])
        assert done.exit_code == status, done.output
        return done

    def objects(self, *arguments: object, status: int = 0) -> list[Any]:
        return [json.loads(line) for line in self(*arguments, "--json", status=status).stdout.splitlines()]


@pytest.fixture(params=["service", "alone"])
def run(
    request: pytest.FixtureRequest, tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Program]:
    if request.param == "service":
        pair: Pair = request.getfixturevalue("pair")
        with Client(pair.url) as client:
            client.delete_events()
            yield Program(client, {}, "--host", pair.url)
        return
    level = logging.getLogger("recognition").level
    environment = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'alone' / 'gallery.sqlite3'}",
        "MODELS_DIR": str(models_dir),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with open_client("new") as client:
        yield Program(client, environment)
    logging.getLogger("recognition").setLevel(level)


def visit(client: Client, photograph: Path, since: str, camera: str = "door", **more: Any) -> Any:
    """Record what a camera would make of the largest face of a photograph."""
    seen = client.embeddings(photograph, limit=1)
    (face,) = seen["faces"]
    about = {
        "id": str(uuid.uuid4()),
        "camera": camera,
        "since": since,
        "until": None,
        "frames": 7,
        "bbox": face["bbox"],
        "quality": face["quality"],
        "fingerprint": seen["fingerprint"],
        "embeddings": [face["embedding"]],
    }
    return client.record({**about, **more}, photograph)


def test_what_cameras_saw(run: Program, photographs: Photographs, tmp_path: Path) -> None:
    client, hers = run.client, photographs["madonna"]
    client.enrol("1", "=Ann", hers[0])
    ann = client.sample("1")["person"]
    known = visit(client, hers[1], "2026-11-24T08:30:00+00:00", until="2026-11-24T08:31:00+00:00")
    stranger = visit(client, photographs["ben_afflek"][0], "2026-11-24T09:00:00+00:00", "gate \x1b[1m")
    assert (known["name"], known["person"], known["picture"]) == ("=Ann", ann, True)
    assert (stranger["name"], stranger["camera"], stranger["picture"]) == (None, "gate [1m", False)
    assert run.objects("events", "list") == [stranger, known]
    assert run.objects("events", "list", "--limit", "1") == [stranger]
    assert run.objects("events", "list", "--camera", "door") == [known]
    assert run.objects("events", "list", "--person", ann) == [known]
    assert run.objects("events", "list", "--since", "2026-11-24T08:45:00Z") == [stranger]
    assert run.objects("events", "list", "--until", "2026-11-24T09:00:00+00:00") == [known]
    assert run.objects("events", "list", "--since", "2027-01-01") == []
    assert run("events", "list").stdout.splitlines() == [
        f"2026-11-24T09:00:00+00:00 still there  gate [1m  unknown  {stranger['id']}",
        f"2026-11-24T08:30:00+00:00 to 2026-11-24T08:31:00+00:00  door  =Ann ({ann})  {known['id']}",
    ]
    table = list(csv.DictReader(run("events", "list", "--csv", "-").stdout.splitlines()))
    assert [(row["name"], row["camera"], row["until"]) for row in table] == [
        ("", "gate [1m", ""),
        ("'=Ann", "door", "2026-11-24T08:31:00+00:00"),
    ]
    file = tmp_path / "events.csv"
    assert run("events", "list", "--csv", file).stdout == ""
    assert (file.read_text().count("\n"), stat.S_IMODE(file.stat().st_mode)) == (3, 0o600)
    out = tmp_path / "face.jpg"
    run("events", "picture", known["id"], "--out", out)
    assert (out.read_bytes()[:3], stat.S_IMODE(out.stat().st_mode)) == (b"\xff\xd8\xff", 0o600)
    run("events", "picture", stranger["id"], "--out", tmp_path / "none.jpg", status=1)
    assert not (tmp_path / "none.jpg").exists()
    (receipt,) = run.objects("people", "delete", ann)
    assert receipt["events"] == 1
    assert run.objects("events", "list") == [stranger]


def test_events_are_deleted(run: Program, photographs: Photographs) -> None:
    client = run.client
    first, *_ = (
        visit(client, photographs["madonna"][0], f"2026-11-24T08:3{n}:00+00:00", camera)["id"]
        for n, camera in enumerate(("door", "door", "gate", "gate"))
    )
    nobody = str(uuid.uuid4())
    assert run.objects("events", "delete", first, nobody, status=1) == [{"deleted": 1, "missing": [nobody]}]
    limits = ("--camera", "gate", "--since", "2026-11-24T08:33:00+00:00")
    assert run.objects("events", "delete", *limits) == [{"deleted": 1, "missing": []}]
    assert [event["camera"] for event in run.objects("events", "list")] == ["gate", "door"]
    for wrong in ((), (first, "--all"), ("--all", "--camera", "door"), ("--since", "soon")):
        run("events", "delete", *wrong, status=2)
    assert run("events", "delete", "--all").stdout == "2 deleted.\n"
    assert list(client.events()) == []


def test_a_watcher_learns_that_the_model_has_changed(run: Program, photographs: Photographs) -> None:
    with pytest.raises(ServiceError) as refused:
        visit(run.client, photographs["madonna"][0], "2026-11-24T08:30:00+00:00", fingerprint="another model")
    assert refused.value.code == "model_changed"


def test_the_columns_are_those_of_an_event() -> None:
    assert list(COLUMNS) == list(EventJson.__annotations__)
