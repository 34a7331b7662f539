"""A day before a camera: squares for faces through motion, tracking and visits, and the memory they take."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.cameras import capturing
from recognition.cameras.feeds import Look
from recognition.cameras.protocol import ALWAYS, ENDED, FRAME, MOVING, TIMES
from recognition.cameras.reach import FaceSeen, Reach, Sight
from recognition.cameras.watching import Watcher
from recognition.faces import Box, Face
from recognition.visits import Event, Visit
from services import resident_mb

DAY_S = 86_400
SIDE, DIMENSION = 40, 128
STAYS_S, PAUSE_S = 20, 40  # a visit every minute
PARTS = 10
BEGAN = datetime(2026, 11, 24, tzinfo=UTC)


class Day:
    """A capture as OpenCV's: people come and go, another one each time; the light goes up and down."""

    def __init__(self, frames: int) -> None:
        self.left, self.step_s, self.at = frames, DAY_S / frames, 0.0
        self.random = np.random.default_rng(1)
        self.noise = self.random.normal(0, 2, (4, 180, 320, 3))

    def grab(self) -> bool:
        """Go on to the next frame."""
        self.left -= 1
        self.at += self.step_s
        return self.left >= 0

    def get(self, prop: int) -> float:
        """Tell where it is, or the rate."""
        return 1000 * self.at if prop == cv2.CAP_PROP_POS_MSEC else 1 / self.step_s

    def retrieve(self) -> tuple[bool, NDArray[np.uint8]]:
        """Make the frame."""
        frame = 90 + 60 * np.sin(2 * np.pi * self.at / DAY_S) + self.noise[self.left % len(self.noise)]
        into = self.at % (STAYS_S + PAUSE_S)
        if into < STAYS_S:
            x = int(10 + 13 * into)
            frame[70 : 70 + SIDE, x : x + SIDE] = 250
        return True, np.clip(frame, 0, 255).astype(np.uint8)


class Squares:
    """A service that finds bright squares, and takes them for somebody new each time they come."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(2)
        self.at = 0.0
        self.visits = 0

    def see(self, jpeg: bytes) -> Sight:
        """Find the square of a frame."""
        pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        x, y, w, h = cv2.boundingRect((np.asarray(pixels) > 215).astype(np.uint8))
        if w * h < SIDE * SIDE // 2:
            return Sight("squares", 0.6, [])
        number = int(self.at // (STAYS_S + PAUSE_S))
        vector = np.random.default_rng(number).normal(size=DIMENSION) * 2 + self.random.normal(size=DIMENSION)
        marks = np.float32([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
        face = Face(Box(x, y, w, h), 0.99, np.float32([x, y]) + marks * np.float32([w, h]))
        return Sight(
            "squares", 0.6, [FaceSeen(face, float(self.random.uniform(0.3, 1)), vector.astype(np.float32))]
        )

    def record(self, visit: Visit, fingerprint: str) -> Event:
        """Count it."""
        self.visits += visit.until is not None
        nobody: Any = (None, None, None, 1.0, None)
        about = visit.id, visit.camera, visit.since, visit.until, visit.frames
        return Event(*about, *nobody, visit.box, visit.quality)


def simulated(frames: int) -> list[tuple[int, float, int]]:
    """Let frames through: after each tenth how many, the resident memory in MB, and the visits so far."""
    day, squares = Day(frames), Squares()
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    thread = threading.Thread(
        target=capturing.serve,
        args=(day, requests, answers.put),
        kwargs={"live": False, "every_s": 0.0, "clock": time.monotonic},
        daemon=True,
    )
    stages: list[tuple[int, float, int]] = []

    def looks() -> Iterator[Look]:
        while True:
            requests.put(ALWAYS if watcher.busy() else MOVING)
            answer = answers.get()
            if answer == ENDED:
                return
            (squares.at,) = TIMES.unpack_from(answer, 1)
            done = frames - max(0, day.left)
            if done >= (len(stages) + 1) * frames // PARTS:
                stages.append((done, resident_mb_here(), squares.visits))
            yield Look(squares.at, answer[1 + TIMES.size :] if answer[:1] == FRAME else None)

    watcher = Watcher(
        "day",
        squares,
        Reach(time.monotonic, print),
        gap_s=10.0,
        live=False,
        stopping=threading.Event(),
        utc=lambda at: BEGAN + timedelta(seconds=at),
        tell=print,
        emit=lambda event, picture: None,
    )
    thread.start()
    watcher.watch(looks())
    return [*stages, (frames, resident_mb_here(), squares.visits)]


def resident_mb_here() -> float:
    """Return this process's resident memory, in MB."""
    return resident_mb("self")
