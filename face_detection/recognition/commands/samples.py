"""`samples`: what is enrolled."""

from __future__ import annotations

from collections.abc import Sequence

import click

from recognition.client import Client, ServiceError
from recognition.commands.session import talking, tell


@click.group()
def samples() -> None:
    """List and remove what is enrolled."""


@samples.command("list")
@click.option("--name", help="Only those of this name.")
@talking
def list_(service: Client, as_json: bool, name: str | None) -> bool:
    """List the samples by id: id, name, and when they were enrolled."""
    for sample in service.samples(name=name):
        tell(as_json, sample, [f"{sample['id']}  {sample['name']}  {sample['modified']}"])
    return True


@samples.command()
@click.argument("ids", nargs=-1)
@click.option("--name", help="All of this name.")
@talking
def delete(service: Client, as_json: bool, ids: Sequence[str], name: str | None) -> bool:
    """Remove samples by id or by name.

    Exit status 1: there is none of an id or the name.
    """
    if not ids and name is None:
        raise click.UsageError("Name ids, or --name.")
    deleted = 0 if name is None else service.delete_named(name)
    missing = [] if deleted or name is None else [name]
    for sample_id in ids:
        try:
            service.delete(sample_id)
            deleted += 1
        except ServiceError as e:
            if e.code != "not_found":
                raise
            missing.append(sample_id)
    lines = [f"{deleted} deleted.", *(f"  {who}: there is no such sample" for who in missing)]
    tell(as_json, {"deleted": deleted, "missing": missing}, lines)
    return not missing


@samples.command()
@click.confirmation_option(prompt="Remove every sample?")
@talking
def clear(service: Client, as_json: bool) -> bool:
    """Remove every sample."""
    service.clear()
    tell(as_json, {"cleared": True}, ["All samples removed."])
    return True
