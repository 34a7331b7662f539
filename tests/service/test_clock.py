"""A wrong clock: what it says has expired is not found, and not erased before the clock is to be believed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest
import sqlalchemy as sa

from galleries import MODEL, NOW, FakeClock, a_sample, nearest_ids, vectors_of
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.clock import Trust

MINUTE, HOUR, DAY, YEAR = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=365)
IN_40_DAYS = NOW + 40 * DAY


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    """With one sample that expires in 40 days, and one that never does."""
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    gallery.upsert([a_sample("a", expires_at=IN_40_DAYS), a_sample("b")], vectors_of(1, 2), MODEL)
    yield gallery
    gallery.close()


@pytest.fixture
def started(url: str, gallery: Gallery) -> Iterator[list[Gallery]]:
    """Makes processes that start: each knows only what is in the database."""
    galleries: list[Gallery] = []
    yield galleries
    for each in galleries:
        each.close()


def start(url: str, clock: FakeClock) -> Gallery:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    gallery.load()
    return gallery


def run(galleries: list[Gallery], clock: FakeClock, how_long: timedelta, step: timedelta = MINUTE) -> None:
    """Let time pass, in which each process does its upkeep."""
    for _ in range(how_long // step):
        clock.now += step
        for gallery in galleries:
            gallery.load()


def found(gallery: Gallery) -> list[str]:
    ids = [sample.id for sample in gallery.page(limit=9)]
    assert sorted(nearest_ids(gallery, 1, k=9)) == ids
    assert gallery.count() == len(ids)
    return ids


def stored(gallery: Gallery) -> list[str]:
    with gallery.engine.connect() as connection:
        return list(connection.execute(sa.text("SELECT sample_id FROM samples ORDER BY sample_id")).scalars())


@pytest.mark.parametrize("ahead", [41 * DAY, YEAR, 100 * YEAR])
def test_a_start_with_the_clock_ahead_erases_nothing(
    url: str, gallery: Gallery, clock: FakeClock, ahead: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    clock.set_ahead = ahead
    with closing(start(url, clock)) as wrong:
        assert found(wrong) == ["b"]
        run([wrong], clock, HOUR, MINUTE)
        wrong.upsert([a_sample("c")], vectors_of(3), MODEL)
        wrong.delete("c")
        assert (found(wrong), stored(wrong)) == (["b"], ["a", "b"])
    assert caplog.text.count("the clock has jumped") == 1
    clock.set_ahead = timedelta(0)
    with closing(start(url, clock)) as right:
        assert found(right) == ["a", "b"]
        clock.now = IN_40_DAYS
        assert found(right) == ["b"]
        right.load()
        assert stored(right) == ["b"]


def test_a_clock_that_is_set_ahead_while_a_service_runs_erases_nothing(
    gallery: Gallery, clock: FakeClock
) -> None:
    run([gallery], clock, HOUR)
    assert found(gallery) == ["a", "b"]
    clock.set_ahead = YEAR
    run([gallery], clock, HOUR)
    assert (found(gallery), stored(gallery)) == (["b"], ["a", "b"])
    clock.set_ahead = timedelta(0)
    assert found(gallery) == ["a", "b"]


def test_after_a_day_of_running_a_clock_is_believed(url: str, gallery: Gallery, clock: FakeClock) -> None:
    """As after half a year in which the machine was off; two processes do not make a day of twelve hours."""
    clock.set_ahead = YEAR / 2
    workers = [start(url, clock) for _ in range(2)]
    run(workers, clock, 23 * HOUR, 10 * MINUTE)
    assert (found(workers[0]), stored(workers[0])) == (["b"], ["a", "b"])
    run(workers, clock, 2 * HOUR, 10 * MINUTE)
    assert stored(workers[0]) == ["b"]
    clock.set_ahead += YEAR  # once: not past the next jump
    workers[0].upsert([a_sample("c", expires_at=clock() - YEAR + DAY)], vectors_of(3), MODEL)
    run(workers, clock, 2 * HOUR)
    assert stored(workers[0]) == ["b", "c"]
    for worker in workers:
        worker.close()


def test_the_day_may_have_nights_in_between(url: str, gallery: Gallery, clock: FakeClock) -> None:
    clock.set_ahead = YEAR
    for _ in range(3):
        with closing(start(url, clock)) as office:
            assert stored(office) == ["a", "b"]
            run([office], clock, 10 * HOUR, 10 * MINUTE)
        clock.now += 14 * HOUR
    with closing(start(url, clock)) as office:
        assert stored(office) == ["b"]


def test_starts_with_ever_other_clocks_are_never_believed(
    url: str, gallery: Gallery, clock: FakeClock
) -> None:
    for number in range(1, 6):
        clock.set_ahead = number * YEAR
        with closing(start(url, clock)) as office:
            run([office], clock, 10 * HOUR, 10 * MINUTE)
            assert stored(office) == ["a", "b"]


@pytest.mark.parametrize("off", [timedelta(0), HOUR, 20 * HOUR])
def test_by_a_right_clock_it_is_erased_within_a_minute(
    url: str, gallery: Gallery, clock: FakeClock, off: timedelta
) -> None:
    """While a service runs, and at its start after a night."""
    run([gallery], clock, 39 * DAY, 3 * DAY)
    run([gallery], clock, 23 * HOUR, HOUR)
    clock.now = IN_40_DAYS - MINUTE + off
    if off:
        with closing(start(url, clock)) as later:
            assert stored(later) == ["b"]
    else:
        run([gallery], clock, MINUTE)
        assert stored(gallery) == ["b"]


@pytest.mark.parametrize("back", [2 * DAY, 56 * YEAR])
def test_a_clock_that_was_put_back_revives_nobody_and_erases_nothing(
    url: str, gallery: Gallery, clock: FakeClock, back: timedelta
) -> None:
    """As a machine without a battery begins in 1970."""
    clock.now = IN_40_DAYS + HOUR
    with closing(open_gallery(url, lock_timeout_s=5, clock=clock)) as unused:
        run([gallery], clock, HOUR)
        unused.upsert([a_sample("c", expires_at=clock() - 2 * HOUR)], vectors_of(3), MODEL)
    clock.set_ahead = -back
    with closing(start(url, clock)) as wrong:
        assert (found(wrong), stored(wrong)) == (["b"], ["b", "c"])
        wrong.upsert([a_sample("d", expires_at=clock() + 99 * YEAR)], vectors_of(4), MODEL)
        run([wrong], clock, 30 * MINUTE)
        assert (found(wrong), stored(wrong)) == (["b", "d"], ["b", "c", "d"])
        clock.set_ahead = timedelta(0)  # as NTP does
        run([wrong], clock, MINUTE)
        assert (found(wrong), stored(wrong)) == (["b", "d"], ["b", "d"])


def test_a_gallery_that_began_with_a_wrong_clock_recovers(url: str, clock: FakeClock) -> None:
    clock.set_ahead = YEAR
    with closing(start(url, clock)) as wrong:
        run([wrong], clock, HOUR)
    clock.set_ahead = timedelta(0)
    with closing(start(url, clock)) as right:
        right.upsert([a_sample("a", expires_at=clock() + 40 * DAY)], vectors_of(1), MODEL)
        run([right], clock, 2 * HOUR)
        assert found(right) == ["a"]


def test_a_small_error_is_no_jump() -> None:
    seen = NOW.replace(tzinfo=None)
    for error in (-DAY, -HOUR, HOUR, DAY):
        judged = Trust(seen).judged(seen + error, timedelta(0))
        assert judged == Trust(max(seen, seen + error))


def test_an_idle_gallery_is_written_once_an_hour(gallery: Gallery, clock: FakeClock) -> None:
    written: list[str] = []
    sa.event.listen(
        gallery.engine, "before_cursor_execute", lambda *a: written.append(a[2]) if "UPDATE" in a[2] else None
    )
    run([gallery], clock, 3 * HOUR)
    assert len(written) == 3
