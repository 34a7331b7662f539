"""`watch`: who comes before cameras, or into videos, and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

import click

from recognition.cameras.sources import Source, WrongSource, sources_of
from recognition.cli.outlets import OutletOptions, outlet_options
from recognition.cli.recognise import MAX_FALSE_MATCH, MIN_DISTANCE, SMALL_FACES, check_rule
from recognition.cli.service import service_command
from recognition.cli.session import check_processor
from recognition.client import Client

EVERY_S, EVERY_S_BY_FRAMES = 0.2, 1.0
MOMENT = click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"])


@click.command(short_help="Say who comes before cameras, or into videos.")
@click.argument("texts", metavar="[NAME=]SOURCE...", nargs=-1)
@click.option(
    "--sources",
    "file",
    metavar="FILE",
    type=click.File(encoding="utf-8"),
    help="Read sources from a file, one a line, as those with passwords should be; `-` is standard input.",
)
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(min=0),
    help="Seconds between frames, at least; 0 takes all. Default: 0.2, with --frames 1.",
)
@click.option(
    "--gap",
    "gap_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds for which somebody may be out of sight within one visit.",
)
@click.option(
    "--stall",
    "stall_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=1),
    help="Seconds without a frame after which a source is begun again.",
)
@click.option(
    "--fail", is_flag=True, help="End with status 1 when a source is lost, instead of trying again."
)
@click.option("--unknown", is_flag=True, help="Tell of unknown people too, with an empty name.")
@click.option("--at-once", is_flag=True, help="Tell of visits when they begin, too: `until` is empty then.")
@click.option("--began", metavar="TIME", type=MOMENT, help="When a recording began, as 2026-11-24T08:00:00Z.")
@click.option("--frames", is_flag=True, help="Tell of each face in each frame instead of visits.")
@outlet_options
@MIN_DISTANCE
@MAX_FALSE_MATCH
@SMALL_FACES
@service_command(gallery="existing", retries=0)
def watch(
    service: Client,
    as_json: bool,
    texts: Sequence[str],
    file: IO[str] | None,
    every_s: float | None,
    gap_s: float,
    stall_s: float,
    fail: bool,
    unknown: bool,
    at_once: bool,
    began: datetime | None,
    frames: bool,
    min_distance: float | None,
    max_false_match: float | None,
    small_faces: bool | None,
    outlets: OutletOptions,
) -> bool:
    """Say who comes before cameras or into videos, a line for each visit when it ends.

    A source is the address of a stream (rtsp://..., http://...), the number of a camera, or a video file;
    NAME is what its visits are told under. Streams and cameras that are lost are tried again, for ever, until
    Ctrl-C; the visits under way then end. Times in files count from their beginning.

    Lines are CSV, or with --json the events as GET /events has them. Events also go to files, webhooks and
    MQTT brokers, where they wait on disk for whoever is away. With --frigate, what Frigate's cameras see gets
    names, too.

    Exit status 1: a file cannot be read, or with --fail a source is lost.
    """
    check_rule(min_distance, max_false_match)
    if frames and outlets.any:
        raise click.UsageError("--frames: faces of frames are no events, and go to standard output alone.")
    sources = _sources(texts, file, needed=outlets.frigate is None)
    check_processor()
    from recognition.cli import (
        watching,
    )  # NumPy and OpenCV: a quarter of a second, which --help has no use for

    wishes = watching.Wishes(
        every_s=(EVERY_S_BY_FRAMES if frames else EVERY_S) if every_s is None else every_s,
        gap_s=gap_s,
        stall_s=stall_s,
        fail=fail,
        frames=frames,
        unknown=unknown,
        at_once=at_once,
        began=began,
        min_distance=min_distance,
        max_false_match=max_false_match,
        small_faces=small_faces,
        as_json=as_json,
    )
    return watching.watch(service, sources, wishes, outlets)


def _sources(texts: Sequence[str], file: IO[str] | None, *, needed: bool) -> list[Source]:
    lines = [line.strip() for line in file or ()]
    every = [*texts, *(line for line in lines if line and not line.startswith("#"))]
    if needed and not every:
        raise click.UsageError("Name a source.")
    try:
        return sources_of(every, is_file=[text for text in every if "=" in text and Path(text).is_file()])
    except WrongSource as e:
        raise click.UsageError(str(e)) from e
