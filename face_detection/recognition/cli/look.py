"""`recognise`, `detect` and `verify`: what is in pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from recognition.cli.session import fault, talking, tell
from recognition.client import Client, ServiceError

PICTURE = click.Path(exists=True, dir_okay=False, path_type=Path)
MIN_DISTANCE = click.option(
    "--min-distance",
    type=click.FloatRange(min=0, min_open=True),
    help="The largest distance of a match, as /face-recognition has it; the model's own threshold if absent.",
)

# What is one picture's fault; everything else would be the same for the next one.
ITS_OWN = {"invalid_image", "image_too_large", "body_too_large", "no_face"}


@click.command()
@click.argument("files", nargs=-1, required=True, type=PICTURE)
@MIN_DISTANCE
@click.option("--top", "top_k", type=click.IntRange(1, 100), help="Also the nearest people, so many.")
@click.option(
    "--draw", type=click.Path(dir_okay=False, path_type=Path), help="Write the picture with names there."
)
@talking
def recognise(
    service: Client,
    as_json: bool,
    files: Sequence[Path],
    min_distance: float | None,
    top_k: int | None,
    draw: Path | None,
) -> bool:
    """Say who is in pictures, unknown faces too, largest first.

    Exit status 1: a picture cannot be read.
    """
    if draw and len(files) > 1:
        raise click.UsageError("--draw is for one picture.")
    well = _each(
        files,
        as_json,
        lambda file: service.recognise(file, min_distance=min_distance, include_unknown=True, top_k=top_k),
        _recognised,
    )
    if draw and well:
        draw.write_bytes(service.draw(files[0], min_distance=min_distance, include_unknown=True))
    return well


@click.command()
@click.argument("files", nargs=-1, required=True, type=PICTURE)
@talking
def detect(service: Client, as_json: bool, files: Sequence[Path]) -> bool:
    """Find the faces in pictures, largest first.

    Exit status 1: a picture cannot be read.
    """
    return _each(files, as_json, service.detect, _detected)


@click.command()
@click.argument("a", type=PICTURE)
@click.argument("b", type=PICTURE)
@MIN_DISTANCE
@talking
def verify(service: Client, as_json: bool, a: Path, b: Path, min_distance: float | None) -> bool:
    """Tell whether the largest faces of two pictures are one person's.

    Exit status 1: they are not, or a picture has no face.
    """
    try:
        answer = service.verify(a, b, min_distance)
    except ServiceError as e:
        if e.code not in ITS_OWN:
            raise
        tell(as_json, {"error": fault(e)}, [e.detail])
        return False
    words = "the same person" if answer["verified"] else "not the same person"
    tell(as_json, answer, [f"{words}: distance {answer['distance']:.2f}, threshold {answer['threshold']:g}"])
    return bool(answer["verified"])


def _each(
    files: Sequence[Path],
    as_json: bool,
    look: Callable[[Path], list[dict[str, Any]]],
    line: Callable[[dict[str, Any]], str],
) -> bool:
    """Look at one picture after the other and print its faces; returns whether all could be read."""
    well = True
    for file in files:
        value: dict[str, Any] = {"picture": str(file)}
        try:
            value["faces"] = faces = look(file)
            lines = [f"{file}  {line(face)}" for face in faces] or [f"{file}  no face"]
        except (ServiceError, OSError) as e:
            if isinstance(e, ServiceError) and e.code not in ITS_OWN:
                raise
            well, value["error"] = False, fault(e)
            lines = [f"{file}  {value['error']['detail']}"]
        tell(as_json, value, lines)
    return well


def _recognised(face: dict[str, Any]) -> str:
    who = f"{face['name']} ({face['id']})" if face["id"] else "unknown"
    return "  ".join([who, *_distance(face), f"at {face['bbox']}", *_others(face)])


def _distance(face: dict[str, Any]) -> Iterator[str]:
    if face["distance"] is not None:
        yield f"distance {face['distance']:.2f}"


def _others(face: dict[str, Any]) -> Iterator[str]:
    for other in face.get("candidates", [])[1:]:
        yield f"or {other['name']} ({other['id']}) {other['distance']:.2f}"


def _detected(face: dict[str, Any]) -> str:
    return f"at {face['bbox']}  confidence {face['confidence']:.3f}"
