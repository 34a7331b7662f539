"""`galleries`: where people and samples are kept apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from recognition.cli.service import service_command
from recognition.cli.session import FAILED, OrderedGroup, error_of, fail, show
from recognition.client import Client, ServiceError

NAME = click.argument("name")
# What is wrong with a name, and not with the service.
NAMES_FAULT = {"not_found", "invalid_request", "gallery_exists"}


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ServiceError as e:
        if e.code not in NAMES_FAULT:
            raise
        fail(FAILED, error_of(e))


@click.group(cls=OrderedGroup, short_help="List, make and delete galleries.")
def galleries() -> None:
    """List, make and delete galleries, through a service if you name one.

    People and samples of one gallery are not seen in another. The gallery `default` is always there, and the
    other commands use it, unless --gallery or the key says otherwise.
    """


@galleries.command("list")
@service_command(gallery="existing")
def list_(service: Client, as_json: bool) -> bool:
    """List galleries by name: name, number of samples, and number of people."""
    for gallery in service.galleries():
        show(as_json, gallery, [f"{gallery['name']}  {gallery['samples']}  {gallery['persons']}"])
    return True


@galleries.command()
@NAME
@service_command(gallery="new")
def make(service: Client, as_json: bool, name: str) -> bool:
    """Make an empty gallery.

    Exit status 1: there is one with this name.
    """
    with _refusals():
        gallery = service.make_gallery(name)
    show(as_json, gallery, [f"{name} made."])
    return True


@galleries.command()
@NAME
@click.confirmation_option(prompt="Delete the gallery with all samples and people in it?")
@service_command(gallery="existing")
def delete(service: Client, as_json: bool, name: str) -> bool:
    """Delete a gallery with all samples and people in it; `samples clear` empties `default`.

    Exit status 1: there is none with this name.
    """
    with _refusals():
        service.delete_gallery(name)
    show(as_json, {"deleted": name}, [f"{name} deleted."])
    return True
