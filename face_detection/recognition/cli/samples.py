"""`samples`: what is enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from recognition.cli.service import service_command
from recognition.cli.session import FAILED, OrderedGroup, error_of, fail, show, without_name
from recognition.client import Client, ServiceError

# What is wrong with an exported file, and not with the service.
FILES_FAULT = {"damaged_gallery", "gallery_model_mismatch", "body_too_large"}


@click.group(cls=OrderedGroup, short_help="List, delete, export and import samples.")
def samples() -> None:
    """List, delete, export and import samples, through a service if you name one.

    `gallery` has what works on the database itself.
    """


@samples.command("list")
@click.option("--name", help="Only the samples of this name.")
@service_command(gallery="existing")
def list_(service: Client, as_json: bool, name: str | None) -> bool:
    """List the samples by id: id, name, and time of enrolment."""
    for sample in service.samples(name=name):
        show(as_json, sample, [f"{sample['id']}  {sample['name']}  {sample['modified']}"])
    return True


@samples.command()
@click.argument("ids", nargs=-1)
@click.option("--name", help="Delete all samples of this name.")
@service_command(gallery="existing")
def delete(service: Client, as_json: bool, ids: Sequence[str], name: str | None) -> bool:
    """Delete samples by id or by name.

    Exit status 1: no sample has one of the ids, or the name.
    """
    if not ids and name is None:
        raise click.UsageError("Give ids, or --name.")
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
    show(as_json, {"deleted": deleted, "missing": missing}, lines)
    return not missing


@samples.command()
@click.confirmation_option(prompt="Delete every sample?")
@service_command(gallery="existing")
def clear(service: Client, as_json: bool) -> bool:
    """Delete every sample."""
    service.clear()
    show(as_json, {"cleared": True}, ["All samples deleted."])
    return True


@samples.command(short_help="Download all samples from the service into a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@service_command(gallery="existing")
def export(service: Client, as_json: bool, file: Path) -> bool:
    """Download all samples from the service into FILE; `gallery export` reads the database.

    The format is the same. FILE holds biometric data: only its owner can read it.
    """
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    with part.open("wb") as stream:
        count = service.export(stream)
    part.replace(file)
    show(as_json, {"exported": count}, [f"{count} samples exported."])
    return True


@samples.command("import", short_help="Upload the samples of a file to the service.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@service_command(gallery="new")
def import_(service: Client, as_json: bool, file: Path) -> bool:
    """Upload the samples of FILE to the service; `gallery import` writes the database.

    FILE must be complete and of the service's model. Samples that are there in a newer state stay as they
    are.
    """
    try:
        with file.open("rb") as stream:
            answer = service.import_(stream)
    except ServiceError as e:
        if e.code not in FILES_FAULT:
            raise
        fail(FAILED, error_of(e))
    count, unchanged = answer["imported"], answer["unchanged"]
    lines = [f"{count} samples imported, {unchanged} were there already."]
    show(as_json, answer, [*lines, *without_name(answer.get("unnamed", 0))])
    return True
