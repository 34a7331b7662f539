"""What only a SQLite file has: its modes, its bytes, and that another may be put in its place."""

from __future__ import annotations

import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from galleries import MODEL, also_in_milvus, enrol, nearest_ids, vectors_of
from recognition.errors import GalleryUnavailable
from recognition.gallery import Gallery, open_gallery


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "gallery.sqlite3"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "gallery.sqlite3").write_bytes(b"no database" * 1000)
    with pytest.raises(GalleryUnavailable):
        open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=1)


def test_vectors_lie_as_little_endian_float32(file: Path, gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    with closing(sqlite3.connect(file)) as connection:
        ((blob, fingerprint),) = connection.execute("SELECT vector, fingerprint FROM samples").fetchall()
    assert np.frombuffer(blob, "<f4").tolist() == vectors_of(1)[0].tolist()
    assert fingerprint == MODEL


def mode(path: Path) -> str:
    return oct(stat.S_IMODE(path.stat().st_mode))


def test_only_its_owner_can_read_a_new_file(file: Path, gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    assert mode(file.parent) == "0o700"
    beside = {path.name: mode(path) for path in file.parent.iterdir()}
    assert set(beside) >= {file.name, f"{file.name}-wal", f"{file.name}-shm"}
    assert set(beside.values()) == {"0o600"}


def test_the_modes_of_an_older_file_and_folder_stay(file: Path, url: str) -> None:
    file.parent.mkdir(mode=0o750)
    file.touch(mode=0o640)
    open_gallery(url, lock_timeout_s=5).close()
    assert (mode(file.parent), mode(file)) == ("0o750", "0o640")


def test_one_change_does_not_read_the_others_again(file: Path, gallery: Gallery, other: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    assert nearest_ids(other, 1) == ["a"]
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE samples SET vector = zeroblob(512) WHERE sample_id = 'a'")
    enrol(gallery, ["c"], [3])
    gallery.delete("b")
    assert nearest_ids(other, 3) == ["c"]
    ((match, _),) = other.nearest(vectors_of(1), 2, MODEL)
    assert (match.sample.id, match.distance) == ("a", 0)


def test_vectors_are_read_when_the_gallery_is_loaded(file: Path, url: str, gallery: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    opened = open_gallery(url, lock_timeout_s=5)
    opened.load()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE samples SET vector = zeroblob(512)")
    assert opened.nearest(vectors_of(2), 1, MODEL)[0][0].distance == 0
    opened.close()


def copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copied:
        origin.backup(copied)


@also_in_milvus
def test_an_older_copy_restored_into_the_file_is_what_is_found(
    file: Path, gallery: Gallery, other: Gallery
) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    copy(file, file.with_name("copy"))
    enrol(gallery, ["a", "c"], [3, 4])
    gallery.delete("b")
    assert nearest_ids(gallery, 4) == nearest_ids(other, 4) == ["c"]
    copy(file.with_name("copy"), file)
    for reader in (gallery, other):
        assert nearest_ids(reader, 1, k=9) == ["a", "b"]
        assert reader.nearest(vectors_of(1), 1, MODEL)[0][0].distance == 0
    assert gallery.count() == 2


@also_in_milvus
def test_an_older_copy_in_the_place_of_the_file_is_what_is_found(
    file: Path, gallery: Gallery, other: Gallery
) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    copy(file, file.with_name("copy"))
    enrol(gallery, ["a", "c"], [3, 4])
    gallery.delete("b")
    assert nearest_ids(gallery, 4) == nearest_ids(other, 4) == ["c"]
    file.with_name("copy").replace(file)
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink()
    for number in range(5):  # its revisions have gone on beyond those of the index
        enrol(gallery, [f"new {number}"], [10 + number])
    for reader in (gallery, other):
        assert set(nearest_ids(reader, 1, k=9)) == {"a", "b", *(f"new {number}" for number in range(5))}
        assert reader.nearest(vectors_of(1), 1, MODEL)[0][0].distance == 0
        assert nearest_ids(reader, 12) == ["new 2"]


def test_a_file_that_goes_is_missed_and_not_written_to(file: Path, gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    for path in file.parent.iterdir():
        path.unlink()
    file.parent.rmdir()
    with pytest.raises(GalleryUnavailable):
        enrol(gallery, ["b"], [2])
    with pytest.raises(GalleryUnavailable):
        gallery.count()


def steps_to_see_one_change(url: str, n: int) -> int:
    """Count the steps of SQLite's machine in a search among n samples, after another process enrolled one."""
    writer, reader = open_gallery(url, lock_timeout_s=5), open_gallery(url, lock_timeout_s=5)
    enrol(writer, [str(i) for i in range(n)], [i % 7 for i in range(n)])
    writer.delete("3")
    assert nearest_ids(reader, 0) == ["0"]
    enrol(writer, ["new", "1"], [100, 101])
    writer.delete("2")
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    def watch(connection: sqlite3.Connection, *_: object) -> None:
        connection.set_progress_handler(step, 1)

    sa.event.listen(sa.pool.Pool, "checkout", watch)
    try:
        assert nearest_ids(reader, 100) == ["new"]
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", watch)
        writer.close()
        reader.close()
    return count


def test_one_change_is_no_more_work_in_a_large_gallery(tmp_path: Path) -> None:
    small, large = (steps_to_see_one_change(f"sqlite:///{tmp_path / str(n)}", n) for n in (10, 3000))
    assert large < 1.5 * small


def test_to_change_or_find_a_few_samples_no_table_is_read_through(gallery: Gallery) -> None:
    """Whatever the gallery's size: every statement that is sent finds its rows by a key or an index."""
    enrol(gallery, ["a", "b", "c"], [1, 2, 3])
    nearest_ids(gallery, 1)  # its vectors are all read once
    sent: list[tuple[str, Any]] = []
    sa.event.listen(gallery.engine, "before_cursor_execute", lambda *call: sent.append(call[2:4]))
    enrol(gallery, ["a"], [4])
    enrol(gallery, ["d"], [5])
    assert nearest_ids(gallery, 5) == ["d"]
    assert gallery.delete("b")
    assert gallery.delete_named("nobody") == 0
    gallery.get("a")
    sent = [(text, values) for text, values in sent if text.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert any("samples" in text for text, _ in sent)
    with closing(gallery.engine.raw_connection()) as connection:
        for text, values in sent:
            one = values[0] if isinstance(values, list) else values
            plan = connection.cursor().execute(f"EXPLAIN QUERY PLAN {text}", one).fetchall()
            assert not [step for *_, step in plan if re.match(r"SCAN (samples|tombstones)\b", step)], text
