"""`people`: whose samples are enrolled."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click

from recognition.cli.service import service_command
from recognition.cli.session import FAILED, OrderedGroup, error_of, fail, opened_for_owner, show
from recognition.client import Client, ServiceError

PERSON = click.argument("person_id", metavar="ID")
# What is wrong with an id or a name, and not with the service.
CALLERS_FAULT = {"not_found", "invalid_request"}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ServiceError as e:
        if e.code not in CALLERS_FAULT:
            raise
        fail(FAILED, error_of(e))


@click.group(cls=OrderedGroup, short_help="List, show, change, merge, delete and export people.")
def people() -> None:
    """List, show, rename, change, merge, delete and export people, through a service if you name one.

    ID is that of a person, as `people list` shows it. Exit status 1: nobody has it.
    """


@people.command("list")
@click.option("--query", metavar="TEXT", help="Only people with this in their names.")
@click.option(
    "--without", metavar="FIELD", help="Only people whose metadata lack this field, or have it empty."
)
@service_command(gallery="existing")
def list_(service: Client, as_json: bool, query: str | None, without: str | None) -> bool:
    """List people by name: id, name, and number of samples."""
    for person in service.people(query):
        if without is not None and _noted(person).get(without):
            continue
        show(as_json, person, [f"{person['id']}  {person['name']}  {person['samples']}"])
    return True


@people.command("show")
@PERSON
@service_command(gallery="existing")
def show_(service: Client, as_json: bool, person_id: str) -> bool:
    """Show a person and the ids of all samples."""
    with _refusals():
        person = service.person(person_id)
    ids = [sample["id"] for sample in service.samples(person=person_id)]
    lines = [f"{field}: {value}" for field, value in person.items() if field != "samples"]
    show(as_json, person | {"samples": ids}, [*lines, f"samples: {len(ids)}", *(f"  {each}" for each in ids)])
    return True


@people.command()
@PERSON
@click.argument("name")
@service_command(gallery="existing")
def rename(service: Client, as_json: bool, person_id: str, name: str) -> bool:
    """Give a person another NAME, and with it all samples."""
    with _refusals():
        person = service.change_person(person_id, name=name)
    show(as_json, person, [f"{person['id']} is called {person['name']} now."])
    return True


@people.command(short_help="Change what is noted of a person, and when they expire.")
@PERSON
@click.option(
    "--note",
    "notes",
    metavar="FIELD=TEXT",
    multiple=True,
    help="Note TEXT as FIELD of the metadata, such as consent or purpose; without TEXT the field goes.",
)
@click.option(
    "--expires-at",
    metavar="TIME",
    help="Gone from then on, with all samples: ISO 8601 with its offset; or never.",
)
@service_command(gallery="existing")
def change(
    service: Client, as_json: bool, person_id: str, notes: Sequence[str], expires_at: str | None
) -> bool:
    """Change what is noted of a person, and when they expire with all samples."""
    changes: dict[str, Any] = {} if expires_at is None else {"expires_at": expires_at}
    with _refusals():
        if notes:
            changes["metadata"] = _noted(service.person(person_id)) | dict(map(_note, notes))
            changes["metadata"] = {field: text for field, text in changes["metadata"].items() if text != ""}
        person = service.change_person(person_id, **changes)
    until = f"  until {person['expires_at']}" if person["expires_at"] else ""
    noted = (f"  {field}: {text}" for field, text in _noted(person).items())
    show(as_json, person, [f"{person['id']}  {person['name']}{until}", *noted])
    return True


def _noted(person: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a person; of such as are no object nothing."""
    return person["metadata"] if isinstance(person["metadata"], dict) else {}


def _note(text: str) -> tuple[str, str]:
    field, equals, noted = text.partition("=")
    if not (field and equals):
        raise click.UsageError(f"--note {text}: write FIELD=TEXT.")
    return field, noted


@people.command(short_help="Give all samples of a person to another one.")
@PERSON
@click.argument("into")
@service_command(gallery="existing")
def merge(service: Client, as_json: bool, person_id: str, into: str) -> bool:
    """Give all samples of a person to another, the one with the id INTO.

    The first of the two is removed; name and metadata of the second stay.
    """
    with _refusals():
        person = service.merge(person_id, into)
    show(as_json, person, [f"{person['name']} has {person['samples']} samples now."])
    return True


@people.command()
@PERSON
@click.option(
    "--receipt",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Add the receipt to this file as a line of JSON, for `gallery replay-erasures` and your records.",
)
@service_command(gallery="existing")
def delete(service: Client, as_json: bool, person_id: str, file: Path | None) -> bool:
    """Delete a person with all samples, and say what was erased and what remains."""
    # Opened before anything is erased: a receipt that cannot be kept is not asked for.
    with _refusals(), _opened_to_add(file) as stream:
        receipt = service.delete_person(person_id)
        if stream is not None:
            stream.write(json.dumps(receipt).encode() + b"\n")
    lines = [
        f"{receipt['person']} was erased at {receipt['erased_at']}, with {_what_went(receipt)}.",
        *(f"  {each['place']}: {each['state']}" for each in receipt["places"]),
        *(f"  What remains: {what}" for what in receipt["remains"]),
        f"  {receipt['after_restoring']}",
    ]
    show(as_json, receipt, lines)
    return True


def _what_went(receipt: dict[str, Any]) -> str:
    events = receipt.get("events")  # of an older service: none
    return f"{len(receipt['samples'])} samples" + (f" and {events} events" if events else "")


@contextmanager
def _opened_to_add(file: Path | None) -> Iterator[BinaryIO | None]:
    """Open a file that lines are added to, and that nobody else can read if it is new; None: none."""
    if file is None:
        yield None
        return
    file.touch(mode=0o600)
    with file.open("ab") as stream:
        yield stream


@people.command(short_help="Write all that is stored of a person into a file.")
@PERSON
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@service_command(gallery="existing")
def export(service: Client, as_json: bool, person_id: str, file: Path) -> bool:
    """Write all that is stored of a person into FILE, which `samples import` takes.

    FILE holds biometric data: only its owner can read it.
    """
    with _refusals(), opened_for_owner(file) as stream:
        count = service.export_person(person_id, stream)
    show(as_json, {"exported": count}, [f"{count} samples exported."])
    return True
