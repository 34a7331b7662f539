"""Those who write to one gallery come one after the other; in PostgreSQL others do not wait for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from galleries import (
    MODEL,
    NOW,
    FakeClock,
    OtherProcess,
    a_sample,
    enrol,
    miscounted,
    nearest_ids,
    vectors_of,
)
from recognition.errors import GalleryUnavailable
from recognition.gallery import (
    Gallery,
    database,
    galleries,
    open_gallery,
    search_database,
    subjects,
    transfer,
)
from serving.errors import NotFound

DEADLINE_S = 30.0
NAMES = ("lobby", "vault", "garage")


@pytest.fixture
def backend() -> str:
    """SQLite has one writer in any case."""
    return "postgresql"


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    opened = open_gallery(url, lock_timeout_s=DEADLINE_S, clock=clock)
    for name in NAMES:
        galleries.make(opened, name)
        enrol(opened.of(name), [f"first of {name}"], [0])
    enrol(opened, ["first"], [0])
    yield opened
    opened.close()


@contextmanager
def held(gallery: Gallery, sample_id: str, seed: int) -> Iterator[None]:
    """Store a sample in a transaction that is committed behind the block."""
    with gallery.writing() as (connection, begin):
        gallery.put(connection, begin, [a_sample(sample_id)], vectors_of(seed), MODEL)
        yield


def wait_for_a_waiter(gallery: Gallery, number: int = 1) -> None:
    """Wait until so many transactions wait for a lock."""
    waiting = sa.text(
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        " AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
    )
    until = time.monotonic() + DEADLINE_S
    with gallery.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while connection.execute(waiting).scalar_one() < number:
            assert time.monotonic() < until
            time.sleep(0.01)


def test_writers_of_other_galleries_do_not_wait(gallery: Gallery) -> None:
    lobby, vault = gallery.of("lobby"), gallery.of("vault")
    with ThreadPoolExecutor(1) as pool:
        with held(lobby, "a", 1):
            enrol(vault, ["b"], [2])
            enrol(gallery, ["c"], [3])
            assert vault.delete("first of vault")
            galleries.make(gallery, "attic")
            second = pool.submit(enrol, lobby, ["a"], [4])
            wait_for_a_waiter(gallery)
            assert not second.done()
            assert nearest_ids(vault, 2) == ["b"]
            assert lobby.get("a") is None
        second.result()
    assert nearest_ids(lobby, 4) == ["a"]
    assert lobby.count() == 2
    assert miscounted(gallery) == []


@pytest.mark.parametrize("number", [0, 2**32 - 1])
def test_a_name_may_have_any_number(gallery: Gallery, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("recognition.gallery.database.crc32", lambda name: number)
    enrol(gallery, ["a"], [1])
    assert nearest_ids(gallery, 1) == ["a"]


def test_who_waits_too_long_for_a_gallery_is_told_so(url: str, gallery: Gallery) -> None:
    with ExitStack() as stack:
        impatient = open_gallery(url, lock_timeout_s=0.2)
        stack.callback(impatient.close)
        with held(gallery.of("lobby"), "a", 1):
            with pytest.raises(GalleryUnavailable):
                enrol(impatient.of("lobby"), ["b"], [2])
            enrol(impatient.of("vault"), ["b"], [2])
        enrol(impatient.of("lobby"), ["b"], [2])


def emptied(gallery: Gallery) -> None:
    subjects.clear(gallery)


@pytest.mark.parametrize("empty", [Gallery.clear, emptied, galleries.delete])
def test_who_empties_a_gallery_takes_nothing_of_another_along(
    gallery: Gallery, empty: Callable[[Gallery], Any]
) -> None:
    """Nobody else has a sample yet that others see: tables may be emptied as a whole."""
    lobby, vault = gallery.of("lobby"), gallery.of("vault")
    for other in (gallery, vault, gallery.of("garage")):
        other.clear()
    enrol(vault, ["b"], [1])
    vault.delete("b")  # it keeps its model
    with ThreadPoolExecutor(1) as pool:
        with held(vault, "a", 1):
            waiting = pool.submit(empty, lobby)
            wait_for_a_waiter(gallery)
            assert nearest_ids(lobby, 0) == ["first of lobby"]
        waiting.result()
    assert nearest_ids(vault, 1) == ["a"]
    with pytest.raises(NotFound) if empty is galleries.delete else ExitStack():
        assert lobby.count() == 0
    assert miscounted(gallery) == []
    assert list(transfer.faults(gallery)) == []


def test_two_galleries_that_become_large_at_once_do_not_block_each_other(
    gallery: Gallery, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has stored its samples when it turns out to need an index."""
    monkeypatch.setattr(search_database, "INDEXED_FROM", 20)
    together = threading.Barrier(2)

    def check_alone(connection: sa.Connection) -> None:
        if connection.get_execution_options()["writes_to"] is not None:
            together.wait(DEADLINE_S)
        database.check_alone(connection)

    monkeypatch.setattr(search_database, "check_alone", check_alone)

    def fill(name: str) -> None:
        new = [a_sample(str(number)) for number in range(30)]
        gallery.of(name).upsert(new, vectors_of(*range(30)), MODEL)

    with ThreadPoolExecutor(2) as pool:
        for filled in [pool.submit(fill, name) for name in ("lobby", "vault")]:
            filled.result()
    with gallery.engine.connect() as connection:
        indexed = "SELECT name FROM galleries WHERE indexed = 128 ORDER BY name"
        assert connection.exec_driver_sql(indexed).scalars().all() == ["default", "lobby", "vault"]
    for name in ("lobby", "vault"):
        assert nearest_ids(gallery.of(name), 7) == ["7"]
        assert gallery.of(name).count() == 31


def test_who_notes_the_time_keeps_no_other_gallery_waiting(gallery: Gallery, clock: FakeClock) -> None:
    clock.now = NOW + timedelta(hours=2)  # each who writes is to note it
    with held(gallery.of("lobby"), "a", 1):
        enrol(gallery.of("vault"), ["b"], [2])
    enrol(gallery.of("vault"), ["c"], [3])
    with gallery.reading() as (_, current):
        assert current.trust.seen == clock.now.replace(tzinfo=None)


def test_processes_that_write_to_several_galleries_find_all_they_were_told_of(
    gallery: Gallery, url: str
) -> None:
    """While another gallery is emptied, deleted and made anew. A second process looks after each."""
    stop = threading.Event()

    def disturb() -> int:
        rounds = 0
        while not stop.is_set():
            gallery.clear()
            enrol(gallery, ["x"], [rounds])
            if "garage" in galleries.names(gallery):
                galleries.delete(gallery.of("garage"))
            else:
                galleries.make(gallery, "garage")
            rounds += 1
        return rounds

    def write_and_look(writer: OtherProcess, reader: OtherProcess) -> None:
        for seed in range(1, 15):
            writer.call("upsert", [a_sample(str(seed))], vectors_of(seed), MODEL)
            (matches,) = reader.call("nearest", vectors_of(seed), 1, MODEL)
            assert [match.sample.id for match in matches] == [str(seed)]
            assert reader.call("count") == 1 + seed - (seed - 1) // 3
            if seed % 3 == 0:
                assert writer.call("delete", str(seed))
                assert reader.call("get", str(seed)) is None

    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        lobby, vault = (
            [OtherProcess(url, name=name), OtherProcess(url, name=name)] for name in ("lobby", "vault")
        )
        for process in (*lobby, *vault):
            stack.callback(process.close)
        disturbing = pool.submit(disturb)
        looking: list[Future[None]] = [pool.submit(write_and_look, *pair) for pair in (lobby, vault)]
        try:
            for each in looking:
                each.result()
        finally:
            stop.set()
        assert disturbing.result() > 0
    assert miscounted(gallery) == []
    assert list(transfer.faults(gallery)) == []
    assert np.all([gallery.of(name).count() == 11 for name in ("lobby", "vault")])
