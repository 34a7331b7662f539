"""Which faces of successive frames are one visit: by where they are, and by their vectors. Pure.

A face goes to the visit that it fits best: near to where that face should be by now, and alike. Whoever is
    alike
enough needs not be near: they have turned away for a moment, come back within the gap, or the stream has
    broken. Whoever is near needs be less alike. The best pairs are taken first: with the few faces of a
    frame, an optimal assignment decides nothing else, as benchmarks/cameras.py shows, beside other trackers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box

Vector = NDArray[np.float32]

# All chosen on clips of one half of the people, where errors of both kinds were fewest
# (benchmarks/cameras.py), and measured on the other half. Likeness is a cosine in units of the one at the
# model's threshold, so that it means the same for each model: 1 is a match, strangers are about 0.2.
ALIKE = 0.85  # from which on a face belongs to a visit, wherever it is
ALIKE_NEAR = 0.35  # the same of one where the visit's face should be by now
JOINED = 0.95  # of what two visits have in common, from which on they are one
NEAR_COUNTS = 0.5  # for how much likeness a face counts that is exactly where it is expected
NEAR_S = 2.0  # so long it is known where a face should be
PACE = 3.0  # widths of a face a second that one may move otherwise than expected
LEAST = 0.25  # quality of a face that says anything of whose it is
ENOUGH = 0.9  # sum of the qualities of a visit's faces from which on it is one
UNSURE_S = 3.0  # after which a face is forgotten that is no visit yet
BEST = 12  # faces of which the vectors are kept, of at most 32 that an event may have
MOST = 256  # visits at the same time; the one that was seen the longest ago is ended for another


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A face of a frame: where, how good in [0, 1], and its vector, float32 (d,)."""

    box: Box
    quality: float
    vector: Vector


@dataclass(slots=True, eq=False)
class Track:
    """A face that is followed.

    since, seen: seconds when it was first and last seen.
    box: the last one; speed: of its centre, pixels a second.
    frames: in how many it was seen.
    evidence: sum of the qualities of its faces, of those above LEAST; from ENOUGH on it is a visit.
    best: its best faces, the best first, at most BEST.
    with_it: the others that were in a frame with it, who are other people.
    mean: of the directions of their vectors, float32 (d,), of length 1.
    told: others know of it, so it stays what it is.
    """

    since: float
    seen: float
    box: Box
    speed: complex = 0j
    frames: int = 0
    evidence: float = 0.0
    best: list[Seen] = field(default_factory=list)
    with_it: set[Track] = field(default_factory=set, repr=False)
    mean: Vector = field(default_factory=lambda: np.empty(0, np.float32), repr=False)
    told: bool = False

    @property
    def sure(self) -> bool:
        """Whether it is a visit: a single poor face is none."""
        return self.evidence >= ENOUGH

    def vectors(self) -> Vector:
        """Return the vectors of its best faces, float32 (n, d)."""
        return np.stack([face.vector for face in self.best])

    def take_anew(self, faces: Sequence[Seen]) -> None:
        """Forget the best faces, whose vectors mean nothing any more, for others."""
        self.best = []
        _keep(self, faces)


class Tracker:
    """The faces before one camera. Times are seconds of any clock that does not go back."""

    def __init__(self, gap_s: float, cosine: float) -> None:
        """Follow nobody yet.

        gap_s: who is away for no longer has not gone.
        cosine: of two vectors at the model's threshold.
        """
        self.gap_s = gap_s
        self.cosine = cosine
        self.tracks: list[Track] = []

    def see(self, faces: Sequence[Seen], at: float) -> list[Track]:
        """Follow the faces of a frame, which is not before the last one: returns the track of each."""
        taken = assigned(self._pairs(faces, at))
        for number, face in enumerate(faces):
            if number not in taken:
                taken[number] = Track(at, at, face.box)
                self.tracks.append(taken[number])
            _add(taken[number], face, at)
        for track in taken.values():
            track.with_it |= set(taken.values()) - {track}
        for number, track in taken.items():
            taken[number] = self._joined(track, at)
        return [taken[number] for number in range(len(faces))]

    def gone(self, at: float) -> list[Track]:
        """Return the visits that have ended by now, and forget them, and faces that have become none."""
        left = sorted(self.tracks, key=lambda track: track.seen)
        too_many = len(left) - MOST
        return self._forget(
            [track for place, track in enumerate(left) if place < too_many or self._is_over(track, at)]
        )

    def all_gone(self) -> list[Track]:
        """Return the visits that were under way, and forget them."""
        return self._forget(self.tracks)

    def _is_over(self, track: Track, at: float) -> bool:
        return at - track.seen > (self.gap_s if track.sure else min(self.gap_s, UNSURE_S))

    def _forget(self, ended: list[Track]) -> list[Track]:
        gone = set(ended)
        self.tracks = [track for track in self.tracks if track not in gone]
        for track in self.tracks:
            track.with_it -= gone
        return [track for track in ended if track.sure]

    def _pairs(self, faces: Sequence[Seen], at: float) -> list[tuple[float, int, Track]]:
        """Return which faces may belong to which tracks, and how well they fit."""
        pairs = []
        for track in self.tracks:
            if self._is_over(track, at):
                continue
            for number, face in enumerate(faces):
                near = _nearness(track, face.box, at)
                like = self._likeness(track, face)
                if like >= ALIKE or (near > 0 and like >= ALIKE_NEAR):
                    pairs.append((like + NEAR_COUNTS * near, number, track))
        return pairs

    def _likeness(self, track: Track, face: Seen) -> float:
        if not track.best:  # none of its faces says whose it is
            return ALIKE_NEAR
        like = float(track.mean @ _unit(face.vector)) / self.cosine
        return max(like, ALIKE_NEAR) if face.quality < LEAST else like

    def _joined(self, track: Track, at: float) -> Track:
        """Return the visit that a track turns out to be a part of, now that more is known; else itself."""
        if not track.sure:
            return track
        for other in self.tracks:
            if other is track or not other.sure or other in track.with_it or self._is_over(other, at):
                continue
            if not (other.best and track.best) or (other.told and track.told):
                continue
            if float(other.mean @ track.mean) / self.cosine >= JOINED:
                first = (other.told, -other.since) >= (track.told, -track.since)
                older, newer = (other, track) if first else (track, other)
                for third in newer.with_it:
                    third.with_it.add(older)
                self._forget([newer])
                _absorb(older, newer)
                return older
        return track


def assigned(pairs: Sequence[tuple[float, int, Track]]) -> dict[int, Track]:
    """Choose among pairs of faces and tracks, each in one at most, those that fit best first."""
    taken: dict[int, Track] = {}
    for _, number, track in sorted(pairs, key=lambda pair: -pair[0]):
        if number not in taken and track not in taken.values():
            taken[number] = track
    return taken


def _add(track: Track, face: Seen, at: float) -> None:
    passed = at - track.seen
    if track.frames and 0 < passed <= NEAR_S:
        speed = (_centre(face.box) - _centre(track.box)) / passed
        track.speed = (track.speed + speed) / 2
    else:
        track.speed = 0j
    track.seen, track.box = at, face.box
    track.frames += 1
    if face.quality >= LEAST:
        track.evidence += face.quality
        _keep(track, [face])


def _absorb(older: Track, newer: Track) -> None:
    if newer.seen >= older.seen:
        older.seen, older.box, older.speed = newer.seen, newer.box, newer.speed
    older.since = min(older.since, newer.since)
    older.frames += newer.frames
    older.evidence += newer.evidence
    older.with_it |= newer.with_it
    _keep(older, newer.best)


def _keep(track: Track, faces: Sequence[Seen]) -> None:
    track.best = sorted([*track.best, *faces], key=lambda face: -face.quality)[:BEST]
    if track.best:
        track.mean = _unit(np.mean([_unit(face.vector) for face in track.best], axis=0))


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def _centre(box: Box) -> complex:
    return complex(box.x + box.w / 2, box.y + box.h / 2)


def _nearness(track: Track, box: Box, at: float) -> float:
    """Tell how near a box is to where a track's face should be: 1 is there, 0 is out of reach."""
    passed = at - track.seen
    if passed > NEAR_S:
        return 0.0
    expected = _centre(track.box) + track.speed * passed
    width = (track.box.w + box.w) / 2
    reach = width * (1 + PACE * passed)
    change = abs(math.log(max(box.w, 1e-6) / max(track.box.w, 1e-6)))
    return max(0.0, 1 - abs(_centre(box) - expected) / reach - change / 2)
