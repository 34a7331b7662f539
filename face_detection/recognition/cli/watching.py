"""What `watch` does: a thread for each source, and lines of what they see."""

from __future__ import annotations

import csv
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import click
from setproctitle import setproctitle

from recognition.cameras.feeds import Look, ProcessFeed, SourceLost, capturing, looks
from recognition.cameras.reach import FrameRefused, Reach
from recognition.cameras.sources import Source
from recognition.cameras.watching import BUSY_S, Watcher
from recognition.cli.asking import Asked, asked
from recognition.cli.outlets import OutletOptions, naming_frigates_events, opened_outlets
from recognition.cli.session import cell, printable
from recognition.client import Client
from recognition.events.outlets import Outlets
from recognition.visits import Event, as_json

COLUMNS = ("camera", "since", "until", "name", "person", "distance", "false_match", "frames")
OF_FRAMES = ("time", "name", "id", "distance", "bbox")
ANSWER_S = 30.0  # that the service may take for a frame: longer ones are of no use
ENDING_S = 15.0  # that visits under way may take to end
CHECK_S = 0.1


@dataclass(frozen=True, slots=True)
class Wishes:
    """How to watch; the names are those of the options."""

    every_s: float
    gap_s: float
    stall_s: float
    fail: bool
    frames: bool
    unknown: bool
    at_once: bool
    began: datetime | None
    min_distance: float | None
    max_false_match: float | None
    small_faces: bool | None
    as_json: bool


@dataclass(slots=True)
class Run:
    """All sources together.

    outlets: where events go beside standard output; None: nowhere.
    stopping: it is time to stop.
    failure: what ends the program: the first of what the threads have raised.
    complete: whether every file could be read.
    """

    service: Client
    wishes: Wishes
    reach: Reach
    outlets: Outlets | None
    stopping: threading.Event = field(default_factory=threading.Event)
    printing: threading.Lock = field(default_factory=threading.Lock)
    failure: BaseException | None = None
    complete: bool = True

    def say(self, text: str) -> None:
        """Print a line on stderr."""
        with self.printing:
            click.echo(printable(text), err=True)

    def write(self, value: object, row: Sequence[object]) -> None:
        """Print a line on stdout: JSON, or a row of CSV."""
        with self.printing:
            if self.wishes.as_json:
                click.echo(json.dumps(value))
            else:
                cells = ["" if each is None else cell(str(each)) for each in row]
                csv.writer(sys.stdout, lineterminator="\n").writerow(cells)
            sys.stdout.flush()


def watch(service: Client, sources: Sequence[Source], wishes: Wishes, outlets: OutletOptions) -> bool:
    """Watch sources until all of them have ended, or somebody stops it; returns whether all went well.

    outlets: where events go beside standard output, and whether Frigate's come in, which has no end.

    Raises:
        KeyboardInterrupt: Ctrl-C; ServiceError: the service refuses what it is asked.
    """
    if any(source.live for source in sources) or outlets.any or outlets.frigate:
        # The list of processes shows arguments, and addresses have passwords.
        setproctitle(f"recognition watch {' '.join(source.name for source in sources)}")
    rule = {"min_distance": wishes.min_distance, "max_false_match": wishes.max_false_match}
    with (
        opened_outlets(outlets, [source.name for source in sources], service) as opened,
        naming_frigates_events(outlets, service, {**rule, "small_faces": wishes.small_faces}),
    ):
        reach = Reach(time.monotonic, lambda text: click.echo(printable(text), err=True))
        run = Run(service, wishes, reach, opened)
        return _watch(run, sources, endless=outlets.frigate is not None)


def _watch(run: Run, sources: Sequence[Source], *, endless: bool) -> bool:
    wishes = run.wishes
    run.service.timeout_s = ANSWER_S
    if sources and not wishes.as_json:
        columns = (*OF_FRAMES, "camera")[: len(OF_FRAMES) + (len(sources) > 1)] if wishes.frames else COLUMNS
        run.write(None, columns)
    watch_one = _frames if wishes.frames else _visits
    threads = [
        threading.Thread(target=_guarded, args=(run, source, watch_one, len(sources) > 1), daemon=True)
        for source in sources
    ]
    with _until_stopped(run.stopping):
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads) or endless:
                if run.stopping.wait(CHECK_S):
                    break
        finally:
            run.stopping.set()
            until = time.monotonic() + ENDING_S
            run.service.timeout_s = ENDING_S / 3
            for source, thread in zip(sources, threads, strict=True):
                thread.join(max(0.0, until - time.monotonic()))
                if thread.is_alive():
                    run.say(
                        f"{source.name}: the service does not answer; visits that it has not taken are lost"
                    )
    if run.failure is not None:
        raise run.failure
    return run.complete


@contextmanager
def _until_stopped(stopping: threading.Event) -> Iterator[None]:
    """Take SIGTERM as the wish to stop; Ctrl-C raises KeyboardInterrupt as ever."""
    before = signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _guarded(run: Run, source: Source, watch_one: Callable[[Run, Source, bool], None], several: bool) -> None:
    """Watch a source, and keep what ends it for the main thread."""
    try:
        watch_one(run, source, several)
    except SourceLost as e:
        run.say(f"{source.name}: {e}")
        run.complete = False
        if source.live:  # they are to fail then
            run.stopping.set()
    except BaseException as e:
        run.failure = run.failure or e
        run.stopping.set()


def _looks(run: Run, source: Source, always: Callable[[], bool]) -> Generator[Look, None, None]:
    return looks(
        source,
        lambda: ProcessFeed(source, run.wishes.every_s, run.wishes.stall_s, run.stopping, capturing),
        always=always,
        stopping=run.stopping,
        clock=time.monotonic,
        tell=lambda text: run.say(f"{source.name} {text}"),
        fail=run.wishes.fail,
    )


def _utc(source: Source, began: datetime | None) -> Callable[[float], datetime]:
    """Return what tells the time of a moment of a source."""
    if source.live:
        return lambda at: datetime.now(UTC) - timedelta(seconds=time.monotonic() - at)
    beginning = (began or datetime.now(UTC)).astimezone(UTC)
    return lambda at: beginning + timedelta(seconds=at)


def _visits(run: Run, source: Source, several: bool) -> None:
    wishes = run.wishes
    utc = _utc(source, wishes.began)
    beginning = None if source.live else utc(0.0)

    def emit(event: Event, picture: bytes | None) -> None:
        if (event.until is None and not wishes.at_once) or (event.name is None and not wishes.unknown):
            return
        if run.outlets is not None:
            run.outlets.send(event, picture)
        times: list[Any] = [_time(event.since, beginning), _time(event.until, beginning)]
        value: Mapping[str, Any] = as_json(event)
        if beginning is not None:
            value = {**value, "since_s": times[0], "until_s": times[1]}
        who = event.name or "", event.person or "", event.distance, event.false_match
        run.write(value, (event.camera, *times, *who, event.frames))

    def present(events: Sequence[Event]) -> None:
        if run.outlets is not None:
            run.outlets.present(source.name, [event for event in events if event.name or wishes.unknown])

    service = Asked(run.service, wishes.min_distance, wishes.max_false_match, wishes.small_faces)
    watcher = Watcher(
        source.name,
        service,
        run.reach,
        gap_s=wishes.gap_s,
        live=source.live,
        stopping=run.stopping,
        utc=utc,
        tell=lambda text: run.say(f"{source.name}: {text}"),
        emit=emit,
        present=present,
    )
    with closing(_looks(run, source, watcher.busy)) as moments:
        watcher.watch(moments)


def _time(moment: datetime | None, beginning: datetime | None) -> str | float | None:
    """Render a time: in ISO 8601, or, in a file, in seconds from its beginning."""
    if moment is None:
        return None
    if beginning is None:
        return moment.isoformat(timespec="milliseconds")
    return round((moment - beginning).total_seconds(), 3)


def _frames(run: Run, source: Source, several: bool) -> None:
    """Tell of each face in each frame."""
    camera = {"camera": source.name} if several else {}
    with closing(_looks(run, source, lambda: True)) as moments:
        for look in moments:
            if look.jpeg is None:
                continue
            when = datetime.now(UTC).isoformat(timespec="milliseconds") if source.live else look.at
            faces = _recognised(run, look.jpeg, wait=not source.live)
            if faces is None:
                continue
            if run.wishes.as_json:
                run.write({**camera, "time": when, "faces": faces}, ())
                continue
            for face in faces:
                row = {"time": when, **face}
                run.write(None, [*(row[column] for column in OF_FRAMES), *camera.values()])


def _recognised(run: Run, jpeg: bytes, *, wait: bool) -> list[dict[str, Any]] | None:
    """Return the faces of a frame; None: the service is away, and is not waited for."""
    wishes = run.wishes

    def recognise() -> list[dict[str, Any]]:
        faces: list[dict[str, Any]] = run.service.recognise(
            jpeg,
            min_distance=wishes.min_distance,
            max_false_match=wishes.max_false_match,
            small_faces=wishes.small_faces,
            include_unknown=wishes.unknown,
        )
        return faces

    while True:
        try:
            faces = run.reach.ask("see", lambda: asked(recognise))
        except FrameRefused:
            return None
        if faces is not None or not wait or run.stopping.wait(max(BUSY_S, run.reach.wait_s("see"))):
            return faces
