"""Faces followed from frame to frame, with vectors of people who are not alike."""

from __future__ import annotations

import numpy as np
import pytest

from recognition.cameras.tracking import BEST, MOST, Seen, Track, Tracker
from recognition.faces import Box

COSINE = 0.595  # at the threshold of FaceNet
GAP_S = 10.0
RATE = 5


class People:
    """Vectors of people as FaceNet's are: each picture of somebody is a little different."""

    def __init__(self, seed: int = 1, spread: float = 0.5) -> None:
        self.random = np.random.default_rng(seed)
        self.spread = spread
        self.known: dict[str, np.ndarray] = {}

    def vector(self, name: str, spread: float | None = None) -> np.ndarray:
        if name not in self.known:
            self.known[name] = self._direction()
        mixed = self.known[name] + (self.spread if spread is None else spread) * self._direction()
        return np.asarray(10 * mixed / np.linalg.norm(mixed), np.float32)

    def _direction(self) -> np.ndarray:
        vector = self.random.normal(size=128)
        return vector / np.linalg.norm(vector)

    def face(self, name: str, x: float, y: float = 200, quality: float = 0.8, width: float = 80) -> Seen:
        return Seen(Box(x, y, width, width * 1.3), quality, self.vector(name))


@pytest.fixture
def people() -> People:
    return People()


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(GAP_S, COSINE)


def test_somebody_who_walks_by_is_one_visit(tracker: Tracker, people: People) -> None:
    for n in range(4 * RATE):
        (track,) = tracker.see([people.face("Ann", 30 * n)], n / RATE)
        assert tracker.gone(n / RATE) == []
    assert tracker.gone(3.8 + GAP_S) == []
    assert tracker.gone(3.9 + GAP_S) == [track]
    assert (track.since, track.seen, track.frames) == (0, 3.8, 20)
    assert track.vectors().shape == (BEST, 128)
    assert tracker.gone(100) == tracker.tracks == []


def test_a_single_face_is_no_visit_unless_it_is_followed_by_more(tracker: Tracker, people: People) -> None:
    tracker.see([people.face("Ann", 0, quality=0.3)], 0)
    tracker.see([people.face("Ben", 400, quality=0.1)], 0.2)
    assert tracker.gone(60) == tracker.all_gone() == []
    for n in range(20):  # however long: it says nothing of whose it is
        tracker.see([people.face("Ben", 400, quality=0.1)], 70 + n / RATE)
    assert tracker.all_gone() == []


def test_a_face_that_is_missed_for_some_frames_is_the_same(tracker: Tracker, people: People) -> None:
    for n in range(30):
        tracker.see([] if 10 <= n < 14 else [people.face("Ann", 20 * n)], n / RATE)
    (track,) = tracker.all_gone()
    assert track.frames == 26


def test_people_who_cross_keep_their_visits(tracker: Tracker, people: People) -> None:
    tracks: dict[str, set[Track]] = {"Ann": set(), "Ben": set()}
    for n in range(30):
        ann, ben = people.face("Ann", 20 * n), people.face("Ben", 580 - 20 * n)
        hidden = 13 <= n <= 16
        names, faces = (["Ann"], [ann]) if hidden else (["Ben", "Ann"], [ben, ann])
        for name, track in zip(names, tracker.see(faces, n / RATE), strict=True):
            tracks[name].add(track)
    assert [len(some) for some in tracks.values()] == [1, 1]
    assert not tracks["Ann"] & tracks["Ben"]
    assert len(tracker.all_gone()) == 2


def test_who_comes_back_within_the_gap_has_not_left(tracker: Tracker, people: People) -> None:
    ended = []
    for since, x in ((0.0, 0), (8.0, 500), (27.0, 0)):
        for n in range(10):  # nobody has asked who is gone before
            tracker.see([people.face("Ann", x)], since + n / RATE)
        ended += tracker.gone(since + 2)
    assert [(track.since, track.frames) for track in ended] == [(0.0, 20)]
    assert [(track.since, track.frames) for track in tracker.all_gone()] == [(27.0, 10)]


def test_somebody_else_at_the_same_place_is_another_visit(tracker: Tracker, people: People) -> None:
    for n, name in enumerate(["Ann"] * 10 + ["Ben"] * 10):
        tracker.see([people.face(name, 100)], n / RATE)
    assert [track.frames for track in tracker.all_gone()] == [10, 10]


def test_whoever_is_seen_together_is_not_one_however_alike(tracker: Tracker, people: People) -> None:
    for n in range(10):
        tracker.see([people.face("twin", 0), people.face("twin", 400)], n / RATE)
    assert [track.frames for track in tracker.all_gone()] == [10, 10]


def test_a_visit_that_turns_out_to_be_another_goes_on_joins_it(tracker: Tracker) -> None:
    """Each face that comes back is hardly like Ann's; what they have in common is."""
    people = People()
    for n in range(10):
        tracker.see([people.face("Ann", 0)], n / RATE)
    people.spread = 1.8
    seen = [tracker.see([people.face("Ann", 500, quality=0.3)], 6.0 + n / RATE)[0] for n in range(10)]
    assert seen[0] is not seen[-1]
    assert tracker.tracks == [seen[-1]]
    assert (seen[-1].since, seen[-1].frames) == (0.0, 20)


def test_visits_that_others_know_of_stay_two(tracker: Tracker) -> None:
    people = People()
    for start in (0.0, 6.0):
        for n in range(5):
            (track,) = tracker.see(
                [Seen(Box(9, 9, 80, 104), 0.8, people.vector("Ann" + str(start)))], start + n
            )
        track.told = True
    first, second = tracker.tracks
    people.known["Ann6.0"] = people.known["Ann0.0"]
    tracker.see([Seen(Box(9, 9, 80, 104), 1.0, people.vector("Ann6.0", 0.0))], 11.0)
    assert tracker.tracks == [first, second]


def test_there_is_a_bound_to_how_many_are_followed(tracker: Tracker, people: People) -> None:
    for n in range(MOST + 50):
        tracker.see([people.face(str(n), 0)], 0.001 * n)
        tracker.gone(0.001 * n)
        assert len(tracker.tracks) <= MOST
    assert sum(len(track.with_it) for track in tracker.tracks) == 0


def test_nothing_is_kept_of_who_has_gone(tracker: Tracker, people: People) -> None:
    for n in range(2000):
        tracker.see([people.face(f"a{n // 10}", 0), people.face(f"b{n // 7}", 300)], n)
        tracker.gone(n)
        assert len(tracker.tracks) <= 8
    assert {len(track.with_it) <= 8 for track in tracker.tracks} == {True}


def test_an_empty_frame_is_nothing(tracker: Tracker) -> None:
    assert tracker.see([], 0) == tracker.gone(1) == tracker.all_gone() == []
