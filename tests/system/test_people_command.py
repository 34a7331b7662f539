"""`recognition people`, `samples move` and `galleries`, with the real services running and without."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recognition.cli.main import cli
from running import Pair


class Program:
    """The program with an environment, and with options behind each command."""

    def __init__(self, environment: dict[str, str], *options: str) -> None:
        self.environment, self.options = environment, options

    def __call__(self, *arguments: object, status: int = 0) -> list[Any]:
        command = [*map(str, arguments), "--json", *self.options]
        done = CliRunner(env=self.environment).invoke(cli, command)
        assert done.exit_code == status, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def refused(self, *arguments: object) -> str:
        done = CliRunner(env=self.environment).invoke(cli, [*map(str, arguments), "--json", *self.options])
        assert done.exit_code == 1, done.output
        return str(json.loads(done.stderr.splitlines()[-1])["error"]["code"])


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path, models_dir: Path) -> Iterator[Program]:
    if getattr(request, "param", "service") == "service":
        pair: Pair = request.getfixturevalue("pair")
        yield Program({}, "--host", pair.url)
        return
    url = f"sqlite:///{tmp_path / 'alone' / 'gallery.sqlite3'}"
    level = logging.getLogger("recognition").level
    yield Program({"DATABASE_URL": url, "MODELS_DIR": str(models_dir)})
    logging.getLogger("recognition").setLevel(level)


def people(run: Program, *options: str) -> list[tuple[str, int]]:
    return [(person["name"], person["samples"]) for person in run("people", "list", *options)]


# Alone each command loads the engines; of those of `samples` and `people` one kind does.
@pytest.mark.parametrize("run", ["service", "alone"], indirect=True)
def test_a_wrong_name_is_put_right(run: Program, photographs: dict[str, list[Path]], tmp_path: Path) -> None:
    hers = photographs["madonna"]
    run("enrol", hers[0], "--name", "Ann")
    (wrong,) = (sample["id"] for sample in run("samples", "list"))
    correct = ("samples", "correct", hers[1], "--wrong", wrong)
    assert run.refused(*correct, "--name", "Bea", "--at", "0", "0") == "no_face"
    assert run.refused(*correct, "--person", "nobody") == "not_found"
    (kept,) = run(*correct, "--name", "Bea")
    assert (people(run), kept["moved"], kept["removed"]) == ([("Ann", 1), ("Bea", 1)], [], [])
    (moved,) = run(*correct, "--person", kept["person"], "--then", "move")
    assert (people(run), moved["moved"]) == ([("Bea", 3)], [wrong])
    (removed,) = run(*correct, "--name", "Cleo", "--then", "remove")
    assert (people(run), removed["removed"]) == ([("Bea", 2), ("Cleo", 1)], [wrong])


def people_ids(run: Program) -> list[str]:
    return [person["id"] for person in run("people", "list")]


def test_people_are_corrected(run: Program, photographs: dict[str, list[Path]], tmp_path: Path) -> None:
    run("enrol", *photographs["madonna"][:2], "--name", "Madonna")
    run("enrol", photographs["madonna"][2], photographs["ben_afflek"][0], "--name", "Mádonna Ciccone")
    assert people(run) == [("Madonna", 2), ("Mádonna Ciccone", 2)]
    assert people(run, "--query", "CICC") == [("Mádonna Ciccone", 2)]
    one, other = (person["id"] for person in run("people", "list"))
    wrong = next(
        sample["id"]
        for sample in run("samples", "list", "--person", other)
        if sample["metadata"]["path"] == photographs["ben_afflek"][0].name
    )
    assert run("samples", "move", wrong, "nobody", "--name", "Ben", status=1) == [
        {"moved": [wrong], "missing": ["nobody"]}
    ]
    run("people", "merge", other, one)
    run("people", "rename", one, "Madonna Ciccone")
    assert people(run) == [("Ben", 1), ("Madonna Ciccone", 3)]
    (shown,) = run("people", "show", one)
    assert (shown["name"], len(shown["samples"])) == ("Madonna Ciccone", 3)
    face = tmp_path / "face.jpg"
    assert run("samples", "face", wrong, "--out", face) == [{"face": str(face)}]
    assert face.read_bytes().startswith(b"\xff\xd8\xff")
    assert stat.S_IMODE(face.stat().st_mode) == 0o600
    assert run.refused("samples", "face", "nobody", "--out", tmp_path / "none.jpg") == "not_found"
    assert not (tmp_path / "none.jpg").exists()
    assert run("samples", "export", "--faces", tmp_path / "all.jsonl") == [{"exported": 4}]
    assert (tmp_path / "all.jsonl").read_bytes().count(b'"face":{"jpeg":') == 4
    assert run("people", "export", one, tmp_path / "her.jsonl") == [{"exported": 3}]
    assert (tmp_path / "her.jsonl").read_bytes().count(b'"face":{"jpeg":') == 3
    assert stat.S_IMODE((tmp_path / "her.jsonl").stat().st_mode) == 0o600
    (receipt,) = run("people", "delete", one)
    assert sorted(receipt["samples"]) == sorted(shown["samples"])
    assert people(run) == [("Ben", 1)]
    assert run("samples", "import", tmp_path / "her.jsonl") == [{"imported": 3, "unchanged": 0}]
    assert people(run) == [("Ben", 1), ("Madonna Ciccone", 3)]
    run("people", "rename", people_ids(run)[1], "Ben")
    refused = run("enrol", photographs["ben_afflek"][1], "--name", "ben", status=1)[0]["refused"]
    assert [error["code"] for error in refused.values()] == ["ambiguous_name"]
    ben = people_ids(run)[0]
    assert len(run("enrol", photographs["ben_afflek"][1], "--person", ben)[0]["enrolled"]) == 1
    assert len(run("enrol", photographs["ben_afflek"][1], "--person", ben)[0]["already"]) == 1
    assert people(run) == [("Ben", 2), ("Ben", 3)]
    assert run.refused("enrol", photographs["ben_afflek"][1], "--person", "nobody") == "not_found"
    assert run.refused("people", "show", "nobody") == "not_found"
    assert run.refused("people", "delete", "nobody") == "not_found"
    assert run.refused("people", "merge", one, one) == "invalid_request"
    assert run.refused("people", "rename", one, " ") == "invalid_request"
    assert run.refused("people", "export", "nobody", tmp_path / "x") == "not_found"
    assert not (tmp_path / "x").exists()
    assert run.refused("samples", "move", wrong, "--person", "nobody") == "not_found"


def test_duties_towards_the_people_enrolled(
    run: Program, photographs: dict[str, list[Path]], tmp_path: Path
) -> None:
    until = "2100-01-01T00:00:00+00:00"
    picture, other = photographs["madonna"][0], photographs["ben_afflek"][0]
    run("enrol", picture, "--name", "Madonna", "--expires-at", until)
    run("enrol", other, "--name", "Ben", "--expires-at", "never")
    assert [sample["expires_at"] for sample in run("samples", "list")].count(until) == 1
    ben, madonna = people_ids(run)
    noted = run("people", "change", madonna, "--note", "consent=in writing", "--note", "note=a=b")
    assert noted[0]["metadata"] == {"consent": "in writing", "note": "a=b"}
    (changed,) = run("people", "change", madonna, "--note", "note=", "--expires-at", until)
    assert (changed["metadata"], changed["expires_at"]) == ({"consent": "in writing"}, until)
    assert run("people", "change", madonna, "--expires-at", "never")[0]["expires_at"] is None
    assert [person["id"] for person in run("people", "list", "--without", "consent")] == [ben]
    assert len(run("people", "list", "--without", "purpose")) == 2
    receipts = tmp_path / "receipts"
    (receipt,) = run("people", "delete", madonna, "--receipt", receipts)
    run("people", "delete", ben, "--receipt", receipts)
    first, second = map(json.loads, receipts.read_text().splitlines())
    assert (first, second["person"]) == (receipt, ben)
    assert stat.S_IMODE(receipts.stat().st_mode) == 0o600
    run("enrol", picture, "--name", "Madonna")
    (again,) = people_ids(run)
    refused = run("people", "delete", again, "--receipt", tmp_path / "nowhere" / "receipts", status=1)
    assert refused == [] and people_ids(run) == [again]  # what cannot be kept is not asked for
    assert run.refused("people", "change", "nobody", "--expires-at", "never") == "not_found"
    assert run.refused("people", "change", again, "--expires-at", "soon") == "invalid_request"
    (report,) = run("enrol", other, "--name", "Ben", "--expires-at", "soon", status=1)
    assert [error["code"] for error in report["refused"].values()] == ["invalid_request"]


def test_strictly_nothing_doubtful_is_enrolled(
    run: Program, photographs: dict[str, list[Path]], tmp_path: Path
) -> None:
    first, other = photographs["madonna"][:2]
    run("enrol", first, "--name", "Ann")
    (report,) = run("enrol", first, other, "--name", "Ben", "--strict", status=1)
    assert [report["refused"][path.name]["code"] for path in (first, other)] == ["same_picture", "looks_like"]
    assert people(run) == [("Ann", 1)]
    (report,) = run("enrol", first, "--name", "Ben")
    assert [warning["code"] for warning in report["warnings"][first.name]] == ["same_picture", "looks_like"]
    (report,) = run("enrol", photographs["ben_afflek"][0], "--name", "Cid", "--strict")
    assert len(report["enrolled"]) == 1


def test_galleries_are_made_used_and_deleted(
    run: Program, photographs: dict[str, list[Path]], tmp_path: Path
) -> None:
    there = ("--gallery", "lobby")
    assert run("galleries", "make", "lobby")[0]["samples"] == 0
    assert run.refused("galleries", "make", "lobby") == "gallery_exists"
    assert run.refused("galleries", "make", "a b") == "invalid_request"
    assert len(run("enrol", photographs["madonna"][0], "--name", "Madonna", *there)[0]["enrolled"]) == 1
    (picture,) = run("recognise", photographs["madonna"][0], *there)
    assert picture["faces"][0]["name"] == "Madonna"
    assert run("recognise", photographs["madonna"][0])[0]["faces"][0]["name"] == ""
    assert (people(run), people(run, *there)) == ([], [("Madonna", 1)])
    assert run("samples", "export", tmp_path / "lobby.jsonl", *there) == [{"exported": 1}]
    listed = [(each["name"], each["samples"], each["persons"]) for each in run("galleries", "list")]
    assert listed == [("default", 0, 0), ("lobby", 1, 1)]
    assert run("galleries", "delete", "lobby", "--yes") == [{"deleted": "lobby"}]
    assert run.refused("galleries", "delete", "lobby", "--yes") == "not_found"
    assert run.refused("galleries", "delete", "default", "--yes") == "invalid_request"
    run("people", "list", *there, status=3)
