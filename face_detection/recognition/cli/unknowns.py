"""`unknowns`: people whom nobody has named."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recognition.cli.service import service_command
from recognition.cli.session import FAILED, OrderedGroup, cell, error_of, fail, opened_for_owner, show
from recognition.client import Client, ServiceError

if TYPE_CHECKING:
    from recognition.cli.strangers import Strangers

UNKNOWN = click.argument("unknown_id", metavar="ID")
IN_INDEX = click.option(
    "--index",
    "index_file",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Those in the pictures of an index; without FILE, at the end, of the usual one.",
)
FACES = click.option(
    "--faces",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write pictures of the best faces into this folder, for you alone.",
)
CSV = click.option("--csv", "as_csv", is_flag=True, help="Print a table, as CSV; with --index.")
BEST, MANY = 3, 10  # faces of which pictures are written, of each in a list, and of one who is shown
COLUMNS = ("id", "faces", "picture", "face", "bbox", "quality")
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


@contextmanager
def _place(service: Client, index_file: str | None) -> Iterator[Client | Strangers]:
    """Give what knows unknown people: the service, or an index, of which "" is the usual file."""
    if index_file is None:
        with _refusals():
            yield service
        return
    from recognition.cli.strangers import of_index

    with of_index(service, Path(index_file) if index_file else None) as strangers:
        yield strangers


@click.group(cls=OrderedGroup, short_help="List, name, merge, ignore and forget unknown people.")
def unknowns() -> None:
    """List people whom nobody has named, and say who they are: a service's, or with --index an archive's.

    A service keeps their faces where KEEP_UNKNOWN is set. An index has the faces of all pictures; those that
    are nobody's in the gallery are put into groups. ID is that of an unknown person, as `unknowns list` shows
    it. Exit status 1: nobody has it.
    """


@unknowns.command("list")
@click.option("--ignored", is_flag=True, help="Those who are ignored, in place of the others.")
@click.option("--at-least", metavar="N", type=click.IntRange(min=0), default=0, help="With so many faces.")
@FACES
@CSV
@IN_INDEX
@service_command(gallery="existing")
def list_(
    service: Client,
    as_json: bool,
    ignored: bool,
    at_least: int,
    folder: Path | None,
    as_csv: bool,
    index_file: str | None,
) -> bool:
    """List unknown people, those with the most faces first: id, number of faces, and what tells who it is.

    Of a service's that is when they were last seen, and who it may be; of an index's, the best face.
    """
    _check_form(as_csv, as_json, index_file)
    with _place(service, index_file) as place:
        found = (each for each in place.unknowns(ignored=ignored) if each["faces"] >= at_least)
        table = _table() if as_csv else None
        for unknown in found:
            if folder is not None:
                _write_faces(place, unknown["id"], BEST, folder)
            if table is not None:
                table.writerow(_row(unknown, unknown["best"][0]))
            else:
                show(as_json, unknown, [_line(unknown)])
    return True


def _check_form(as_csv: bool, as_json: bool, index_file: str | None) -> None:
    if as_csv and as_json:
        raise click.UsageError("--csv and --json: choose one of them.")
    if as_csv and index_file is None:
        raise click.UsageError("--csv works with --index.")


def _table() -> Any:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(COLUMNS)
    return table


def _row(unknown: dict[str, Any], face: dict[str, Any]) -> list[str]:
    return [cell(str((unknown | face)[name])) for name in COLUMNS]


def _line(unknown: dict[str, Any]) -> str:
    line = f"{unknown['id']}  {unknown['faces']}"
    if "last_seen" not in unknown:  # of an index
        best = unknown["best"][0]
        return f"{line}  {best['picture']}  at {best['bbox']}"
    like = unknown["looks_like"]
    perhaps = f"  perhaps {like['name']} ({like['person']})" if like else ""
    return f"{line}  {unknown['last_seen']}{perhaps}"


def _write_faces(place: Client | Strangers, unknown_id: str, most: int, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for number, jpeg in enumerate(islice(_pictures(place, unknown_id), most), 1):
        with opened_for_owner(folder / f"{unknown_id}-{number}.jpg") as file:
            file.write(jpeg)


def _pictures(place: Client | Strangers, unknown_id: str) -> Iterator[bytes]:
    if not isinstance(place, Client):
        yield from place.pictures(unknown_id)
        return
    for face in place.unknown(unknown_id)["seen"]:
        if face["picture"]:
            yield place.unknown_face(unknown_id, face["id"])


@unknowns.command("show")
@UNKNOWN
@FACES
@CSV
@IN_INDEX
@service_command(gallery="existing")
def show_(
    service: Client,
    as_json: bool,
    unknown_id: str,
    folder: Path | None,
    as_csv: bool,
    index_file: str | None,
) -> bool:
    """Show an unknown person, and all faces that are kept, or are in the index."""
    _check_form(as_csv, as_json, index_file)
    with _place(service, index_file) as place:
        unknown = place.unknown(unknown_id)
        if folder is not None:
            _write_faces(place, unknown_id, MANY, folder)
    if as_csv:
        _table().writerows(_row(unknown, face) for face in unknown["seen"])
    else:
        show(as_json, unknown, [_line(unknown), *map(_line_of_face, unknown["seen"])])
    return True


def _line_of_face(face: dict[str, Any]) -> str:
    if "seen" not in face:  # of an index
        return f"  {face['picture']}  quality {face['quality']:.2f}  at {face['bbox']}"
    return f"  {face['seen']}  quality {face['quality']:.2f}{'  ' + face['camera'] if face['camera'] else ''}"


@unknowns.command(short_help="Say who an unknown person is.")
@UNKNOWN
@click.argument("name", required=False)
@click.option("--person", metavar="ID", help="The id of the person whose faces these are, in place of NAME.")
@IN_INDEX
@service_command(gallery="existing")
def name(
    service: Client,
    as_json: bool,
    unknown_id: str,
    name: str | None,
    person: str | None,
    index_file: str | None,
) -> bool:
    """Say who an unknown person is: the best faces become samples of NAME.

    The others are removed from what a service keeps. Those of an index stay there, and are listed no more;
    samples are made of its pictures, up to ten, which have to be where they were.
    """
    if (name is None) == (person is None):
        raise click.UsageError("Send NAME or --person ID.")
    with _place(service, index_file) as place:
        done = place.name_unknown(unknown_id, name, person=person)
    show(as_json, done, [f"{len(done['samples'])} samples of person {done['person']}."])
    return True


@unknowns.command(short_help="Give all faces of an unknown person to another one.")
@UNKNOWN
@click.argument("into")
@IN_INDEX
@service_command(gallery="existing")
def merge(service: Client, as_json: bool, unknown_id: str, into: str, index_file: str | None) -> bool:
    """Give all faces of an unknown person to another unknown one, the one with the id INTO, who stays."""
    with _place(service, index_file) as place:
        done = place.merge_unknown(unknown_id, into)
    show(as_json, done, [f"{unknown_id} is {into} now."])
    return True


@unknowns.command(short_help="List somebody no more, for good.")
@UNKNOWN
@IN_INDEX
@service_command(gallery="existing")
def ignore(service: Client, as_json: bool, unknown_id: str, index_file: str | None) -> bool:
    """List an unknown person no more, nor the faces of them that come later.

    A service removes all their faces, and keeps none of them again; the sum of their vectors stays, by which
    they are known, until `unknowns forget` removes it. In an index their faces stay.
    """
    with _place(service, index_file) as place:
        done = place.ignore_unknown(unknown_id)
    show(as_json, done, [f"{unknown_id} is ignored from now on."])
    return True


@unknowns.command(short_help="Remove unknown people with their faces.")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All of them, also those who are ignored.")
@IN_INDEX
@service_command(gallery="existing")
def forget(
    service: Client, as_json: bool, ids: tuple[str, ...], everybody: bool, index_file: str | None
) -> bool:
    """Remove unknown people with all that is kept of them, or is in the index; they may come again.

    Their pictures stay, and `recognition index --again` finds them there anew.
    """
    if bool(ids) == everybody:
        raise click.UsageError("Name the ids, or --all.")
    with _place(service, index_file) as place:
        if everybody:
            count = place.forget_unknowns()
        else:
            for unknown_id in ids:
                place.forget_unknown(unknown_id)
            count = len(ids)
    show(as_json, {"deleted": count}, [f"{count} unknown people forgotten."])
    return True
