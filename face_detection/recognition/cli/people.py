"""`people`: whose samples are enrolled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


@click.group(cls=OrderedGroup, short_help="List, show, rename, merge, delete and export people.")
def people() -> None:
    """List, show, rename, merge, delete and export people, through a service if you name one.

    ID is that of a person, as `people list` shows it. Exit status 1: nobody has it.
    """


@people.command("list")
@click.option("--query", metavar="TEXT", help="Only people with this in their names.")
@service_command(gallery="existing")
def list_(service: Client, as_json: bool, query: str | None) -> bool:
    """List people by name: id, name, and number of samples."""
    for person in service.people(query):
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
@service_command(gallery="existing")
def delete(service: Client, as_json: bool, person_id: str) -> bool:
    """Delete a person with all samples, and say what was erased and what remains."""
    with _refusals():
        receipt = service.delete_person(person_id)
    lines = [
        f"{receipt['person']} was erased at {receipt['erased_at']}, with {len(receipt['samples'])} samples.",
        *(f"  What remains: {what}" for what in receipt["remains"]),
    ]
    show(as_json, receipt, lines)
    return True


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
