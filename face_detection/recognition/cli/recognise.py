"""`recognise`, `detect` and `verify`: what is in pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from recognition.cli.service import service_command
from recognition.cli.session import error_of, show
from recognition.client import Client, ServiceError

PICTURE = click.Path(exists=True, dir_okay=False, path_type=Path)
MIN_DISTANCE = click.option(
    "--min-distance",
    type=click.FloatRange(min=0, min_open=True),
    help="The largest distance that is still a match, as in /face-recognition; default: the model's own.",
)
MAX_FALSE_MATCH = click.option(
    "--max-false-match",
    type=click.FloatRange(min=0, max=0.5, min_open=True),
    help="Decide so that of strangers at most about this share gets a name, in place of --min-distance; "
    "default: as MAX_FALSE_MATCH is set.",
)
SMALL_FACES = click.option(
    "--small-faces",
    is_flag=True,
    default=None,
    help="Look for small faces in large pictures, too, which takes longer; default: as SMALL_FACES is set.",
)
OUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
INDEX = click.option(
    "--index",
    "index_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The index; default: archive.sqlite3 beside the gallery's file, or else in the data folder.",
)

# What is one picture's fault; everything else would fail for the next one, too.
ONE_PICTURES_FAULT = {"invalid_image", "image_too_large", "body_too_large", "no_face"}


def check_rule(min_distance: float | None, max_false_match: float | None) -> None:
    """Refuse two rules together: nobody knows which was meant."""
    if min_distance is not None and max_false_match is not None:
        raise click.UsageError("--min-distance and --max-false-match: choose one of them.")


class WithJsonFile(click.Command):
    """Takes `--json FILE`, where FILE ends in .json or .jsonl, for `--json-file FILE`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Read the arguments."""
        for place, (first, second) in enumerate(itertools.pairwise(args)):
            if first == "--":
                break
            if first == "--json" and second.endswith((".json", ".jsonl")):
                args = [*args[:place], "--json-file", second, *args[place + 2 :]]
                break
        return super().parse_args(context, args)


@click.command(cls=WithJsonFile, short_help="Say who is in pictures, also in those of folders.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@MIN_DISTANCE
@MAX_FALSE_MATCH
@SMALL_FACES
@click.option("--top", "top_k", type=click.IntRange(1, 100), help="Also show this many nearest people.")
@click.option(
    "--draw",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Save the picture with boxes and names in this file, as JPEG.",
)
@click.option("--csv", "csv_file", metavar="FILE", type=OUT, help="Write a table, as CSV; `-` prints it.")
@click.option(
    "--json-file",
    metavar="FILE",
    type=OUT,
    help="Write JSON: an array, or an object a line in a .jsonl; `--json FILE.json` means the same.",
)
@click.option("--xmp", is_flag=True, help="Write names and boxes into sidecars, PICTURE.jpg.xmp.")
@click.option("--lightroom", is_flag=True, help="With --xmp: name them PICTURE.xmp, as Adobe's programs do.")
@click.option("--jobs", type=click.IntRange(min=1), help="Pictures at once; default: as there are cores.")
@INDEX
@service_command(gallery="existing")
def recognise(
    service: Client,
    as_json: bool,
    files: Sequence[Path],
    min_distance: float | None,
    max_false_match: float | None,
    small_faces: bool | None,
    top_k: int | None,
    draw: Path | None,
    csv_file: Path | None,
    json_file: Path | None,
    xmp: bool,
    lightroom: bool,
    jobs: int | None,
    index_file: Path | None,
) -> bool:
    """Say who is in pictures: every face, largest first, unknown ones too.

    Of folders it takes all pictures in them, as `index` does, and what an index has of them. Nothing is kept.
    Sidecars keep what others have written into them; pictures are never written to.

    Exit status 1: a picture cannot be read.
    """
    check_rule(min_distance, max_false_match)
    many = csv_file is not None or json_file is not None or xmp or any(file.is_dir() for file in files)
    if draw and (many or len(files) > 1):
        raise click.UsageError("--draw takes one picture.")
    if lightroom and not xmp:
        raise click.UsageError("--lightroom goes with --xmp.")
    if many:
        from recognition.cli import archives, recognising  # SQLAlchemy and both services

        wishes = recognising.Wishes(
            min_distance,
            max_false_match,
            top_k,
            csv_file=csv_file,
            json_file=json_file,
            naming=("lightroom" if lightroom else "digikam") if xmp else None,
            options=archives.Options(index_file, service.gallery, small_faces, jobs),
        )
        return recognising.recognise_all(
            service, files, wishes, lambda value: _lines(value, _recognised), as_json=as_json
        )
    options = {
        "min_distance": min_distance,
        "max_false_match": max_false_match,
        "small_faces": small_faces,
        "include_unknown": True,
    }
    all_read = _each(
        files,
        as_json,
        lambda file, warnings: service.recognise(file, warnings=warnings, top_k=top_k, **options),
        _recognised,
    )
    if draw and all_read:
        draw.write_bytes(service.draw(files[0], **options))
    return all_read


@click.command()
@click.argument("files", nargs=-1, required=True, type=PICTURE)
@SMALL_FACES
@service_command(gallery="none")
def detect(service: Client, as_json: bool, files: Sequence[Path], small_faces: bool | None) -> bool:
    """Find the faces in pictures, largest first.

    Exit status 1: a picture cannot be read.
    """
    return _each(
        files,
        as_json,
        lambda file, warnings: service.detect(file, warnings=warnings, small_faces=small_faces),
        _detected,
    )


@click.command(short_help="Tell whether two pictures show the same person.")
@click.argument("a", type=PICTURE)
@click.argument("b", type=PICTURE)
@MIN_DISTANCE
@SMALL_FACES
@service_command(gallery="none")
def verify(
    service: Client,
    as_json: bool,
    a: Path,
    b: Path,
    min_distance: float | None,
    small_faces: bool | None,
) -> bool:
    """Tell whether the largest faces of two pictures show the same person.

    Exit status 1: they do not, or a picture has no face.
    """
    try:
        answer = service.verify(a, b, min_distance, small_faces=small_faces)
    except ServiceError as e:
        if e.code not in ONE_PICTURES_FAULT:
            raise
        show(as_json, {"error": error_of(e)}, [e.detail])
        return False
    words = "the same person" if answer["verified"] else "not the same person"
    if not answer["verified"] and answer["distance"] < answer["threshold"]:
        words = "a face is too poor to tell"
    line = f"{words}: distance {answer['distance']:.2f}, threshold {answer['threshold']:g}"
    wrong = (
        f"{file}  {said}" for file, side in ((a, 1), (b, 2)) for said in _wrong(answer[f"reasons{side}"])
    )
    show(as_json, answer, [line, *wrong])
    return bool(answer["verified"])


def _each(
    files: Sequence[Path],
    as_json: bool,
    find_faces: Callable[[Path, list[str]], list[dict[str, Any]]],
    line: Callable[[dict[str, Any]], str],
) -> bool:
    """Print the faces of one picture after the other; returns whether all could be read."""
    all_read = True
    for file in files:
        value: dict[str, Any] = {"picture": str(file)}
        warnings: list[str] = []
        try:
            value["faces"] = find_faces(file, warnings)
            if warnings:
                value["warnings"] = warnings
        except (ServiceError, OSError) as e:
            if isinstance(e, ServiceError) and e.code not in ONE_PICTURES_FAULT:
                raise
            all_read, value["error"] = False, error_of(e)
        show(as_json, value, _lines(value, line))
    return all_read


def _lines(value: dict[str, Any], line: Callable[[dict[str, Any]], str]) -> list[str]:
    """Render what is said of a picture as text."""
    file = value["picture"]
    if "error" in value:
        return [f"{file}  {value['error']['detail']}"]
    found = [f"{file}  {line(face)}" for face in value["faces"]]
    return found or [f"{file}  {_no_face(value.get('warnings', []))}"]


def _no_face(warnings: Sequence[str]) -> str:
    if "searched_shrunk" in warnings:
        return "no face; it was searched at a smaller size: try --small-faces"
    return "no face"


def _recognised(face: dict[str, Any]) -> str:
    who = f"{face['name']} ({face['id']})" if face["id"] else "unknown"
    return "  ".join([who, *_distance(face), f"at {face['bbox']}", *_others(face), *_wrong(face["reasons"])])


def _distance(face: dict[str, Any]) -> Iterator[str]:
    if face["distance"] is not None:
        yield f"distance {face['distance']:.2f}"


def _others(face: dict[str, Any]) -> Iterator[str]:
    for other in face.get("candidates", [])[1:]:
        yield f"or {other['name']} ({other['id']}) {other['distance']:.2f}"


def _wrong(reasons: list[dict[str, Any]]) -> Iterator[str]:
    if reasons:
        yield ", ".join(reason["code"].replace("_", " ") for reason in reasons)


def _detected(face: dict[str, Any]) -> str:
    return "  ".join(
        [
            f"at {face['bbox']}",
            f"confidence {face['confidence']:.3f}",
            f"quality {face['quality']:.2f}",
            *_wrong(face["reasons"]),
        ]
    )
