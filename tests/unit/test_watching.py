"""Visits become events: with a service, a clock and cameras of the tests' own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import cv2
import numpy as np
import pytest

from recognition.cameras.feeds import Look, SourceLost, looks
from recognition.cameras.reach import (
    FaceSeen,
    FrameRefused,
    Reach,
    ServiceAway,
    ServiceBusy,
    Sight,
    VisitRefused,
)
from recognition.cameras.sources import Source
from recognition.cameras.watching import WAITING, Watcher
from recognition.errors import ModelChanged
from recognition.faces import Box, Face
from recognition.visits import Event, Visit
from serving.errors import NotFound

EPOCH = datetime(2026, 11, 24, tzinfo=UTC)
JPEG = cv2.imencode(".jpg", np.full((240, 320, 3), 90, np.uint8))[1].tobytes()
LANDMARKS = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]], np.float32)
KNOWN = {"Ann", "Ben", "Cleo"}
GAP_S = 10.0


def face(x: float, quality: float, vector: np.ndarray, width: float = 60) -> FaceSeen:
    where = Face(Box(x, 80, width, width), 0.99, LANDMARKS * width + np.float32([x, 80]))
    return FaceSeen(where, quality, vector)


@dataclass
class World:
    """Who is to be seen, the clock, and the service: who it says a vector is of, by its largest number."""

    there: Callable[[float], list[tuple[str, float, float]]]  # name, x, quality
    now: float = 0.0
    away: bool = False
    fingerprint: str = "first"
    stopped: bool = False
    names: list[str] = field(default_factory=list)
    posted: list[Event] = field(default_factory=list)
    emitted: list[Event] = field(default_factory=list)
    presented: list[list[str | None]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    asked: int = 0
    refuse: bool = False
    erased: bool = False
    seed: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))

    def clock(self) -> float:
        return self.now

    def is_set(self) -> bool:
        return self.stopped

    def wait(self, timeout: float) -> bool:
        self.now += timeout
        return self.stopped

    def utc(self, at: float) -> datetime:
        return EPOCH + timedelta(seconds=at)

    def vector(self, name: str) -> np.ndarray:
        if name not in self.names:
            self.names.append(name)
        vector = self.seed.normal(0, 0.5, 64)
        vector[self.names.index(name) % 64] += 10
        return vector.astype(np.float32)

    def see(self, jpeg: bytes) -> Sight:
        self.asked += 1
        if self.away:
            raise ServiceAway("It does not answer.")
        faces = [face(x, quality, self.vector(name)) for name, x, quality in self.there(self.now)]
        return Sight(self.fingerprint, 0.6, faces)

    def record(self, visit: Visit, fingerprint: str) -> Event:
        self.asked += 1
        if self.away:
            raise ServiceAway("It does not answer.")
        if not len(visit.vectors):
            return self.go_on(visit)
        if fingerprint != self.fingerprint:
            raise ModelChanged("Another model.")
        if self.refuse:
            raise VisitRefused("It is wrong.")
        assert visit.picture is not None
        assert 1 <= len(visit.vectors) <= 32
        assert visit.until is None or visit.until >= visit.since
        name = self.names[int(visit.vectors.mean(axis=0).argmax())]
        known = name if name in KNOWN else None
        event = Event(
            visit.id,
            visit.camera,
            visit.since,
            visit.until,
            visit.frames,
            known,
            known,
            known,
            1.0,
            None,
            visit.box,
            visit.quality,
        )
        self.posted.append(event)
        return event

    def go_on(self, visit: Visit) -> Event:
        so_far = [event for event in self.posted if event.id == visit.id]
        if not so_far or self.erased:
            raise NotFound("No such event.")
        event = replace(so_far[-1], until=visit.until, frames=visit.frames)
        self.posted.append(event)
        return event

    def watcher(self, *, live: bool = True, gap_s: float = GAP_S) -> Watcher:
        return Watcher(
            "door",
            self,
            Reach(self.clock, self.told.append),
            gap_s=gap_s,
            live=live,
            stopping=self,
            utc=self.utc,
            tell=self.told.append,
            emit=lambda event, _picture: self.emitted.append(event),
            present=lambda events: self.presented.append([event.name for event in events]),
        )

    def run(self, seconds: float, rate: float = 5) -> Iterator[Look]:
        for _ in range(round(seconds * rate)):
            self.now = round(self.now + 1 / rate, 3)
            yield Look(self.now, JPEG)

    @property
    def ended(self) -> list[Event]:
        return [event for event in self.emitted if event.until is not None]


def always(*people: tuple[str, float, float]) -> Callable[[float], list[tuple[str, float, float]]]:
    return lambda now: list(people)


def between(start: float, end: float, name: str = "Ann") -> Callable[[float], list[tuple[str, float, float]]]:
    return lambda now: [(name, 100, 0.8)] if start <= now <= end else []


def test_a_visit_is_told_when_it_is_sure_and_when_it_ends() -> None:
    world = World(between(2, 6))
    world.watcher().watch(world.run(30))
    begun, ended = world.emitted
    assert (begun.id, begun.until, begun.name) == (ended.id, None, "Ann")
    assert begun.frames == 2
    assert ended.frames in (20, 21)
    assert (ended.since, ended.until) == (world.utc(2.0), world.utc(6.0))
    assert world.presented == [["Ann"], []]
    assert world.told == []


def test_a_visit_that_is_under_way_ends_with_the_watching() -> None:
    world = World(always(("Ann", 100, 0.8), ("Ben", 200, 0.8)))
    with pytest.raises(SourceLost):
        world.watcher().watch(itertools.chain(world.run(3), _lost()))
    assert {event.name for event in world.ended} == {"Ann", "Ben"}
    assert {event.until for event in world.ended} == {world.utc(3.0)}


def _lost() -> Iterator[Look]:
    raise SourceLost("it has ended")
    yield


def test_whoever_is_unknown_is_asked_for_again_as_more_is_seen_of_them() -> None:
    world = World(always(("somebody", 100, 0.8)))
    world.watcher().watch(world.run(60))
    times = [event.frames for event in world.posted]
    assert 5 <= len(times) <= 10
    assert times == sorted(times)
    assert len({event.id for event in world.posted}) == 1


def test_poor_faces_are_no_visit() -> None:
    world = World(lambda now: [("Ann", 100, 0.1)])
    world.watcher().watch(world.run(30))
    assert world.posted == []


def test_while_the_service_is_away_visits_wait_and_it_is_said_once() -> None:
    world = World(between(2, 6))
    watcher = world.watcher()
    for look in world.run(5):
        watcher.step(look)
    world.away, before = True, world.asked
    for look in world.run(600):
        watcher.step(look)
    assert world.asked - before < 60  # of 3,000 frames
    assert world.ended == []
    world.away = False
    for look in world.run(40):
        watcher.step(look)
    (event,) = world.ended
    assert (event.name, event.until) == ("Ann", world.utc(5.0))
    assert world.told == [
        "The service is away: It does not answer. Frames are dropped, and visits wait.",
        "The service is back.",
    ]


def test_visits_that_wait_are_bounded() -> None:
    world = World(always())
    watcher = world.watcher(gap_s=0.5)
    count = WAITING + 20
    world.there = lambda now: [(f"p{int(now)}", 100, 0.9)] if now < count and now % 1 < 0.45 else []
    record, world.record = world.record, _away  # type: ignore[method-assign]
    watcher.watch(world.run(count))
    assert world.told.count(f"a visit is given up: {WAITING} wait already") == 20
    assert world.told[-1] == f"{WAITING} visits are lost: the service is away"
    assert record is not None


def _away(visit: Visit, fingerprint: str) -> Event:
    raise ServiceAway("It does not answer.")


def test_a_file_waits_for_the_service() -> None:
    world = World(always(("Ann", 100, 0.8)))
    world.away = True
    waits = iter(range(8))

    def wait(timeout: float) -> bool:
        world.now += timeout
        world.away = next(waits) < 5
        return False

    world.wait = wait  # type: ignore[method-assign]
    world.watcher(live=False).watch(Look(n / 5, JPEG) for n in range(20))
    (event,) = world.ended
    assert (event.frames, event.since, event.until) == (20, world.utc(0.0), world.utc(3.8))


def test_a_visit_that_the_service_refuses_does_not_hold_up_others() -> None:
    world = World(between(2, 6))
    watcher = world.watcher()
    world.refuse = True
    watcher.watch(world.run(30))
    assert world.told == ["a visit is given up: It is wrong."]
    world.refuse, world.there = False, between(32, 36, "Ben")
    watcher.watch(world.run(30))
    assert [event.name for event in world.ended] == ["Ben"]


def test_after_a_change_of_model_faces_are_embedded_anew() -> None:
    world = World(between(2, 100))
    watcher = world.watcher()
    for look in world.run(5):
        watcher.step(look)
    world.fingerprint = "second"
    for look in world.run(5):
        watcher.step(look)
    world.there = always()
    for look in world.run(12):
        watcher.step(look)
    (event,) = world.ended
    assert event.name == "Ann"
    assert event.frames > 35


def test_a_visit_that_waits_is_embedded_anew() -> None:
    world = World(between(2, 6))
    watcher = world.watcher()
    for look in world.run(7):
        watcher.step(look)
    world.there = always(("Ann", 100, 0.8))  # what its picture shows
    world.fingerprint = "second"
    watcher.watch(iter([]))
    (event,) = world.ended
    assert (event.name, event.until) == ("Ann", world.utc(6.0))
    world.there = always()
    for look in world.run(2):
        watcher.step(look)


def test_a_busy_service_costs_a_frame_and_no_more() -> None:
    world = World(between(2, 6))
    see, calls = world.see, iter(range(10_000))

    def often_busy(jpeg: bytes) -> Sight:
        if next(calls) % 2:
            raise ServiceBusy("Too much to do.")
        return see(jpeg)

    world.see = often_busy  # type: ignore[method-assign]
    world.watcher().watch(world.run(30))
    (event,) = world.ended
    assert event.frames == 10
    assert world.told == []


def test_a_frame_that_the_service_cannot_take_does_not_hold_up_a_file() -> None:
    world = World(always(("Ann", 100, 0.8)))
    see, calls = world.see, iter(range(10_000))

    def refusing(jpeg: bytes) -> Sight:
        if next(calls) in (3, 5):
            raise FrameRefused("An internal error.")
        return see(jpeg)

    world.see = refusing  # type: ignore[method-assign]
    world.watcher(live=False).watch(Look(n / 5, JPEG) for n in range(20))
    (event,) = world.ended
    assert event.frames == 18
    assert len(world.told) == 1


def loses_its_vectors(world: World, watcher: Watcher) -> None:
    """Follow Ann until a change of model, by which she is seen poorly, and not in her picture."""
    world.there = between(2, 6)
    for look in world.run(4):
        watcher.step(look)
    world.fingerprint, world.there = "second", always(("Ann", 100, 0.1))
    see, calls = world.see, iter(range(10_000))

    def blind(jpeg: bytes) -> Sight:
        return Sight("second", 0.6, []) if next(calls) == 1 else see(jpeg)

    world.see = blind  # type: ignore[method-assign]
    for look in world.run(1):
        watcher.step(look)


@pytest.mark.parametrize("name", ["Ann", "somebody"])
def test_a_visit_that_loses_its_vectors_is_ended_at_the_service(name: str) -> None:
    world = World(always())
    world.names = [name]  # of the first vectors
    watcher = world.watcher()
    world.vector = _vector  # type: ignore[method-assign]
    loses_its_vectors(world, watcher)
    (begun, *_), posted = world.posted, len(world.posted)
    world.away = True
    for look in world.run(20):
        watcher.step(look)
    assert world.ended == []  # it waits for the service
    world.away = False
    watcher.watch(world.run(60))
    (event,) = world.ended
    assert world.posted[posted:] == [event]
    assert (event.id, event.name) == (begun.id, begun.name)
    assert event.until == world.utc(5.0)
    assert event.frames > begun.frames
    assert world.presented[-1] == []


def _vector(name: str) -> np.ndarray:
    return np.eye(1, 64, dtype=np.float32)[0] * 10


def test_a_visit_that_loses_its_vectors_and_is_erased_is_told_no_more() -> None:
    world = World(always())
    watcher = world.watcher()
    loses_its_vectors(world, watcher)
    world.erased, world.there = True, always()
    watcher.watch(world.run(30))
    assert world.ended == []
    assert world.told == []


@pytest.mark.parametrize("told", [True, False])
def test_a_visit_that_waits_and_whose_face_is_not_found_again_ends_if_it_was_told(told: bool) -> None:
    world = World(between(2, 6))
    watcher = world.watcher()
    for look in world.run(7):
        watcher.step(look)
    world.fingerprint, world.there, world.erased = "second", always(), not told
    watcher.watch(iter([]))
    assert [(event.name, event.until) for event in world.ended] == [("Ann", world.utc(6.0))] * told
    assert world.told == (
        [] if told else ["a visit is given up: its face cannot be found again for another model"]
    )


def test_errors_that_are_nobodys_fault_end_it() -> None:
    world = World(always(("Ann", 100, 0.8)))

    def see(jpeg: bytes) -> Sight:
        raise PermissionError("no key")

    world.see = see  # type: ignore[method-assign]
    with pytest.raises(PermissionError):
        world.watcher().watch(world.run(1))


def test_an_hour_with_ten_breaks_has_every_visit_exactly_once() -> None:
    """Frame by frame, with the real reconnecting, tracking and deciding; only the clock is not real."""
    random = np.random.default_rng(5)
    stays: list[tuple[float, float, str]] = []
    breaks: list[tuple[float, float]] = []
    at = 20.0
    while at < 3540:
        number = len(stays)
        name = ("Ann", "Ben", "Cleo", f"stranger {number}")[int(random.integers(4))]
        seconds = float(random.uniform(12, 30))
        stays.append((at, at + seconds, name))
        if number % 12 == 3:  # somebody is there, and still is when the stream is back within the gap
            breaks.append((at + 4, at + 4 + float(random.uniform(1, 6))))
        at += seconds + float(random.uniform(15, 50))
        if number % 11 == 9:  # for a while nothing is to be seen
            breaks.append((at - 2, at + 60))
            at += 90
    world = World(
        lambda now: [(who, 80 + 5 * (now - start), 0.7) for start, end, who in stays if start <= now <= end]
    )

    class Stream:
        """Gives five frames a second but when it is broken."""

        def look(self, *, always: bool) -> Look:
            world.now += 0.2
            world.stopped = world.now >= 3600
            if any(start <= world.now < end for start, end in breaks):
                raise SourceLost("it has ended")
            return Look(0.0, JPEG)

        def close(self) -> None:
            pass

    watcher = world.watcher()
    moments = looks(
        Source("door", "rtsp://cam/"),
        Stream,
        always=watcher.busy,
        stopping=world,
        clock=world.clock,
        tell=world.told.append,
        jitter=lambda: 0.5,
    )
    watcher.watch(moments)
    assert len(stays) > 50
    assert [event.name for event in world.ended] == [who if who in KNOWN else None for _, _, who in stays]
    for event, (start, end, _) in zip(world.ended, stays, strict=True):
        assert abs((event.since - world.utc(start)).total_seconds()) < 0.5
        assert event.until is not None
        assert abs((event.until - world.utc(end)).total_seconds()) < 0.5
    assert {event.id for event in world.posted} == {event.id for event in world.ended}
    assert len(breaks) == 10
    assert world.told == ["is lost: it has ended; trying again", "is back"] * 10
