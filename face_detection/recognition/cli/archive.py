"""`index` and `find`: archives of pictures, and who is in them."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from recognition.cli.cluster import RAY
from recognition.cli.recognise import INDEX, MAX_FALSE_MATCH, MIN_DISTANCE, SMALL_FACES, check_rule
from recognition.cli.service import GALLERY
from recognition.cli.session import FAILED, JSON, check_processor


@click.command(short_help="Look through folders of pictures, for `find`.")
@click.argument("folders", metavar="DIR|s3://...", nargs=-1)
@click.option("--again", is_flag=True, help="Look at all pictures anew, also at those that are unchanged.")
@click.option("--forget", is_flag=True, help="Erase what the index has of these folders; they may be gone.")
@click.option(
    "--refused",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what was refused into this file, as CSV: reason, what exactly, path.",
)
@click.option("--enrol", is_flag=True, help="Enrol the largest face of each, too: its folder is the person.")
@click.option(
    "--parquet",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write all that the index has of these folders, with vectors, as Parquet.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Pictures at once; default: as there are cores.")
@RAY
@INDEX
@SMALL_FACES
@GALLERY
@JSON
def index(
    folders: tuple[str, ...],
    again: bool,
    forget: bool,
    refused: Path | None,
    enrol: bool,
    parquet: Path | None,
    jobs: int | None,
    ray: str | None,
    index_file: Path | None,
    small_faces: bool | None,
    name_of_gallery: str | None,
    as_json: bool,
) -> None:
    """Look through folders of pictures, and keep an index of the faces in them. Pictures stay as they are.

    Only what is new or has changed since is looked at, and what is gone is forgotten. Stopped or killed, it
    goes on where it was. The index has boxes and vectors, and no names: whose a face is, `find` asks the
    gallery each time. Without a folder it says what is in the index.

    Names that begin with a dot are passed over, and links to folders are not followed. Folders may be in S3,
    and workers of Ray may do the work, on this machine or on many.

    Exit status 1: some pictures were refused; the report says why.
    """
    if forget and not folders:
        raise click.UsageError("--forget: name the folders.")
    from recognition.cli import archives, indexing

    with archives.failing():
        if forget:
            indexing.forget(index_file, folders, as_json=as_json)
        elif not folders:
            indexing.describe(index_file, as_json=as_json)
        else:
            for folder in folders:
                if not archives.exists(folder):
                    raise click.BadParameter(f"{folder} does not exist; --forget erases what is known of it.")
            check_processor()
            options = archives.Options(index_file, name_of_gallery, small_faces, jobs, ray)
            outputs = indexing.Outputs(refused, parquet, enrol)
            if not indexing.index(options, folders, outputs, again=again, as_json=as_json):
                sys.exit(FAILED)


@click.command(short_help="List the pictures of an index in which somebody is.")
@click.argument("who", metavar="NAME|ID|PICTURE")
@click.option("--in", "folder", metavar="DIR", help="Only in this folder.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table, as CSV.")
@MIN_DISTANCE
@MAX_FALSE_MATCH
@INDEX
@SMALL_FACES
@GALLERY
@JSON
def find(
    who: str,
    folder: str | None,
    as_csv: bool,
    min_distance: float | None,
    max_false_match: float | None,
    index_file: Path | None,
    small_faces: bool | None,
    name_of_gallery: str | None,
    as_json: bool,
) -> None:
    """List all pictures of an index in which somebody is, the best match first.

    Who it is, is told by name, by id, or by a picture, of which the largest face is looked for, enrolled or
    not. Of a name that several have, all are meant. Whose the faces are is asked of the gallery as it is now.

    Exit status 1: there is nobody of that name or id, or no face in the picture.
    """
    check_rule(min_distance, max_false_match)
    if as_csv and as_json:
        raise click.UsageError("--csv and --json: choose one of them.")
    check_processor()
    from recognition.cli import archives, finding

    with archives.failing():
        options = archives.Options(index_file, name_of_gallery, small_faces)
        rule = (min_distance, max_false_match)
        if not finding.find(options, who, folder, rule, as_csv=as_csv, as_json=as_json):
            sys.exit(FAILED)
