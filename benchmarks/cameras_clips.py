"""Clips as a camera at a door has them, made of photographs of people, with the truth about each frame.

People walk through the picture, come nearer, stand, turn away for a moment, cross each other, leave and come
back; their photographs are scaled, turned, blurred and noisy, and change every second or two, as a face does
that moves. Between them nobody is there. Pure functions of pixels and of a random generator.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Random = np.random.Generator

WIDTH, HEIGHT = 640, 480
RATE = 5  # frames a second, as `watch` takes them
SPAN = 0.36  # of a photograph of LFW is the width of the face, which is in its middle
NOISE = 4.0  # standard deviation, grey levels
POOR_PX = 22  # width of a face that is too far away to be told from others


@dataclass(frozen=True)
class Walk:
    """One uninterrupted time in the picture: seconds, and where the face is and how wide at both ends."""

    begins: float
    ends: float
    path: tuple[tuple[float, float], tuple[float, float]]
    widths: tuple[float, float]
    turned_away: tuple[float, float] = (0, 0)  # seconds from and to, with no face to be seen


@dataclass(frozen=True)
class Presence:
    """What should be one event: a person, the photographs that show them, and their walks."""

    person: str
    stills: Sequence[Any]
    walks: Sequence[Walk]
    poor: bool = False

    @property
    def begins(self) -> float:
        """Second in which it begins."""
        return min(walk.begins for walk in self.walks)

    @property
    def ends(self) -> float:
        """Second in which it ends."""
        return max(walk.ends for walk in self.walks)


@dataclass(frozen=True)
class Clip:
    """What is to be seen in one clip."""

    kind: str
    seconds: float
    presences: Sequence[Presence]
    seed: int


@dataclass
class Shot:
    """One frame: uint8 (HEIGHT, WIDTH, 3), RGB, and where whose face is: (x, y, w, h) by presence."""

    at: float
    pixels: Pixels
    faces: dict[int, tuple[float, float, float, float]] = field(default_factory=dict)


def frames(clip: Clip, read: Any) -> Iterator[Shot]:
    """Yield the frames of a clip. `read` turns a still into pixels: uint8 (250, 250, 3), RGB."""
    random = np.random.default_rng(clip.seed)
    room = _room(random)
    period, depth = random.uniform(20, 60), random.uniform(0, 0.25)
    changes = [_changes(presence, random) for presence in clip.presences]
    for number in range(round(clip.seconds * RATE)):
        at = number / RATE
        picture = room.copy()
        shot = Shot(at, np.empty(0, np.uint8))
        order = [  # whoever is nearer hides the others
            (width, place, index)
            for index, presence in enumerate(clip.presences)
            if (placed := _placed(presence, at)) is not None
            for place, width in (placed,)
        ]
        for width, place, index in sorted(order):
            presence = clip.presences[index]
            still = read(presence.stills[int(np.searchsorted(changes[index], at)) % len(presence.stills)])
            _paste(picture, _taken(still, presence.poor, random), place, width, random)
            _hide(shot.faces, place, width)
            shot.faces[index] = (place[0] - width / 2, place[1] - width * 0.65, width, width * 1.3)
        light = 1 + depth * math.sin(2 * math.pi * at / period)
        noisy = picture * light + random.normal(0, NOISE, picture.shape[:2])[..., None]
        shot.pixels = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
        yield shot


def _room(random: Random) -> NDArray[np.float32]:
    coarse = random.uniform(40, 200, (6, 8, 3)).astype(np.float32)
    room = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    for _ in range(6):  # furniture
        corner = random.integers(0, (WIDTH, HEIGHT))
        size = random.integers(30, 160, 2)
        cv2.rectangle(
            room, corner.tolist(), (corner + size).tolist(), random.uniform(30, 220, 3).tolist(), -1
        )
    return cv2.GaussianBlur(room, (0, 0), 1.5)


def _changes(presence: Presence, random: Random) -> NDArray[np.float64]:
    return presence.begins + np.cumsum(random.uniform(1, 2, 100))


def _placed(presence: Presence, at: float) -> tuple[tuple[float, float], float] | None:
    for walk in presence.walks:
        if walk.begins <= at < walk.ends and not walk.turned_away[0] <= at < walk.turned_away[1]:
            part = (at - walk.begins) / (walk.ends - walk.begins)
            (x0, y0), (x1, y1) = walk.path
            sway = 4 * math.sin(3 * at)
            width = walk.widths[0] + part * (walk.widths[1] - walk.widths[0])
            return (x0 + part * (x1 - x0) + sway, y0 + part * (y1 - y0) + abs(sway)), width
    return None


def _taken(still: Pixels, poor: bool, random: Random) -> Pixels:
    """Blur as a face that moves is."""
    if poor:
        return cv2.GaussianBlur(still, (0, 0), 6)
    if random.random() < 0.3:
        length = int(random.integers(3, 14))
        kernel = np.zeros((length, length), np.float32)
        angle = random.uniform(0, math.pi)
        reach = (length - 1) / 2 * np.array([math.cos(angle), math.sin(angle)])
        ends = [tuple(round((length - 1) / 2 + sign * float(step)) for step in reach) for sign in (-1, 1)]
        cv2.line(kernel, ends[0], ends[1], 1.0)
        return cv2.filter2D(still, -1, kernel / kernel.sum())
    return still


def _paste(
    picture: NDArray[np.float32], still: Pixels, place: tuple[float, float], width: float, random: Random
) -> None:
    side = still.shape[0]
    scale = width / (SPAN * side)
    turn = cv2.getRotationMatrix2D((side / 2, side / 2), float(random.normal(0, 6)), scale)
    turn[:, 2] += np.array(place) - side / 2
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(mask, (side // 2, side // 2), (int(side * 0.33), int(side * 0.42)), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 5)
    size = WIDTH, HEIGHT
    shown = cv2.warpAffine(still.astype(np.float32), turn, size, flags=cv2.INTER_AREA)
    alpha = cv2.warpAffine(mask, turn, size)[..., None]
    picture[:] = picture * (1 - alpha) + shown * alpha


def _hide(
    faces: dict[int, tuple[float, float, float, float]], place: tuple[float, float], width: float
) -> None:
    """Forget the faces whose middle is now behind another head."""
    for index, (x, y, w, h) in list(faces.items()):
        if math.hypot(x + w / 2 - place[0], y + h / 2 - place[1]) < width:
            del faces[index]


def make(people: dict[str, Sequence[Any]], count: int, seed: int) -> list[Clip]:
    """Make clips of people and the photographs that show them, those of each kind in turn."""
    random = np.random.default_rng(seed)
    kinds = list(KINDS)
    names = list(people)
    clips = []
    for number in range(count):
        chosen = [names[n] for n in random.permutation(len(names))[:4]]
        kind = kinds[number % len(kinds)]
        seconds, presences = KINDS[kind](chosen, people, random)
        clips.append(Clip(kind, seconds, presences, int(random.integers(1 << 31))))
    return clips


def _walk(begins: float, seconds: float, random: Random, *, way: int | None = None, y: float = 0) -> Walk:
    """Walk across or up to the camera."""
    y = y or random.uniform(180, 320)
    near = random.uniform(60, 130)
    if way is None:
        way = int(random.integers(3))
    if way == 2:  # comes nearer
        x = random.uniform(150, 490)
        path, widths = ((x, y - 40), (x + random.uniform(-60, 60), y)), (near * 0.45, near)
    else:
        ends = (-20.0, WIDTH + 20.0)
        path, widths = ((ends[way], y), (ends[1 - way], y)), (near, near)
    away = (0.0, 0.0)
    if random.random() < 0.5 and seconds > 3:
        from_s = begins + random.uniform(1, seconds - 2)
        away = (from_s, from_s + random.uniform(0.4, 1.2))
    return Walk(begins, begins + seconds, path, widths, away)


def _stills(name: str, people: dict[str, Sequence[Any]], random: Random) -> list[Any]:
    some = people[name]
    return [some[n] for n in random.permutation(len(some))[:3]]


Made = tuple[float, list[Presence]]


def _passing(names: list[str], people: dict[str, Sequence[Any]], random: Random) -> Made:
    at, presences = 2.0, []
    for name in names[:3]:
        seconds = random.uniform(2, 6)
        presences.append(Presence(name, _stills(name, people, random), [_walk(at, seconds, random)]))
        at += seconds + random.uniform(0.5, 4)
    return at + 2, presences


def _crossing(names: list[str], people: dict[str, Sequence[Any]], random: Random) -> Made:
    y, seconds = random.uniform(200, 300), random.uniform(4, 7)
    presences = [
        Presence(
            name,
            _stills(name, people, random),
            [_walk(2.0, seconds, random, way=way, y=y + random.uniform(-25, 25))],
        )
        for way, name in enumerate(names[:2])
    ]
    return seconds + 5, presences


def _group(names: list[str], people: dict[str, Sequence[Any]], random: Random) -> Made:
    presences = []
    for place, name in enumerate(names[:3]):
        begins, seconds = 2 + random.uniform(0, 2), random.uniform(5, 9)
        x, y, width = 130 + 190 * place, random.uniform(170, 310), random.uniform(55, 85)
        path = (x, y), (x + random.uniform(-60, 60), y + random.uniform(-30, 30))
        walk = Walk(begins, begins + seconds, path, (width, width * random.uniform(0.8, 1.4)))
        presences.append(Presence(name, _stills(name, people, random), [walk]))
    return 16.0, presences


def _returning(names: list[str], people: dict[str, Sequence[Any]], random: Random) -> Made:
    """Leave for some seconds; meanwhile somebody else may pass."""
    first, away, again = random.uniform(2, 5), random.uniform(2, 6), random.uniform(2, 5)
    walks = [_walk(2, first, random), _walk(2 + first + away, again, random)]
    presences = [Presence(names[0], _stills(names[0], people, random), walks)]
    if random.random() < 0.5:
        presences.append(
            Presence(names[1], _stills(names[1], people, random), [_walk(2 + first + 0.5, 3, random)])
        )
    return 5 + first + away + again, presences


def _twice(names: list[str], people: dict[str, Sequence[Any]], random: Random) -> Made:
    """Come again after so long that it is another visit."""
    first, again = random.uniform(2, 5), random.uniform(2, 5)
    begins = 2 + first + 15
    presences = [
        Presence(names[0], _stills(names[0], people, random), [_walk(2, first, random)]),
        Presence(names[0], _stills(names[0], people, random), [_walk(begins, again, random)]),
    ]
    return begins + again + 2, presences


def _far(names: list[str], people: dict[str, Sequence[Any]], random: Random) -> Made:
    """Walk by far away, too blurred to be told from others; then somebody comes near."""
    walk = _walk(2, 5, random, way=0)
    far = Walk(walk.begins, walk.ends, walk.path, (POOR_PX, POOR_PX * 1.5))
    presences = [
        Presence(names[0], _stills(names[0], people, random), [far], poor=True),
        Presence(names[1], _stills(names[1], people, random), [_walk(8, random.uniform(2, 5), random)]),
    ]
    return 15.0, presences


KINDS = {
    "passing": _passing,
    "crossing": _crossing,
    "group": _group,
    "returning": _returning,
    "twice": _twice,
    "far": _far,
}
