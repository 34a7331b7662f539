"""`watch`: who is before a camera, or in a video, and when."""

from __future__ import annotations

import csv
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from recognition.cli.recognise import MAX_FALSE_MATCH, MIN_DISTANCE, SMALL_FACES, check_rule
from recognition.cli.service import service_command
from recognition.cli.session import FAILED, cell, check_processor, fail, show
from recognition.client import Client

if TYPE_CHECKING:  # NumPy takes a tenth of a second to import, which --help has no use for
    import numpy as np
    from numpy.typing import NDArray

    Frame = NDArray[np.uint8]  # (H, W, 3), BGR, as OpenCV has it
    Timed = tuple[str | float, Frame]  # the time in seconds from a video's beginning, or in ISO 8601, UTC

COLUMNS = ("time", "name", "id", "distance", "bbox")


@click.command(short_help="Print who is seen when by a camera or in a video.")
@click.argument("source", metavar="CAMERA_OR_VIDEO")
@click.option(
    "--every", default=1.0, show_default=True, type=click.FloatRange(min=0), help="Seconds between frames."
)
@click.option("--unknown", is_flag=True, help="List unknown faces too, with an empty name.")
@MIN_DISTANCE
@MAX_FALSE_MATCH
@SMALL_FACES
@service_command(gallery="existing")
def watch(
    service: Client,
    as_json: bool,
    source: str,
    every: float,
    unknown: bool,
    min_distance: float | None,
    max_false_match: float | None,
    small_faces: bool | None,
) -> bool:
    """Print who is seen when, as CSV or, with --json, an object for each frame.

    The source is a camera's number, the address of a stream, or a video file. From a camera or a stream it
    takes the newest frame, again and again until Ctrl-C; from a file the first frame of each interval.

    Exit status 1: the source cannot be opened, or a camera or a stream ends, as it does when its connection
    breaks.
    """
    check_rule(min_distance, max_false_match)
    capture = _open_source(source)
    table = csv.writer(sys.stdout, lineterminator="\n")
    if not as_json:
        table.writerow(COLUMNS)
    live = source.isdecimal() or "://" in source
    for when, jpeg in _jpegs(capture, every, live):
        faces = service.recognise(
            jpeg,
            min_distance=min_distance,
            max_false_match=max_false_match,
            small_faces=small_faces,
            include_unknown=unknown,
        )
        if as_json:
            show(as_json, {"time": when, "faces": faces}, [])
        else:
            rows = [{"time": when, **face} for face in faces]
            table.writerows([cell(str(row[column])) for column in COLUMNS] for row in rows)
        sys.stdout.flush()
    if live:
        fail(FAILED, {"code": "source_ended", "detail": f"{source} has ended."})
    return True


def _open_source(source: str) -> Any:
    check_processor()
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"  # AV_LOG_QUIET: it quotes addresses with their passwords
    import cv2  # with NumPy a quarter of a second, which --help has no use for

    cv2.utils.logging.setLogLevel(0)  # its messages about a source that it cannot open help nobody
    capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        fail(FAILED, {"code": "source_unavailable", "detail": f"{source} cannot be opened."})
    return capture


def _jpegs(capture: Any, every: float, live: bool) -> Iterator[tuple[str | float, bytes]]:
    """Yield the frames to look at, as JPEG."""
    import cv2

    with closing(newest(capture.read, every) if live else in_step(capture, every)) as frames:
        for when, frame in frames:
            yield when, cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def in_step(capture: Any, every: float) -> Generator[Timed, None, None]:
    """Yield the first frame of each interval of a video file.

    capture: a cv2.VideoCapture.
    every: seconds of the video; 0 means every frame.
    """
    import cv2

    due = 0.0
    while capture.grab():
        at = round(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, 3)
        if at < due:
            continue
        decoded, frame = capture.retrieve()
        if decoded:
            yield at, frame
        while every and due <= at:
            due += every


def newest(read: Callable[[], tuple[bool, Frame]], every: float) -> Generator[Timed, None, None]:
    """Yield the newest frame of a live source, again and again, none of them twice, until it ends.

    read: waits for the next frame, and tells whether there is one. It is called in a thread of its own, since
        frames that nobody takes would queue up.
    every: seconds between two frames, at least.
    """
    changed, left = threading.Condition(), threading.Event()
    held: list[Timed] = []  # at most one
    ended = False

    def read_all() -> None:
        nonlocal ended
        while not ended and not left.is_set():
            received, frame = read()
            with changed:
                held[:] = (
                    [(datetime.now(UTC).isoformat(timespec="milliseconds"), frame)] if received else held
                )
                ended = not received
                changed.notify()

    threading.Thread(target=read_all, daemon=True).start()
    try:
        while True:
            began = time.monotonic()
            with changed:
                changed.wait_for(lambda: held or ended)
                if not held:
                    return
                taken = held.pop()
            yield taken
            left.wait(max(0.0, began + every - time.monotonic()))
    finally:
        left.set()
