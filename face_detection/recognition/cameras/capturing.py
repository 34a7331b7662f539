"""The program of a process that reads one source, so that a crash or a hang in FFmpeg ends nothing else.

    python -P -m recognition.cameras.capturing FD

FD is a socket to the process that has started it. What is read, and how, comes over it, for arguments and the
environment can be seen by others. Then each request is answered with the next frame that is worth looking at.
When the other end is closed, by whatever death, this process ends, too, wherever it is.
"""

from __future__ import annotations

import json
import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import cv2
import numpy as np

from recognition.cameras.motion import Motion, small
from recognition.cameras.protocol import ALWAYS, ENDED, FRAME, NOTHING, TIMES, UNAVAILABLE

QUIET_S = 1.0  # after which a request is answered although nothing has moved
IDLE_S = 10.0  # after which a frame is looked at although nothing has moved
AFTER_S = 2.0  # so long frames are looked at after something has moved
JPEG_QUALITY = 95
SAME_S = 0.0005  # times are in whole milliseconds


def main() -> None:
    """Serve the process at the other end of the socket until it closes it."""
    channel = Connection(int(sys.argv[1]))
    wishes = json.loads(channel.recv_bytes())
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(channel, requests), daemon=True).start()
    requests.get()  # the first one waits for the source to be opened
    capture = open_source(wishes["address"], wishes["timeout_s"])
    if not capture.isOpened():
        channel.send_bytes(UNAVAILABLE)
        return
    channel.send_bytes(NOTHING + TIMES.pack(0.0))
    serve(
        capture,
        requests,
        channel.send_bytes,
        live=wishes["live"],
        every_s=wishes["every_s"],
        clock=time.monotonic,
    )


def _receive(channel: Connection, requests: queue.SimpleQueue[bytes]) -> None:
    while True:
        try:
            requests.put(channel.recv_bytes(maxlength=1))
        except (EOFError, OSError):
            os._exit(0)  # the main thread may be in FFmpeg, for as long as it likes


def open_source(address: str, timeout_s: float) -> cv2.VideoCapture:
    """Open a source; pictures of phones that say so are turned upright.

    timeout_s: how long a stream may take to be opened, and to send the next frame.
    """
    cv2.utils.logging.setLogLevel(0)  # its messages quote addresses
    if address.isdecimal():
        return cv2.VideoCapture(int(address))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC]
    parameters = [number for limit in limits for number in (limit, round(timeout_s * 1000))]
    capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, parameters)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


def serve(
    capture: cv2.VideoCapture,
    requests: queue.SimpleQueue[bytes],
    send: Callable[[bytes], None],
    *,
    live: bool,
    every_s: float,
    clock: Callable[[], float],
) -> None:
    """Answer requests until the source ends.

    live: frames are read all the time, and only the one is answered that comes next after a request; of a
        file
        none is read until somebody asks, and its own time counts.
    every_s: seconds between two frames that are answered, at least; 0: none is passed over.
    """
    motion = Motion()
    request: bytes | None = None
    due = looked = moved = -math.inf
    at = answered = 0.0
    begun = clock()
    number = 0
    while True:
        if request is None and (not live or not requests.empty()):
            request = requests.get()
            answered = clock() - begun if live else at
        if not capture.grab():
            break
        number += 1
        at = clock() - begun if live else _position_s(capture, number)
        if request is None or at + SAME_S < due:
            continue
        decoded, frame = capture.retrieve()
        if not decoded:
            continue
        due = _next_due(due, at, every_s)
        if motion.moves(small(np.asarray(frame, np.uint8)), at):
            moved = at
        if request == ALWAYS or at - moved < AFTER_S or at - looked >= IDLE_S:
            looked = at
            jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
            send(FRAME + TIMES.pack(at) + jpeg)
            request = None
        elif at - answered >= QUIET_S:
            send(NOTHING + TIMES.pack(at))
            request = None
    if request is None:
        requests.get()
    send(ENDED)


def _next_due(due: float, at: float, every_s: float) -> float:
    """Keep to the rhythm, so that a camera's own does not make every second frame come too early."""
    if due == -math.inf or not every_s:
        return at + every_s
    return due + every_s * (1 + max(0, (at + SAME_S - due) // every_s))


def _position_s(capture: cv2.VideoCapture, number: int) -> float:
    """Tell where a file is, in seconds from its beginning; some tell only the frames a second."""
    position: float = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
    rate: float = capture.get(cv2.CAP_PROP_FPS)
    return round(position if position > 0 or number == 1 or rate <= 0 else (number - 1) / rate, 3)


if __name__ == "__main__":
    main()
