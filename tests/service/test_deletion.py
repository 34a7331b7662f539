"""What is deleted from a SQLite gallery is gone from its files: the bytes are looked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from galleries import MODEL, FakeClock, a_sample, enrol, nearest_ids, vectors_of
from recognition.gallery import Gallery, keep_up, open_gallery, people

LATER = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "gallery.sqlite3"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


def lies_in(file: Path, seed: int, dimension: int = 128) -> list[str]:
    """Name the files that hold any 32 bytes of a vector."""
    vector = vectors_of(seed, dimension=dimension)[0].tobytes()
    pieces = [vector[start : start + 32] for start in range(0, len(vector), 32)]
    return sorted(
        path.name for path in file.parent.iterdir() if any(piece in path.read_bytes() for piece in pieces)
    )


def expire(gallery: Gallery, clock: FakeClock) -> None:
    clock.now = LATER
    gallery.remove_expired()


def replace(gallery: Gallery, _: FakeClock) -> None:
    old = gallery.engine.connect()
    (size,) = old.exec_driver_sql("SELECT length(vector) FROM samples LIMIT 1").one()
    old.close()
    gallery.upsert([a_sample("b")], vectors_of(9, dimension=size // 4), MODEL)


DELETIONS: dict[str, Callable[[Gallery, FakeClock], object]] = {
    "deleted": lambda gallery, _: gallery.delete("b"),
    "deleted by name": lambda gallery, _: gallery.delete_named("name of b"),
    "cleared": lambda gallery, _: gallery.clear(),
    "replaced": replace,
    "expired": expire,
    "the last of a model": lambda gallery, _: (
        gallery.clear(),
        gallery.upsert([a_sample("z")], np.ones((1, 4), np.float32), "model-b"),
    ),
}


@pytest.mark.parametrize("dimension", [128, 4096])  # in a page with others; over several pages of its own
@pytest.mark.parametrize("how", DELETIONS)
def test_nothing_of_the_vector_stays_in_the_files(
    file: Path, gallery: Gallery, clock: FakeClock, other: Gallery, how: str, dimension: int
) -> None:
    """Another worker has the gallery open, so that SQLite does not tidy up by itself."""
    gallery.upsert(
        [a_sample("a"), a_sample("b", expires_at=LATER), a_sample("c")],
        vectors_of(1, 2, 3, dimension=dimension),
        MODEL,
    )
    other.load()
    assert lies_in(file, 2, dimension)
    DELETIONS[how](gallery, clock)
    assert lies_in(file, 2, dimension) == []


@pytest.mark.parametrize("how", ["deleted", "cleared", "replaced", "expired"])
def test_nothing_of_the_pictures_digest_stays_in_the_files(
    file: Path, gallery: Gallery, clock: FakeClock, how: str
) -> None:
    sample = a_sample("b", picture=b"a digest", expires_at=LATER)
    gallery.upsert([a_sample("a"), sample, a_sample("c")], vectors_of(1, 2, 3), MODEL)

    def holding() -> list[str]:
        return [path.name for path in file.parent.iterdir() if b"a digest" in path.read_bytes()]

    assert holding()
    DELETIONS[how](gallery, clock)
    assert holding() == []


def test_who_reads_meanwhile_is_not_waited_for_and_the_upkeep_comes_later(
    file: Path, gallery: Gallery
) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    with closing(sqlite3.connect(file)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM samples").fetchone() == (2,)
        assert gallery.delete("b")
        assert lies_in(file, 2) != []
        reader.execute("ROLLBACK")
        answers = [False, True]
        keep_up(gallery, lambda seconds: answers.pop(0))
        assert lies_in(file, 2) == []
    assert nearest_ids(gallery, 1, k=9) == ["a"]


def test_a_deletion_that_a_crash_left_in_the_log_goes_at_the_next_start(file: Path, url: str) -> None:
    crashed = open_gallery(url, lock_timeout_s=5)
    enrol(crashed, ["a", "b"], [1, 2])
    with crashed.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("DELETE FROM samples WHERE sample_id = 'b'")
    assert lies_in(file, 2) == [f"{file.name}-wal"]
    started = open_gallery(url, lock_timeout_s=5)
    started.load()
    assert lies_in(file, 2) == []
    started.close()
    crashed.close()


def test_every_connection_writes_to_the_disk_and_overwrites_what_is_deleted(gallery: Gallery) -> None:
    with gallery.engine.connect() as one, gallery.engine.connect() as two:
        for connection in (one, two):
            read = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("synchronous", "secure_delete", "journal_mode")
            ]
            assert read == [2, 1, "wal"]  # 2 is FULL


def test_the_time_that_locks_are_waited_for_stays(gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    gallery.delete("a")
    with gallery.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 5000


NAME = "Rumpelstilzchen"
CROWD = [f"Person number {number}" for number in range(400)]  # over several pages of each index


def names_in(file: Path) -> list[str]:
    """Name the files that hold the name, however it is written."""
    return sorted(
        path.name for path in file.parent.iterdir() if b"umpelstilzchen" in path.read_bytes().lower()
    )


FORGETTINGS: dict[str, Callable[[Gallery, str], object]] = {
    "the person is deleted": people.delete,
    "the last sample is deleted": lambda gallery, _: gallery.delete(NAME),
    "deleted by name": lambda gallery, _: gallery.delete_named(NAME),
    "cleared": lambda gallery, _: gallery.clear(),
    "renamed": lambda gallery, person: people.change(gallery, person, {"name": "Nobody"}),
    "merged": lambda gallery, person: people.merge(gallery, person, gallery.page(limit=1)[0].person or ""),
    "the last sample moves": lambda gallery, _: people.change_sample(gallery, "him", {"name": CROWD[7]}),
}


@pytest.mark.parametrize("how", FORGETTINGS)
def test_nothing_of_the_name_stays_in_the_files(
    file: Path, gallery: Gallery, other: Gallery, how: str
) -> None:
    names = [*CROWD[:200], NAME, *CROWD[200:]]
    new = [
        a_sample("him" if name == NAME and how != "the last sample is deleted" else name, name=name)
        for name in names
    ]
    stored = gallery.upsert(new, vectors_of(*range(len(new)), dimension=8), MODEL)
    other.load()
    assert names_in(file)
    FORGETTINGS[how](gallery, stored.people[new[200].id])
    assert names_in(file) == []
