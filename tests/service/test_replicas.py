"""Searches on standbys of PostgreSQL: no answer is older than what was acknowledged, whatever they do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from galleries import (
    MODEL,
    NOW,
    FakeClock,
    PostgreSQL,
    enrol,
    nearest_ids,
    running_postgresql,
    running_standby,
    vectors_of,
)
from recognition import config
from recognition.app import create_app
from recognition.cli import checks
from recognition.errors import GalleryUnavailable, ModelChanged
from recognition.faces import Box, Face, Match, Sample
from recognition.gallery import Gallery, galleries, open_gallery, people, subjects
from recognition.gallery.search import Search
from recognition.gallery.tables import State
from running import LIMIT_S
from serving.errors import NotFound
from serving.model import Model

TIMEOUT_S = 10
AGES_S = 60.0  # no test takes so long
COMPARES = "<->"  # pgvector's operator, in searches alone


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[PostgreSQL, PostgreSQL]]:
    """A primary, and a standby that it does not wait for."""
    with running_postgresql() as primary, running_standby(primary) as standby:
        stop_waiting(primary)
        yield primary, standby


def stop_waiting(primary: PostgreSQL) -> None:
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
    primary.execute("SELECT pg_reload_conf()")


@pytest.fixture
def primary(servers: tuple[PostgreSQL, PostgreSQL]) -> PostgreSQL:
    return servers[0]


@pytest.fixture
def standby(servers: tuple[PostgreSQL, PostgreSQL]) -> Iterator[PostgreSQL]:
    yield servers[1]
    servers[1].start()
    servers[1].execute("SELECT pg_wal_replay_resume()")


@pytest.fixture
def database(primary: PostgreSQL) -> Iterator[str]:
    with primary.database() as name:
        yield name


@contextmanager
def opened(url: str, read_url: str, **options: Any) -> Iterator[tuple[Gallery, list[str]]]:
    """Open a gallery, and list where it searches: on the primary, or on a replica."""
    places: list[str] = []
    transactions: list[sa.Connection] = []  # one may compare several times
    with closing(open_gallery(url, TIMEOUT_S, read_url=read_url, **options)) as gallery:
        assert gallery.replicas is not None
        gallery.replicas.wait_s = AGES_S  # tests that it gives up say so
        for place, engine in (("primary", gallery.engine), ("replica", gallery.replicas.engine)):

            def note(*args: Any, place: str = place) -> None:
                if COMPARES in args[2] and not any(args[0] is each for each in transactions):
                    transactions.append(args[0])
                    places.append(place)

            sa.event.listen(engine, "before_cursor_execute", note)
        yield gallery, places


@pytest.fixture
def both(primary: PostgreSQL, standby: PostgreSQL, database: str) -> Iterator[tuple[Gallery, list[str]]]:
    with opened(primary.url(database), standby.url(database)) as both:
        wait_until_replayed(primary, standby)
        yield both


def wait_until_replayed(primary: PostgreSQL, standby: PostgreSQL) -> None:
    """Let the standby have all that is on the primary now: databases and tables, too."""
    [(written,)] = primary.execute("SELECT pg_current_wal_insert_lsn()")
    wait_for(lambda: standby.execute(f"SELECT pg_last_wal_replay_lsn() >= '{written}'") == [(True,)])


def searching_is_back(gallery: Gallery, places: Sequence[str]) -> bool:
    nearest_ids(gallery, 1)
    return places[-1] == "replica"


def wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_searches_run_on_the_standby_and_all_else_on_the_primary(both: tuple[Gallery, list[str]]) -> None:
    gallery, places = both
    enrol(gallery, ["a", "b"], [1, 2])
    assert nearest_ids(gallery, 2, k=9) == ["b", "a"]
    assert places == ["replica"]
    assert gallery.replicas is not None
    assert gallery.replicas.trouble is None


def test_a_search_waits_for_a_standby_that_is_behind(
    both: tuple[Gallery, list[str]], standby: PostgreSQL
) -> None:
    gallery, places = both
    enrol(gallery, ["a"], [1])
    assert nearest_ids(gallery, 1) == ["a"]
    standby.execute("SELECT pg_wal_replay_pause()")
    gallery.delete("a")
    enrol(gallery, ["b"], [1])
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(nearest_ids, gallery, 1, 9)
        looks = (
            "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%gallery_state%' AND pid <> pg_backend_pid()"
        )
        wait_for(lambda: standby.execute(looks))
        assert not waiting.done()
        standby.execute("SELECT pg_wal_replay_resume()")
        assert waiting.result() == ["b"]
    assert places == ["replica", "replica"]


def test_the_primary_searches_while_the_standby_is_too_far_behind(
    both: tuple[Gallery, list[str]], standby: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    gallery, places = both
    assert gallery.replicas is not None
    enrol(gallery, ["a", "b"], [1, 2])
    assert nearest_ids(gallery, 1) == ["a"]
    standby.execute("SELECT pg_wal_replay_pause()")
    gallery.replicas.wait_s = 0.01
    gallery.delete("a")
    assert nearest_ids(gallery, 1, k=9) == ["b"]
    enrol(gallery, ["c"], [1])
    assert nearest_ids(gallery, 1, k=9) == ["c", "b"]
    assert places == ["replica", "primary", "primary"]
    (told,) = caplog.messages
    assert "DATABASE_READ_URL: It is behind the primary." in told
    standby.execute("SELECT pg_wal_replay_resume()")
    gallery.replicas.retry_s = 0.01
    wait_for(lambda: searching_is_back(gallery, places))
    assert nearest_ids(gallery, 1, k=9) == ["c", "b"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert gallery.replicas.trouble is None


def test_whatever_a_search_may_tell_is_waited_for(
    primary: PostgreSQL, standby: PostgreSQL, database: str
) -> None:
    """Each change is made while the standby stands still, which then still has the state of before."""
    clock = FakeClock()
    with opened(primary.url(database), standby.url(database), clock=clock) as (gallery, places):
        assert gallery.replicas is not None
        gallery.replicas.wait_s, gallery.replicas.retry_s = 0.01, 0.0

        def found() -> list[Match]:
            (matches,) = gallery.nearest(vectors_of(1), 1, MODEL)
            return matches

        enrol(gallery, ["a", "b"], [1, 2])
        person = found()[0].sample.person
        assert person is not None
        (kept,) = people.next_by_id(gallery, None, 1, None, person)
        newer = replace(kept, name="d", modified=NOW + timedelta(days=1))
        soon = {"expires_at": NOW + timedelta(hours=1)}
        more = {"metadata": 7}
        changes: list[tuple[Callable[[], object], Callable[[Sample], object]]] = [
            (lambda: people.change(gallery, person, {"name": "b"}), lambda sample: sample.name == "b"),
            (lambda: subjects.rename(gallery, "b", "c"), lambda sample: sample.name == "c"),
            (lambda: people.restore(gallery, [newer]), lambda sample: sample.name == "d"),
            (lambda: people.change_sample(gallery, "a", soon), lambda sample: sample.expires_at),
            (
                lambda: people.change_sample(gallery, "a", more),
                lambda sample: sample.metadata == 7,
            ),
            (lambda: people.change(gallery, person, soon), lambda sample: sample.id == "a"),
            (lambda: setattr(clock, "now", NOW + timedelta(hours=2)), lambda sample: sample.id == "b"),
        ]
        for change, is_seen in changes:
            wait_for(lambda: found() and places[-1] == "replica")
            standby.execute("SELECT pg_wal_replay_pause()")
            change()
            assert is_seen(found()[0].sample)
            standby.execute("SELECT pg_wal_replay_resume()")
        assert places.count("primary") >= len(changes) - 2


def test_a_gallery_made_anew_under_its_name_is_another_one(
    both: tuple[Gallery, list[str]], standby: PostgreSQL
) -> None:
    gallery, places = both
    assert gallery.replicas is not None
    gallery.replicas.wait_s = 0.01
    galleries.make(gallery, "door")
    door = gallery.of("door")
    for number in range(3):
        enrol(door, [f"old {number}"], [1])
    wait_for(lambda: searching_is_back(door, places))
    standby.execute("SELECT pg_wal_replay_pause()")
    gallery.replicas.retry_s = 0.0
    galleries.delete(door)
    with pytest.raises(NotFound):
        nearest_ids(door, 1)
    galleries.make(gallery, "door")
    assert nearest_ids(door, 1) == []
    enrol(door, ["new"], [2])
    assert nearest_ids(door, 1, k=9) == ["new"]
    galleries.make(gallery, "new door")  # which the standby does not know at all
    enrol(gallery.of("new door"), ["z"], [1])
    assert nearest_ids(gallery.of("new door"), 1) == ["z"]


def test_a_moment_that_the_primary_found_credible_hides_what_expired_by_it(
    primary: PostgreSQL, standby: PostgreSQL, database: str
) -> None:
    """Though no sample has changed since, and this machine's clock is behind."""
    ahead, behind = FakeClock(), FakeClock()
    ahead.now = NOW + timedelta(hours=3)
    with opened(primary.url(database), standby.url(database), clock=behind) as (gallery, places):
        wait_until_replayed(primary, standby)
        enrol(gallery, ["a", "b"], [1, 2])
        people.change_sample(gallery, "a", {"expires_at": NOW + timedelta(hours=2)})
        assert nearest_ids(gallery, 1, k=9) == ["a", "b"]
        standby.execute("SELECT pg_wal_replay_pause()")
        primary.execute(f"UPDATE gallery_state SET clock_seen = '{ahead().replace(tzinfo=None)}'", database)
        assert nearest_ids(gallery, 1, k=9) == ["b"]
        assert places == ["replica", "replica"]


def test_a_standby_that_is_killed_fails_no_search(
    both: tuple[Gallery, list[str]], standby: PostgreSQL, caplog: pytest.LogCaptureFixture
) -> None:
    gallery, places = both
    assert gallery.replicas is not None
    gallery.replicas.retry_s = 0.05
    enrol(gallery, ["a", "b"], [1, 2])
    stopped = False

    def search() -> int:
        number = 0
        while not stopped:
            assert nearest_ids(gallery, 1) == ["a"]
            number += 1
        return number

    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(search) for _ in range(4)]
        try:
            wait_for(lambda: places.count("replica") > 20)
            standby.stop()
            before = places.count("primary")
            wait_for(lambda: places.count("primary") > before + 20)
            standby.start()
            before = places.count("replica")
            wait_for(lambda: places.count("replica") > before + 20)
        finally:
            stopped = True
        assert all(each.result() for each in searches)
    assert any("the primary searches" in message for message in caplog.messages)


def test_a_model_that_only_the_standby_knows_of_already_is_told_as_on_the_primary(
    both: tuple[Gallery, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The primary was asked a moment before the gallery changed its model."""
    gallery, _ = both
    assert gallery.replicas is not None
    enrol(gallery, ["a"], [1])
    real = gallery.replicas.reading

    @contextmanager
    def later(*args: Any) -> Iterator[tuple[sa.Connection, State]]:
        with real(*args) as (connection, current):
            yield connection, current._replace(model="b", fingerprint="of b")

    monkeypatch.setattr(gallery.replicas, "reading", later)
    with pytest.raises(ModelChanged):
        nearest_ids(gallery.of_model(None), 1)


def test_what_is_no_copy_of_the_database_is_left_alone(
    primary: PostgreSQL, standby: PostgreSQL, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with primary.database() as other:
        with closing(open_gallery(primary.url(other), TIMEOUT_S)) as gallery:
            for number in range(5):
                enrol(gallery, [f"stranger {number}"], [number])
        wait_until_replayed(primary, standby)
        with opened(primary.url(database), standby.url(other)) as (gallery, places):
            enrol(gallery, ["a"], [1])
            assert nearest_ids(gallery, 1, k=9) == ["a"]
            assert places == ["primary"]
            with pytest.raises(GalleryUnavailable, match="no standby of the primary"):
                gallery.check_replicas()
    assert "no standby of the primary" in caplog.text


@pytest.mark.parametrize(("extra", "place"), [("", "primary"), ("&target_session_attrs=any", "replica")])
def test_a_primary_in_the_place_of_a_standby_is_taken_only_if_the_url_says_so(
    primary: PostgreSQL, database: str, extra: str, place: str
) -> None:
    with opened(primary.url(database), f"{primary.url(database)}{extra}") as (gallery, places):
        enrol(gallery, ["a"], [1])
        assert nearest_ids(gallery, 1) == ["a"]
        assert places == [place]


def test_a_standby_that_was_promoted_is_left_alone(primary: PostgreSQL, database: str) -> None:
    """It may get changes of its own, so that its revision says nothing; connections are open still."""
    with running_standby(primary) as promoted:
        stop_waiting(primary)
        with opened(primary.url(database), promoted.url(database)) as (gallery, places):
            assert gallery.replicas is not None
            gallery.replicas.retry_s = 0.01
            enrol(gallery, ["a"], [1])
            wait_for(lambda: searching_is_back(gallery, places))
            promoted.execute("SELECT pg_promote()")
            with closing(open_gallery(promoted.url(database), TIMEOUT_S)) as elsewhere:
                enrol(elsewhere, ["x", "y"], [1, 2])
            enrol(gallery, ["b"], [2])
            assert nearest_ids(gallery, 1, k=9) == ["a", "b"]
            assert places[-2:] == ["replica", "primary"]


def test_after_a_failover_a_standby_is_asked_once_it_is_known_to_follow_the_new_primary() -> None:
    """Before, it may have what the new primary never had, in the same revision."""
    with running_postgresql() as old, running_standby(old) as new, running_standby(old) as left:
        with closing(open_gallery(old.url(), TIMEOUT_S)) as gallery:
            enrol(gallery, ["a"], [1])
        replayed = "SELECT bool_and(replay_lsn = pg_current_wal_lsn()) FROM pg_stat_replication"
        both = replayed.replace("SELECT", "SELECT count(*) = 2 AND")
        wait_for(lambda: old.execute(both) == [(True,)])
        old.stop()
        new.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
        new.execute("SELECT pg_promote()")
        with opened(new.url(), left.url()) as (gallery, places):
            assert gallery.replicas is not None
            gallery.replicas.retry_s = 0.01
            assert nearest_ids(gallery, 1) == ["a"]
            assert places == ["primary"]
            host = sa.make_url(new.url()).query["host"]
            left.execute(f"ALTER SYSTEM SET primary_conninfo = 'host={host} user=postgres'")
            left.execute("SELECT pg_reload_conf()")
            enrol(gallery, ["b"], [2])
            new.execute("CHECKPOINT")
            wait_for(lambda: new.execute(replayed) == [(True,)])
            left.execute("CHECKPOINT")
            wait_for(lambda: searching_is_back(gallery, places))
            assert nearest_ids(gallery, 2) == ["b"]


def test_a_search_that_the_replay_is_in_conflict_with_is_made_by_the_primary(
    both: tuple[Gallery, list[str]], primary: PostgreSQL, standby: PostgreSQL, database: str
) -> None:
    gallery, _ = both
    assert gallery.replicas is not None
    enrol(gallery, ["a", "b"], [1, 2])
    sleeps = "SELECT pg_sleep(9)"
    in_recovery: list[bool] = []

    def look(search: Search, connection: sa.Connection, state: State) -> int:
        in_recovery.append(connection.exec_driver_sql("SELECT pg_is_in_recovery()").scalar_one())
        if in_recovery[-1]:
            connection.exec_driver_sql(sleeps)
        return state.revision

    with ThreadPoolExecutor(1) as pool, impatient(standby):
        searching = pool.submit(gallery.search, look)
        wait_for(lambda: standby.execute(f"SELECT 1 FROM pg_stat_activity WHERE query = '{sleeps}'"))
        gallery.delete("a")
        primary.execute("VACUUM samples", database)
        searching.result()
    assert in_recovery == [True, False]
    assert gallery.replicas.trouble is None  # it is no fault of the standby's


@contextmanager
def impatient(standby: PostgreSQL) -> Iterator[None]:
    """Let the standby wait for no search, once it has replayed all that there is to be replayed."""
    replayed = "SELECT pg_last_wal_replay_lsn() = pg_last_wal_receive_lsn()"
    wait_for(lambda: standby.execute(replayed) == [(True,)])
    for setting in ("SET max_standby_streaming_delay = 0", "RESET max_standby_streaming_delay"):
        standby.execute(f"ALTER SYSTEM {setting}")
        standby.execute("SELECT pg_reload_conf()")
        if setting.startswith("SET"):
            yield


def test_only_postgresql_without_milvus_has_replicas(
    tmp_path: Path, database: str, primary: PostgreSQL
) -> None:
    sqlite, url = f"sqlite:///{tmp_path}/gallery.sqlite3", primary.url(database)
    for mine, theirs in ((sqlite, url), (url, sqlite)):
        with pytest.raises(GalleryUnavailable, match="DATABASE_READ_URL: only PostgreSQL"):
            open_gallery(mine, TIMEOUT_S, read_url=theirs)
    with pytest.raises(GalleryUnavailable, match="DATABASE_READ_URL, GALLERY_INDEX"):
        open_gallery(url, TIMEOUT_S, read_url=url, index="http://127.0.0.1:1")
    with pytest.raises(GalleryUnavailable, match="DATABASE_READ_URL") as error:
        open_gallery(url, TIMEOUT_S, read_url="postgresql://me:se@cret@db/gallery")
    assert "cret" not in str(error.value)


def test_the_log_shows_no_password(
    primary: PostgreSQL, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = "postgresql://me:s3cret@127.0.0.1:1/gallery"
    with opened(primary.url(database), nowhere) as (gallery, places):
        enrol(gallery, ["a"], [1])
        assert [nearest_ids(gallery, 1) for _ in range(3)] == [["a"]] * 3
        assert places == ["primary"] * 3
    (told,) = caplog.messages
    assert "127.0.0.1" in told
    assert "s3cret" not in told


class Embedder:
    def model(self, name: str | None = None) -> Model:
        return Model("a model", 4, 8, 9.0, (0.0, 20.0), "fingerprint")

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.full((len(crops), 4), 5, np.float32)


def warnings(gallery: Gallery) -> Any:
    """What /ready, which searches, warns of."""
    found = Face(Box(50, 50, 100, 100), 0.99, np.full((5, 2), np.nan, np.float32))
    app = create_app(
        config.read({"MIN_QUALITY": "0"}), detector=lambda _: [found], embedder=Embedder(), gallery=gallery
    )
    answer: Any = app.test_client().get("/ready").json
    return answer["warnings"]


def test_ready_and_doctor_tell_of_a_standby_that_is_not_used(
    primary: PostgreSQL, standby: PostgreSQL, database: str
) -> None:
    def checked(read_url: str) -> tuple[bool, str]:
        settings = config.read({"DATABASE_URL": primary.url(database), "DATABASE_READ_URL": read_url})
        (check,) = [each for each in checks._gallery(settings) if each.name == "replicas"]
        return check.ok, check.detail

    nowhere = "postgresql://me:s3cret@127.0.0.1:1/gallery"
    with opened(primary.url(database), standby.url(database)) as (gallery, places):
        wait_for(lambda: checked(standby.url(database))[0])
        ok, detail = checked(nowhere)
        assert (ok, "127.0.0.1" in detail, "s3cret" in detail) == (False, True, False)
        assert warnings(gallery) == []
        assert set(places) <= {"replica"}
    with opened(primary.url(database), nowhere) as (gallery, _):
        nearest_ids(gallery, 1)
        (warning,) = warnings(gallery)
        assert warning["code"] == "replicas_unused"
        assert "127.0.0.1" not in warning["detail"]  # anybody may ask whether the service is ready
