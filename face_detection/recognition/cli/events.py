"""`events`: whom cameras saw, and when."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from recognition.cli.service import service_command
from recognition.cli.session import (
    OrderedGroup,
    cell,
    opened_as_text,
    save_picture,
    show,
)
from recognition.client import Client, ServiceError

COLUMNS = (
    "id",
    "camera",
    "since",
    "until",
    "frames",
    "name",
    "person",
    "sample",
    "distance",
    "false_match",
    "bbox",
    "quality",
    "unknown",
    "picture",
)
EVENT = click.argument("event_id", metavar="ID")
TIME = "ISO 8601; without an offset from UTC this machine's own time."


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else datetime.fromisoformat(text).astimezone().isoformat()
    except (ValueError, OverflowError):
        raise click.BadParameter("not a time in ISO 8601, such as 2026-11-24 or 2026-11-24T08:30") from None


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what says which events are meant."""
    for option in (
        click.option("--until", metavar="TIME", callback=_moment, help="Only visits that began before then."),
        click.option(
            "--since", metavar="TIME", callback=_moment, help=f"Only visits that began then or later: {TIME}"
        ),
        click.option("--person", metavar="ID", help="Only those of the person with this id."),
        click.option("--camera", metavar="NAME", help="Only those of the camera of this name."),
    ):
        command = option(command)
    return command


@click.group(cls=OrderedGroup, short_help="List, show and delete what cameras saw.")
def events() -> None:
    """List, show and delete visits that cameras saw, as `watch` tells them, and who it was.

    They are kept for as many days as EVENTS_EXPIRE_DAYS says.
    """


@events.command("list")
@_which
@click.option("--limit", type=click.IntRange(min=1), help="So many at most; default: all.")
@click.option(
    "--csv",
    "csv_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write a table, as CSV; `-` prints it.",
)
@service_command(gallery="existing")
def list_(service: Client, as_json: bool, csv_file: Path | None, limit: int | None, **which: Any) -> bool:
    """List visits, the newest first: when and where, who, and the event's id."""
    with nullcontext() if csv_file is None else opened_as_text(csv_file) as text:
        table = None if text is None else csv.writer(text, lineterminator="\n")
        if table is not None:
            table.writerow(COLUMNS)
        for event in service.events(limit=limit, **which):
            if table is None:
                show(as_json, event, [_line(event)])
            else:
                table.writerow(_cell(event[column]) for column in COLUMNS)
    return True


def _line(event: dict[str, Any]) -> str:
    who = "unknown" if event["person"] is None else f"{event['name']} ({event['person']})"
    until = "still there" if event["until"] is None else f"to {event['until']}"
    return f"{event['since']} {until}  {event['camera']}  {who}  {event['id']}"


def _cell(value: object) -> str:
    return "" if value is None else cell(str(value))


@events.command(short_help="Write the picture that is kept of an event into a file.")
@EVENT
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file, a JPEG."
)
@service_command(gallery="existing")
def picture(service: Client, as_json: bool, event_id: str, out: Path) -> bool:
    """Write the picture that is kept of an event into a file.

    Exit status 1: no event has this id, or no picture is kept of it.
    """
    save_picture(lambda: service.event_picture(event_id), out)
    show(as_json, {"picture": str(out)}, [f"The picture is in {out}."])
    return True


@events.command(short_help="Delete events by id, or those of a camera, a person or a time.")
@click.argument("ids", nargs=-1)
@_which
@click.option("--all", "every", is_flag=True, help="Delete all events.")
@service_command(gallery="existing")
def delete(service: Client, as_json: bool, ids: Sequence[str], every: bool, **which: Any) -> bool:
    """Delete events by id, or all that are of a camera, of a person and of a time.

    Exit status 1: no event has one of the ids.
    """
    some = any(value is not None for value in which.values())
    if bool(ids) + some + every != 1:
        raise click.UsageError(
            "Give ids, or one or more of --camera, --person, --since and --until, or --all."
        )
    deleted, missing = 0, []
    if not ids:
        deleted = service.delete_events(**which)
    for event_id in ids:
        try:
            service.delete_event(event_id)
            deleted += 1
        except ServiceError as e:
            if e.code != "not_found":
                raise
            missing.append(event_id)
    lines = [f"{deleted} deleted.", *(f"  {each}: there is no such event" for each in missing)]
    show(as_json, {"deleted": deleted, "missing": missing}, lines)
    return not missing
