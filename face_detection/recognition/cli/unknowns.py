"""`unknowns`: people whom nobody has named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from recognition.cli.service import service_command
from recognition.cli.session import FAILED, OrderedGroup, error_of, fail, opened_for_owner, show
from recognition.client import Client, ServiceError

UNKNOWN = click.argument("unknown_id", metavar="ID")
# What is wrong with an id or a name, and not with the service.
CALLERS_FAULT = {"not_found", "invalid_request", "ambiguous_name"}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ServiceError as e:
        if e.code not in CALLERS_FAULT:
            raise
        fail(FAILED, error_of(e))


@click.group(cls=OrderedGroup, short_help="List, name, merge, ignore and forget unknown people.")
def unknowns() -> None:
    """List people whom nobody has named, and say who they are, through a service if you name one.

    A service keeps their faces where KEEP_UNKNOWN is set. ID is that of an unknown person, as `unknowns list`
    shows it. Exit status 1: nobody has it.
    """


@unknowns.command("list")
@click.option("--ignored", is_flag=True, help="Those who are ignored, in place of the others.")
@service_command(gallery="existing")
def list_(service: Client, as_json: bool, ignored: bool) -> bool:
    """List unknown people: id, number of faces, when last seen, and who it may be."""
    for unknown in service.unknowns(ignored=ignored):
        show(as_json, unknown, [_line(unknown)])
    return True


def _line(unknown: dict[str, Any]) -> str:
    like = unknown["looks_like"]
    perhaps = f"  perhaps {like['name']} ({like['person']})" if like else ""
    return f"{unknown['id']}  {unknown['faces']}  {unknown['last_seen']}{perhaps}"


@unknowns.command("show")
@UNKNOWN
@click.option(
    "--pictures",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the pictures of the best faces into this folder, for you alone.",
)
@service_command(gallery="existing")
def show_(service: Client, as_json: bool, unknown_id: str, folder: Path | None) -> bool:
    """Show an unknown person, and all faces that are kept."""
    with _refusals():
        unknown = service.unknown(unknown_id)
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, face in enumerate((face for face in unknown["seen"] if face["picture"]), 1):
            with opened_for_owner(folder / f"{number}.jpg") as file:
                file.write(service.unknown_face(unknown_id, face["id"]))
    faces = (
        f"  {face['seen']}  quality {face['quality']:.2f}{'  ' + face['camera'] if face['camera'] else ''}"
        for face in unknown["seen"]
    )
    show(as_json, unknown, [_line(unknown), *faces])
    return True


@unknowns.command(short_help="Say who an unknown person is.")
@UNKNOWN
@click.argument("name", required=False)
@click.option("--person", metavar="ID", help="The id of the person whose faces these are, in place of NAME.")
@service_command(gallery="existing")
def name(service: Client, as_json: bool, unknown_id: str, name: str | None, person: str | None) -> bool:
    """Say who an unknown person is: the best faces become samples of NAME, the others are removed."""
    if (name is None) == (person is None):
        raise click.UsageError("Send NAME or --person ID.")
    with _refusals():
        done = service.name_unknown(unknown_id, name, person=person)
    show(as_json, done, [f"{len(done['samples'])} samples of person {done['person']}."])
    return True


@unknowns.command(short_help="Give all faces of an unknown person to another one.")
@UNKNOWN
@click.argument("into")
@service_command(gallery="existing")
def merge(service: Client, as_json: bool, unknown_id: str, into: str) -> bool:
    """Give all faces of an unknown person to another unknown one, the one with the id INTO, who stays."""
    with _refusals():
        done = service.merge_unknown(unknown_id, into)
    show(as_json, done, [f"{unknown_id} is {into} now."])
    return True


@unknowns.command(short_help="Remove somebody's faces, and keep none again.")
@UNKNOWN
@service_command(gallery="existing")
def ignore(service: Client, as_json: bool, unknown_id: str) -> bool:
    """Remove all faces of an unknown person, and keep none of them again.

    The sum of their vectors stays, by which they are known; `unknowns forget` removes it.
    """
    with _refusals():
        done = service.ignore_unknown(unknown_id)
    show(as_json, done, [f"{unknown_id} is ignored from now on."])
    return True


@unknowns.command(short_help="Remove unknown people with their faces.")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All of them, also those who are ignored.")
@service_command(gallery="existing")
def forget(service: Client, as_json: bool, ids: tuple[str, ...], everybody: bool) -> bool:
    """Remove unknown people with all that is kept of them; they may come again."""
    if bool(ids) == everybody:
        raise click.UsageError("Name the ids, or --all.")
    with _refusals():
        if everybody:
            count = service.forget_unknowns()
        else:
            for unknown_id in ids:
                service.forget_unknown(unknown_id)
            count = len(ids)
    show(as_json, {"deleted": count}, [f"{count} unknown people forgotten."])
    return True
