"""`samples`: what is enrolled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from recognition.cli.service import service_command
from recognition.cli.session import (
    FAILED,
    WITH_FACES,
    OrderedGroup,
    error_of,
    fail,
    opened_for_owner,
    save_picture,
    show,
    without_name,
)
from recognition.client import Client, ServiceError

# What is wrong with an exported file, and not with the service.
FILES_FAULT = {"damaged_gallery", "gallery_model_mismatch", "body_too_large"}

# What is wrong with the person that samples are to move to, and with a picture.
WHOSE_FAULT = {"not_found", "ambiguous_name", "invalid_request"}
PICTURES_FAULT = {"invalid_image", "image_too_large", "body_too_large", "no_face", "low_quality"}


@click.group(cls=OrderedGroup, short_help="List, show, delete, correct, export and import samples.")
def samples() -> None:
    """List, show, delete, move, correct, export and import samples, through a service if you name one.

    `gallery` has what works on the database itself.
    """


@samples.command("list")
@click.option("--name", help="Only the samples of this name.")
@click.option("--person", metavar="ID", help="Only the samples of the person with this id.")
@service_command(gallery="existing")
def list_(service: Client, as_json: bool, name: str | None, person: str | None) -> bool:
    """List the samples by id: id, name, and time of enrolment."""
    for sample in service.samples(name=name, person=person):
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


@samples.command(short_help="Give samples to another person.")
@click.argument("ids", nargs=-1, required=True)
@click.option("--person", metavar="ID", help="The id of the person to whom they move.")
@click.option("--name", help="The name of that person, who is made if need be.")
@service_command(gallery="existing")
def move(service: Client, as_json: bool, ids: Sequence[str], person: str | None, name: str | None) -> bool:
    """Give samples to another person, told by --person or --name.

    Exit status 1: no sample has one of the ids, or it is not clear who the person is.
    """
    if (person is None) == (name is None):
        raise click.UsageError("Give one of --person and --name.")
    to = {"name": name} if person is None else {"person": person}
    missing, moved = [], []
    try:
        if person is not None:
            service.person(person)  # so that what is not found below is a sample
        for sample_id in ids:
            try:
                moved.append(service.change_sample(sample_id, **to))
            except ServiceError as e:
                if e.code != "not_found":
                    raise
                missing.append(sample_id)
    except ServiceError as e:
        if e.code not in WHOSE_FAULT:
            raise
        fail(FAILED, error_of(e))
    lines = [f"{len(moved)} moved.", *(f"  {who}: there is no such sample" for who in missing)]
    show(as_json, {"moved": [sample["id"] for sample in moved], "missing": missing}, lines)
    return not missing


@samples.command(short_help="Give a face that got a wrong name to the right person.")
@click.argument("picture", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--person", metavar="ID", help="The id of the person whose face it is.")
@click.option("--name", help="The name of that person, who is made if need be.")
@click.option(
    "--at", nargs=2, type=float, metavar="X Y", help="A point in the face; default: the largest one."
)
@click.option("--wrong", metavar="ID", help="The sample that the face was taken for.")
@click.option(
    "--then", type=click.Choice(["keep", "move", "remove"]), default="keep", help="What becomes of it; keep."
)
@service_command(gallery="existing")
def correct(
    service: Client,
    as_json: bool,
    picture: Path,
    person: str | None,
    name: str | None,
    at: tuple[float, float] | None,
    wrong: str | None,
    then: str,
) -> bool:
    """Enrol a face of PICTURE that got a wrong name for the right person, told by --person or --name.

    The sample that it was taken for, --wrong, is kept, moved to the same person, or removed, all in one step.

    Exit status 1: the face cannot be enrolled, there is no such sample, or it is not clear who the person is.
    """
    if (person is None) == (name is None):
        raise click.UsageError("Give one of --person and --name.")
    if then != "keep" and wrong is None:
        raise click.UsageError("Give --wrong.")
    face = at and {"x": at[0], "y": at[1]}
    try:
        seen = service.correct(picture, person=person, name=name, face=face, wrong_sample=wrong, then=then)
    except ServiceError as e:
        if e.code not in {*WHOSE_FAULT, *PICTURES_FAULT}:
            raise
        fail(FAILED, error_of(e))
    lines = [f"{seen['id']} is enrolled.", *(warning["detail"] for warning in seen["warnings"])]
    lines += [f"{sample_id} is moved." for sample_id in seen["moved"]]
    lines += [f"{sample_id} is removed." for sample_id in seen["removed"]]
    show(as_json, seen, lines)
    return True


@samples.command()
@click.confirmation_option(prompt="Delete every sample?")
@service_command(gallery="existing")
def clear(service: Client, as_json: bool) -> bool:
    """Delete every sample and every person."""
    service.clear()
    show(as_json, {"cleared": True}, ["All samples deleted."])
    return True


@samples.command(short_help="Write the face that is kept of a sample into a file.")
@click.argument("sample_id", metavar="ID")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file, a JPEG; only its owner can read it.",
)
@service_command(gallery="existing")
def face(service: Client, as_json: bool, sample_id: str, out: Path) -> bool:
    """Write the face that is kept of a sample into a file.

    Exit status 1: no sample has this id, or no face is kept of it.
    """
    save_picture(lambda: service.face(sample_id), out)
    show(as_json, {"face": str(out)}, [f"The face is in {out}."])
    return True


@samples.command(short_help="Download all samples from the service into a file.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@WITH_FACES
@service_command(gallery="existing")
def export(service: Client, as_json: bool, file: Path, faces: bool) -> bool:
    """Download all samples from the service into FILE; `gallery export` reads the database.

    The format is the same. FILE holds biometric data: only its owner can read it.
    """
    with opened_for_owner(file) as stream:
        count = service.export(stream, faces=faces)
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
