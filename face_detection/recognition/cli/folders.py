"""Files and folders that are named on a command line, and the pictures in them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from recognition.cli.session import error_of
from serving.formats import START_BYTES, other_kind, picture_format

LEFT_BY_SYSTEMS = {"thumbs.db", "desktop.ini"}  # and what begins with a dot


@dataclass(frozen=True)
class Picture:
    """A picture to enrol.

    path: below the folder that was named, in POSIX form, or the file's name if the file itself was named.
    shown: the same, or the file as it was named where another picture has this path.
    chosen: the file itself was named; others may turn out to be no pictures.
    """

    path: str
    shown: str
    person: str
    file: Path
    chosen: bool


def pictures_in(
    paths: Iterable[Path], name: str | None, refused: dict[str, dict[str, str]]
) -> Iterator[Picture]:
    """Find the files in a stable order, each path once; folders that cannot be read are refused."""
    seen: set[str] = set()
    for named in paths:
        files = [named] if named.is_file() else sorted(_files_below(named, refused))
        if not files:
            raise click.BadParameter(f"there are no pictures in {named}.")
        for file in files:
            alone = file.parent == named or file == named
            path = file.name if file == named else file.relative_to(named).as_posix()
            shown = file.as_posix() if path in seen else path
            if shown in seen:
                continue
            seen.add(shown)
            person = name or (file.stem if alone else file.parent.name)
            if _is_text(path) and _is_text(person):
                yield Picture(path, shown, person, file, chosen=file == named)
            else:
                refused[shown] = {"code": "file", "detail": "The name is not valid UTF-8."}


def _is_text(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _files_below(folder: Path, refused: dict[str, dict[str, str]]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        refused[str(error.filename)] = error_of(error)

    for parent, _, files in os.walk(folder, onerror=refuse):
        yield from (Path(parent, file) for file in files)


def read(picture: Picture) -> tuple[bytes, str | None]:
    """Read a file, or just the beginning of one in a folder that is no picture, and say what it is then.

    What it is, is an empty text for what systems leave, of which nothing is said, and None for a picture.

    Raises:
        OSError.
    """
    with picture.file.open("rb") as opened:
        start = opened.read(START_BYTES)
        if picture.chosen or picture_format(start) is not None:
            return start + opened.read(), None
    names = picture.path.split("/")
    left = any(name.startswith(".") for name in names) or names[-1].lower() in LEFT_BY_SYSTEMS
    return start, "" if left else f"Not a picture: it is {other_kind(start)}."
