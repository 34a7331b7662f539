"""`samples`: what is enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from recognition.cli.session import talking, tell
from recognition.client import Client, ServiceError


@click.group()
def samples() -> None:
    """List, remove, export and import what is enrolled."""


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


@samples.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@talking
def export(service: Client, as_json: bool, file: Path) -> bool:
    """Write all samples with their vectors into FILE, which only its owner can read.

    It is what `python -m recognition.gallery export` writes.
    """
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with part.open("wb") as opened:
        count = service.export(opened)
    part.replace(file)
    tell(as_json, {"exported": count}, [f"{count} samples exported."])
    return True


@samples.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@talking
def import_(service: Client, as_json: bool, file: Path) -> bool:
    """Store the samples of an exported FILE, if it is whole and of the same model; newer ones stay."""
    with file.open("rb") as opened:
        answer = service.import_(opened)
    count, unchanged = answer["imported"], answer["unchanged"]
    tell(as_json, answer, [f"{count} samples imported, {unchanged} were there already."])
    return True
