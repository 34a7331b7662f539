"""`recognition gallery backup`: a whole gallery, whatever is written meanwhile."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from galleries import MODEL, PROCESSES, a_sample, enrol, nearest_ids
from recognition.cli.main import cli
from recognition.gallery import open_gallery

BATCH = 50


def run(url: str, *arguments: object) -> Result:
    return CliRunner().invoke(cli, ["gallery", "--database", url, *map(str, arguments)])


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'gallery.sqlite3'}"


def write_until_told(connection: Any, url: str) -> None:
    """Enrol batch after batch; tell the number of those that are stored."""
    gallery = open_gallery(url, lock_timeout_s=30)
    number = 0
    while not connection.poll():
        new = [a_sample(f"{number}-{row}") for row in range(BATCH)]
        gallery.upsert(new, np.ones((BATCH, 8), np.float32), MODEL)
        number += 1
        connection.send(number)
    connection.recv()
    gallery.close()


@pytest.fixture
def writer(url: str) -> Iterator[Any]:
    """A process that goes on writing; what it tells can be received."""
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=write_until_told, args=(theirs, url), daemon=True)
    process.start()
    theirs.close()
    yield ours
    ours.send("stop")
    while True:
        try:
            ours.recv()
        except EOFError:
            break
    process.join()
    assert process.exitcode == 0


def test_a_backup_is_one_state_of_a_gallery_that_is_written_to(url: str, tmp_path: Path, writer: Any) -> None:
    for number in range(3):
        told = writer.recv()
        while writer.poll():
            told = writer.recv()
        file = tmp_path / f"backup-{number}"
        result = run(url, "backup", file)
        assert result.exit_code == 0, result.output
        copied = open_gallery(f"sqlite:///{file}", lock_timeout_s=5)
        count = copied.count()
        copied.close()
        assert result.stdout == f"{count} samples backed up.\n"
        assert count % BATCH == 0
        assert count >= told * BATCH
        assert run(f"sqlite:///{file}", "verify").stdout == f"{count} samples, no faults.\n"
    writer.recv()  # it still writes


def test_a_backup_is_one_file_that_its_owner_alone_can_read_and_a_gallery(url: str, tmp_path: Path) -> None:
    gallery = open_gallery(url, lock_timeout_s=5)
    enrol(gallery, ["a", "b"], [1, 2])
    folder = tmp_path / "backups"
    folder.mkdir()
    assert run(url, "backup", folder / "one").exit_code == 0
    enrol(gallery, ["c"], [3])
    gallery.close()
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert stat.S_IMODE((folder / "one").stat().st_mode) == 0o600
    restored = open_gallery(f"sqlite:///{folder / 'one'}", lock_timeout_s=5)
    assert nearest_ids(restored, 2, k=9) == ["b", "a"]
    restored.close()


@pytest.mark.parametrize("there", ["file", "file.part"])
def test_nothing_is_overwritten(url: str, tmp_path: Path, there: str) -> None:
    gallery = open_gallery(url, lock_timeout_s=5)
    enrol(gallery, ["a"], [1])
    gallery.close()
    (tmp_path / there).write_text("mine")
    result = run(url, "backup", tmp_path / "file")
    assert result.exit_code == 1
    assert there in result.output
    assert (tmp_path / there).read_text() == "mine"
    assert {path.name for path in tmp_path.glob("file*")} == {there}


def test_a_damaged_database_gives_no_backup(url: str, tmp_path: Path) -> None:
    gallery = open_gallery(url, lock_timeout_s=5)
    enrol(gallery, [str(seed) for seed in range(200)], range(200))
    gallery.close()
    with (tmp_path / "gallery.sqlite3").open("r+b") as file:
        file.seek(30_000)
        file.write(b"\xff" * 30_000)
    result = run(url, "backup", tmp_path / "file")
    assert result.exit_code in (1, 3)  # whichever step comes upon it
    assert "Error: The" in result.output
    assert not list(tmp_path.glob("file*"))


def test_no_gallery_gives_no_backup(url: str, tmp_path: Path) -> None:
    result = run(url, "backup", tmp_path / "file")
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"There is no gallery at {url}." in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_empty_gallery_gives_no_backup(url: str, tmp_path: Path) -> None:
    """It would look like one, and replace a full one."""
    open_gallery(url, lock_timeout_s=5).close()
    result = run(url, "backup", tmp_path / "file")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "The gallery is empty" in result.stderr
    assert not list(tmp_path.glob("file*"))


def test_a_folder_that_is_not_there_is_told(url: str, tmp_path: Path) -> None:
    gallery = open_gallery(url, lock_timeout_s=5)
    enrol(gallery, ["a"], [1])
    gallery.close()
    result = run(url, "backup", tmp_path / "nowhere" / "file")
    assert (result.exit_code, "nowhere" in result.output) == (1, True)


def test_of_postgresql_pg_dump_makes_it(postgresql: Any, tmp_path: Path) -> None:
    with postgresql.database() as name:
        open_gallery(postgresql.url(name), lock_timeout_s=5).close()
        result = run(postgresql.url(name), "backup", tmp_path / "file")
    assert result.exit_code == 2
    assert "Error: This gallery is in PostgreSQL: pg_dump makes a backup of it.\n" in result.stderr
    assert not (tmp_path / "file").exists()
