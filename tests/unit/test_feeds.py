"""A source that is lost is tried again, at longer and longer times, and says so once. No process, no time."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import NoReturn

import pytest

from recognition.cameras import feeds
from recognition.cameras.feeds import Look, SourceEnded, SourceLost, looks
from recognition.cameras.sources import Source

CAMERA, FILE = Source("door", "rtsp://u:geheim@cam/"), Source("clip", "clip.avi")


@dataclass
class World:
    """A clock that goes on while somebody waits, and while a source gives a frame: one a second."""

    now: float = 1000.0
    stop_at: float = float("inf")
    started: list[float] = field(default_factory=list)
    closed: int = 0
    told: list[str] = field(default_factory=list)
    asked: list[bool] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return self.now >= self.stop_at

    def wait(self, timeout: float) -> bool:
        self.now += timeout
        return self.is_set()

    def looks(self, source: Source, lives: Iterator[list[object]], **more: bool) -> Iterator[Look]:
        def start() -> ScriptedFeed:
            self.started.append(self.now)
            return ScriptedFeed(self, list(next(lives)))

        return looks(
            source,
            start,
            always=lambda: False,
            stopping=self,
            clock=self.clock,
            tell=self.told.append,
            jitter=lambda: 1.0,
            **more,
        )


@dataclass
class ScriptedFeed:
    """Gives frames and raises errors as they are listed; at the end it hangs until it is lost."""

    world: World
    script: list[object]

    def look(self, *, always: bool) -> Look:
        self.world.asked.append(always)
        step = self.script.pop(0) if self.script else SourceLost("no frame for 10 s")
        if isinstance(step, Exception):
            raise step
        self.world.now += 1
        return Look(0.0, b"" if step else None)

    def close(self) -> None:
        self.world.closed += 1


def frames(count: int) -> list[object]:
    return [True] * count


def test_a_camera_that_is_lost_is_said_once_and_when_it_is_back() -> None:
    world = World()
    lives = iter([frames(30), [], [], frames(30), [], frames(50)])
    seen = [look for look in islice(world.looks(CAMERA, lives), 75) if look.jpeg is not None]
    assert len(seen) > 65
    assert world.told == [
        "is lost: no frame for 10 s; trying again",
        "is back",
        "is lost: no frame for 10 s; trying again",
        "is back",
    ]
    assert world.closed == len(world.started) == 6
    assert seen[0].at == 1001.0


def test_tries_are_farther_and_farther_apart_up_to_a_bound() -> None:
    world = World()
    lives = iter([frames(30), *[[]] * 14, frames(30), [], frames(1)])
    for _ in islice(world.looks(CAMERA, lives), 900):
        if len(world.started) == 18:
            break
    pauses = [after - before for before, after in pairwise(world.started)]
    assert pauses[:4] == [30.5, 0.75, 1.125, 1.6875]
    assert pauses[12:] == [60, 60, 60, 30.5, 0.75]


def test_a_source_that_flaps_does_not_flood_the_log() -> None:
    world = World(stop_at=1000 + 3600)
    for _ in world.looks(CAMERA, iter(lambda: frames(2), None)):
        pass
    assert 60 <= len(world.told) <= 150  # an hour
    assert world.closed == len(world.started)


def test_there_are_moments_while_a_camera_is_away() -> None:
    world = World(stop_at=1000 + 300)
    times = [look.at for look in world.looks(CAMERA, iter(lambda: [], None))]
    assert len(times) > 200
    assert times == sorted(times)
    assert max(later - earlier for earlier, later in pairwise(times)) <= 2


def test_what_is_to_fail_fails() -> None:
    world = World()
    with pytest.raises(SourceLost, match="no frame"):
        list(world.looks(CAMERA, iter([frames(3)]), fail=True))
    assert (world.told, world.closed) == ([], 1)


def test_a_file_is_read_once() -> None:
    world = World()
    assert len(list(world.looks(FILE, iter([[*frames(7), SourceEnded("it has ended")]])))) == 7
    with pytest.raises(SourceLost, match="process"):
        list(world.looks(FILE, iter([[*frames(7), SourceLost("the process that reads it has ended")]])))
    assert (world.told, world.closed) == ([], 2)


def test_it_stops_at_once_when_it_is_time() -> None:
    world = World(stop_at=1005)
    assert len(list(world.looks(CAMERA, iter([frames(100)])))) == 5
    world = World(stop_at=1000.5)
    assert len(list(world.looks(CAMERA, iter([[]])))) <= 1
    assert world.closed == 1


def test_whoever_leaves_closes_the_source() -> None:
    world = World()
    moments = world.looks(CAMERA, iter([frames(100)]))
    next(moments)
    moments.close()
    assert world.closed == 1


def test_keys_of_the_service_do_not_reach_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "GALLERY_KEY", "DATABASE_URL"):
        monkeypatch.setenv(name, "geheim")
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    given = feeds.environment()
    assert "geheim" not in given.values()
    assert given["OPENCV_FFMPEG_CAPTURE_OPTIONS"] == "rtsp_transport;udp"


def test_a_process_that_cannot_be_started_is_a_source_that_is_lost() -> None:
    def fails(theirs: object) -> NoReturn:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    def start() -> feeds.ProcessFeed:
        return feeds.ProcessFeed(CAMERA, 1.0, 5.0, world, fails)

    world = World(stop_at=1000 + 60)
    before = len(list(Path("/proc/self/fd").iterdir()))
    list(
        looks(CAMERA, start, always=lambda: False, stopping=world, clock=world.clock, tell=world.told.append)
    )
    assert world.told == ["is lost: no process can read it: Resource temporarily unavailable; trying again"]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
