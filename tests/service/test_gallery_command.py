"""`recognition gallery`: a gallery moves between databases and machines and stays the same."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result

from galleries import as_sent
from older_galleries import RELEASED, make_older
from recognition.cli.main import cli
from recognition.faces import Sample
from recognition.gallery import open_gallery, portable, transfer
from recognition.gallery.tables import VERSION

LENGTH = 10.0
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def sample(number: int, modified: datetime = NOW) -> Sample:
    metadata = {"n": number, "text": 'Zoë\n"x"'} if number % 2 else None
    return Sample(f"id-{number:04d}", f"name {number % 7}", metadata, "enter", NOW, modified)


def vectors(count: int, seed: int = 0, dimension: int = 128) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension))
    return (LENGTH * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def run(url: str, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["gallery", "--database", url, *map(str, arguments)])


def ok(url: str, *arguments: object) -> str:
    result = run(url, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(url: str, *arguments: object) -> str:
    result = run(url, *arguments)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    return result.output


def fresh(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'other.sqlite3'}"


def test_a_gallery_moves_to_another_database_and_back_unchanged(url, gallery, tmp_path) -> None:
    stored = vectors(2500)
    gallery.upsert([sample(n) for n in range(2500)], stored, "model")
    assert ok(url, "count") == "2500\n"
    assert ok(url, "verify") == "2500 samples, no faults.\n"
    ok(url, "export", tmp_path / "a")
    assert ok(url, "verify", tmp_path / "a") == "2500 samples, undamaged.\n"
    assert ok(fresh(tmp_path), "import", tmp_path / "a").startswith("2500 of 2500")
    ok(fresh(tmp_path), "export", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / "a").read_bytes()
    gallery.clear()
    ok(url, "import", tmp_path / "b")
    ok(url, "export", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == (tmp_path / "a").read_bytes()
    ((match,),) = gallery.nearest(stored[1234:1235], 1, "model")
    assert as_sent(match.sample) == sample(1234) and match.distance == pytest.approx(0, abs=1e-6)


def test_an_import_leaves_newer_samples_and_can_be_started_again(url, gallery, tmp_path) -> None:
    old = vectors(3)
    gallery.upsert([sample(n) for n in range(3)], old, "model")
    ok(url, "export", tmp_path / "a")
    later = sample(1, NOW + timedelta(seconds=1))
    gallery.upsert([later], vectors(1, seed=1), "model")
    gallery.delete("id-0002")
    assert ok(url, "import", tmp_path / "a").startswith("1 of 3")
    assert as_sent(gallery.get("id-0001")) == later
    assert as_sent(gallery.get("id-0002")) == sample(2)
    assert ok(url, "import", tmp_path / "a").startswith("0 of 3")


def test_what_is_enrolled_just_before_an_import_would_store_it_stays(url, gallery, tmp_path) -> None:
    gallery.upsert([sample(n) for n in range(3)], vectors(3), "model")
    ok(url, "export", tmp_path / "a")
    gallery.clear()
    later = sample(1, NOW + timedelta(seconds=1))
    left = [later]

    def enrol_first(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if left and ("IMMEDIATE" in statement or "advisory" in statement):  # the import is about to write
            gallery.upsert([left.pop()], vectors(1, seed=1), "model")

    importing = open_gallery(url, 5)
    sa.event.listen(importing.engine, "before_cursor_execute", enrol_first)
    with (tmp_path / "a").open("rb") as file:
        assert transfer.import_file(importing, file) == (2, 1, 0)
    importing.close()
    assert [as_sent(gallery.get(f"id-000{n}")) for n in range(3)] == [sample(0), later, sample(2)]


def test_a_broken_off_export_goes_on_where_it_stopped(url, gallery, tmp_path) -> None:
    gallery.upsert([sample(n) for n in range(20)], vectors(20), "model")
    ok(url, "export", tmp_path / "whole")
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    for cut in (
        b"",
        lines[0][:9],
        lines[0],
        b"".join(lines[:8]),
        b"".join(lines[:8]) + lines[8][:30],
        b"".join(lines),
    ):
        (tmp_path / "again.part").write_bytes(cut)
        ok(url, "export", tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == b"".join(lines)
        assert not (tmp_path / "again.part").exists()


def peak_of_a_move(folder: Path, count: int) -> int:
    """Move so many samples to another database: the most memory that was in use on the way, in bytes."""
    folder.mkdir()
    source, target = (f"sqlite:///{folder / name}" for name in ("source", "target"))
    gallery = open_gallery(source, 5)
    gallery.upsert([sample(n) for n in range(count)], vectors(count), "model")
    gallery.close()
    ok(source, "export", folder / "whole")
    with (folder / "whole").open("rb") as file:
        (folder / "again.part").write_bytes(file.read(400 * count))  # about half of it
    tracemalloc.start()
    try:
        ok(source, "export", folder / "again")
        ok(source, "verify")
        assert ok(target, "import", folder / "again").startswith(f"{count} of {count}")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_moving_more_samples_takes_no_more_memory(tmp_path: Path) -> None:
    """4,000 samples more are 3.6 MB more as a file."""
    peak_of_a_move(tmp_path / "first", 1000)  # imports and caches stay
    small, large = (peak_of_a_move(tmp_path / str(count), count) for count in (2000, 6000))
    assert large < small + 2_000_000


def test_samples_that_came_since_the_break_are_exported_too(url, gallery, tmp_path) -> None:
    gallery.upsert([sample(n) for n in range(5)], vectors(5), "model")
    ok(url, "export", tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b.part")
    gallery.upsert([sample(9)], vectors(1, seed=9), "model")
    ok(url, "export", tmp_path / "b")
    assert ok(url, "verify", tmp_path / "b").startswith("6 samples")


def test_another_models_vectors_are_refused(url, gallery, tmp_path) -> None:
    other = open_gallery(fresh(tmp_path), 5)
    other.upsert([sample(1)], vectors(1, dimension=512), "another model")
    other.close()
    ok(fresh(tmp_path), "export", tmp_path / "a")
    gallery.upsert([sample(2)], vectors(1), "model")
    assert "another embedding model" in refused(url, "import", tmp_path / "a")
    assert gallery.count() == 1
    (tmp_path / "a").rename(tmp_path / "b.part")
    assert "another model" in refused(url, "export", tmp_path / "b")
    gallery.clear()
    ok(url, "import", tmp_path / "b.part")
    assert gallery.count() == 1


DAMAGES = {
    "empty": lambda lines: [],
    "not JSON": lambda lines: [lines[0], b"{\n", *lines[2:]],
    "not an object": lambda lines: [b"[]\n", *lines[1:]],
    "another version": lambda lines: [lines[0].replace(b'"gallery":2', b'"gallery":3'), *lines[1:]],
    "no end": lambda lines: lines[:-1],
    "a half line": lambda lines: [*lines[:2], lines[2][:40]],
    "a line less": lambda lines: [*lines[:2], *lines[3:]],
    "a line twice": lambda lines: [*lines[:2], lines[1], *lines[2:]],
    "another order": lambda lines: [lines[0], lines[2], lines[1], *lines[3:]],
    "a changed name": lambda lines: [*lines[:2], lines[2].replace(b"name 1", b"name 2"), *lines[3:]],
    "a field less": lambda lines: [*lines[:2], lines[2].replace(b'"action"', b'"noitca"'), *lines[3:]],
    "an id that is no text": lambda lines: [*lines[:2], lines[2].replace(b'"id-0001"', b"7"), *lines[3:]],
    "a short vector": lambda lines: [*lines[:2], without_a_value(lines[2]), *lines[3:]],
    "more behind": lambda lines: [*lines, lines[1]],
}


def without_a_value(line: bytes) -> bytes:
    value = json.loads(line)
    value["vector"] = value["vector"][:-8]
    return json.dumps(value).encode() + b"\n"


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_whole(tmp_path: Path, damage: str) -> None:
    gallery = open_gallery(fresh(tmp_path), 5)
    gallery.upsert([sample(n) for n in range(5)], vectors(5), "model")
    gallery.close()
    ok(fresh(tmp_path), "export", tmp_path / "a")
    lines = (tmp_path / "a").read_bytes().splitlines(keepends=True)
    (tmp_path / "a").write_bytes(b"".join(DAMAGES[damage](lines)))
    refused(fresh(tmp_path), "verify", tmp_path / "a")
    target = f"sqlite:///{tmp_path / 'target.sqlite3'}"
    refused(target, "import", tmp_path / "a")
    opened = open_gallery(target, 5)
    assert opened.count() == 0
    opened.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("update samples set vector = x'0000803f' where key = 2", "another length"),
        (f"update samples set vector = x'{'00' * 508}0000c07f' where key = 2", "not finite"),
        ("update samples set fingerprint = 'other' where key = 2", "of another model"),
        ("update samples set revision = 99 where key = 2", "newer than the gallery"),
        ("update samples set metadata = '{' where key = 2", "not JSON"),
        ("insert into tombstones values (2, 1, 1)", "deleted sample"),
    ],
)
def test_verify_tells_what_is_wrong_with_a_database(tmp_path: Path, change: str, told: str) -> None:
    gallery = open_gallery(fresh(tmp_path), 5)
    gallery.upsert([sample(n) for n in range(5)], vectors(5), "model")
    gallery.close()
    connection = sqlite3.connect(tmp_path / "other.sqlite3")
    with connection:
        connection.execute(change)
    connection.close()
    output = refused(fresh(tmp_path), "verify")
    assert told in output and "Faults: 1." in output


def test_an_empty_gallery_is_not_exported(tmp_path: Path) -> None:
    open_gallery(fresh(tmp_path), 5).close()
    assert "empty" in refused(fresh(tmp_path), "export", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_export_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    gallery = open_gallery(fresh(tmp_path), 5)
    gallery.upsert([sample(1)], vectors(1), "model")
    gallery.close()
    ok(fresh(tmp_path), "export", tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("command", [["count"], ["verify"], ["export", "file"], ["backup", "file"]])
def test_only_an_import_makes_a_gallery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'no folder' / 'gallery.sqlite3'}"
    result = run(url, *command)
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"There is no gallery at {url}." in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_runs_as_a_module(tmp_path: Path) -> None:
    open_gallery(fresh(tmp_path), 5).close()
    command = [sys.executable, "-m", "recognition.gallery", "--database", fresh(tmp_path), "count"]
    folder = Path(portable.__file__).parents[2]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", f"gallery: {fresh(tmp_path)}\n")


def test_every_command_speaks_json(tmp_path: Path) -> None:
    gallery = open_gallery(fresh(tmp_path), 5)
    gallery.upsert([sample(1)], vectors(1), "model")
    gallery.close()
    for arguments, answer in (
        (("count",), {"samples": 1}),
        (("verify",), {"samples": 1, "faults": []}),
        (("export", tmp_path / "a"), {"exported": 1}),
        (("verify", tmp_path / "a"), {"samples": 1, "faults": []}),
        (("import", tmp_path / "a"), {"imported": 0, "unchanged": 1}),
        (("backup", tmp_path / "b"), {"backed_up": 1}),
    ):
        assert json.loads(ok(fresh(tmp_path), *arguments, "--json")) == answer
    result = run(fresh(tmp_path), "backup", tmp_path / "b", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is there already" in json.loads(result.stderr.splitlines()[-1])["error"]["detail"]


def test_a_file_is_verified_without_a_gallery(tmp_path: Path) -> None:
    gallery = open_gallery(fresh(tmp_path), 5)
    gallery.upsert([sample(1)], vectors(1), "model")
    gallery.close()
    ok(fresh(tmp_path), "export", tmp_path / "a")
    result = run(f"sqlite:///{tmp_path / 'none'}", "verify", tmp_path / "a")
    assert (result.exit_code, result.output) == (0, "1 samples, undamaged.\n")


@pytest.mark.parametrize("command", ["export", "import", "backup", "count", "verify"])
def test_help_opens_no_gallery(tmp_path: Path, command: str) -> None:
    assert ok(fresh(tmp_path), command, "--help").startswith("Usage: ")
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_none_is_told() -> None:
    result = run("nonsense", "count")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("Error: DATABASE_URL: ")


@pytest.mark.parametrize("there", ["nothing", "an older version"])
def test_tables_are_made_or_brought_up_to_date_before_services_start(there: str, bare_url: str) -> None:
    if there == "an older version":
        make_older(bare_url, RELEASED, [("a", "Ann")])
    before = versions(bare_url)
    result = run(bare_url, "migrate", "--check")
    assert (result.exit_code, result.stdout) == (3, "")
    assert ("is no gallery" if there == "nothing" else f"version {RELEASED}, this pro") in result.stderr
    assert versions(bare_url) == before

    for _ in range(2):  # the second time it does nothing
        assert ok(bare_url, "migrate") == "The tables are up to date.\n"
    assert json.loads(ok(bare_url, "migrate", "--check", "--json")) == {"up_to_date": True}
    assert versions(bare_url) == [VERSION]
    assert ok(bare_url, "count") == ("0\n" if there == "nothing" else "1\n")


def test_a_newer_gallery_is_neither_brought_back_nor_taken_for_up_to_date(url: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    for options in [], ["--check"]:
        result = run(url, "migrate", *options)
        assert (result.exit_code, result.stdout) == (3, "")
        assert "9999" in result.stderr
    assert versions(url) == ["9999"]


def versions(url: str) -> list[str]:
    """The versions that a database says its tables have: one, or none."""
    if url.startswith("sqlite") and not Path(url.removeprefix("sqlite:///")).exists():
        return []
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        there = sa.inspect(connection).has_table("alembic_version")
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version") if there else []
        numbers = [number for (number,) in found]
    engine.dispose()
    return numbers
