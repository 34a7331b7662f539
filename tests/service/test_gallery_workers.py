"""Several workers on one gallery, on SQLite and PostgreSQL alike: they wait for and see each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from galleries import MODEL, also_in_milvus, database_url, enrol, nearest_ids, vectors_of
from recognition.errors import GalleryUnavailable
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.database import WRITE_LOCK


@also_in_milvus
def test_changes_of_another_worker_are_seen_at_once(gallery: Gallery, other: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    assert nearest_ids(other, 1) == ["a"]
    enrol(other, ["b"], [2])
    assert nearest_ids(gallery, 2) == ["b"]
    enrol(other, ["a"], [5])
    assert nearest_ids(gallery, 5) == ["a"]
    gallery.delete("b")
    assert nearest_ids(other, 2, k=9) == ["a"]
    other.clear()
    enrol(other, ["c"], [7])
    assert nearest_ids(gallery, 1, k=9) == ["c"]


@also_in_milvus
def test_threads_may_enrol_and_search_at_once(gallery: Gallery) -> None:
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(10):
                seed = 100 * number + step
                enrol(gallery, [f"{number}-{step}"], [seed])
                assert nearest_ids(gallery, seed) == [f"{number}-{step}"]
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert gallery.count() == 40


def test_who_cannot_write_in_time_is_told_so_and_reads_on(url: str, gallery: Gallery) -> None:
    impatient = open_gallery(url, lock_timeout_s=0.5)
    with write_lock(url):
        for change in changes(impatient):
            with pytest.raises(GalleryUnavailable):
                change()
        assert nearest_ids(impatient, 1) == []
    for change in changes(impatient):
        change()
    enrol(impatient, ["a"], [1])
    assert nearest_ids(gallery, 1) == ["a"]
    impatient.close()


def changes(gallery: Gallery) -> list[Callable[[], object]]:
    return [
        lambda: enrol(gallery, ["a"], [1]),
        lambda: gallery.delete("a"),
        lambda: gallery.delete_named("a"),
        gallery.clear,
    ]


@contextmanager
def write_lock(url: str) -> Iterator[None]:
    """Hold what a writer holds, as another process that is in the midst of writing."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITE_LOCK})")
        yield
        connection.exec_driver_sql("ROLLBACK")
    engine.dispose()


def test_many_workers_may_open_a_new_gallery_at_once(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each round makes a new one; switching a file to write-ahead logging is where they would collide."""

    def open_and_close(url: str, barrier: threading.Barrier) -> int:
        barrier.wait()
        gallery = open_gallery(url, lock_timeout_s=10)
        count = gallery.count()
        gallery.close()
        return count

    with ThreadPoolExecutor(6) as pool:
        for number in range({"sqlite": 20, "postgresql": 4}[backend]):
            barrier = threading.Barrier(6)
            with database_url(backend, tmp_path / str(number), request) as url:
                opened = [pool.submit(open_and_close, url, barrier) for _ in range(6)]
                assert [future.result() for future in opened] == [0] * 6


@also_in_milvus
def test_a_reader_sees_all_of_a_change_or_nothing(gallery: Gallery, other: Gallery) -> None:
    """Two samples are swapped again and again; whoever searches for both sees them in one of two states."""
    enrol(gallery, ["a", "b"], [1, 2])
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            enrol(gallery, ["a", "b"], [2, 1])
            enrol(gallery, ["a", "b"], [1, 2])

    writer = threading.Thread(target=swap)
    writer.start()
    try:
        for _ in range(100):
            found = other.nearest(vectors_of(1, 2), 1, MODEL)
            assert [matches[0].sample.id for matches in found] in (["a", "b"], ["b", "a"])
    finally:
        stop.set()
        writer.join()
