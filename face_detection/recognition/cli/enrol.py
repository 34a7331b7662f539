"""`enrol`: pictures of folders and files become samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

from recognition.cli.session import INTERRUPTED, fault, progress, talking, tell
from recognition.client import Client, ServiceError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
BATCH = 16  # pictures in one request
BATCH_BYTES = 16 * 2**20  # in one request, before base64 adds a third: far below MAX_BODY_BYTES
WHOLE = {"invalid_request", "body_too_large"}  # one picture's fault for which a whole request is refused


@dataclass(frozen=True)
class Found:
    """A picture to enrol. `id` is its path below the folder that was named, or the file's name."""

    id: str
    name: str
    path: Path


@dataclass
class Report:
    """What became of each picture, by id."""

    enrolled: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    duplicates: dict[str, str] = field(default_factory=dict)  # and of which
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Render it as text."""
        yield f"{len(self.enrolled)} enrolled, {len(self.already)} already there, " + (
            f"{len(self.duplicates)} duplicates, {len(self.refused)} refused."
        )
        for sample_id, other in self.duplicates.items():
            yield f"  {sample_id}: the same bytes as {other}"
        for sample_id, error in self.refused.items():
            yield f"  {sample_id}: {error['detail']}"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="The name of all of them.")
@click.option("--replace", is_flag=True, help="Enrol also those whose id is there already.")
@talking
def enrol(service: Client, as_json: bool, paths: tuple[Path, ...], name: str | None, replace: bool) -> bool:
    """Enrol the pictures of folders and files.

    A person is named for the folder that the picture lies in, or for the file where it lies in none below the
    one that was given. The id is the path below that folder. Pictures whose id is enrolled already are not
    sent again, so an enrolment that was broken off can simply be started again. Of files with the same bytes
    only the first is enrolled.

    Exit status 1: some were refused; the report at the end says which and why.
    """
    report = Report()
    pictures = list(_pictures(paths, name, report.refused))
    try:
        with progress("enrolling", len(pictures)) as told:
            there = set() if replace else _enrolled(service, {picture.id for picture in pictures})
            for batch in _batches(_new(pictures, there, report, told)):
                _send(service, batch, report)
                told(len(batch))
    except KeyboardInterrupt:
        tell(as_json, vars(report), [*report.lines(), "Interrupted: the same command goes on."])
        raise SystemExit(INTERRUPTED) from None
    tell(as_json, vars(report), report.lines())
    return not report.refused


def _pictures(paths: Iterable[Path], name: str | None, refused: dict[str, dict[str, str]]) -> Iterator[Found]:
    """Find the pictures in a stable order, each id once; what cannot be looked into is refused."""
    ids: set[str] = set()
    for named in paths:
        found = [named] if named.is_file() else sorted(_below(named, refused))
        if not found:
            raise click.BadParameter(f"there are no pictures in {named}.")
        for path in found:
            alone = path.parent == named or path == named
            sample_id = path.name if path == named else path.relative_to(named).as_posix()
            if sample_id in ids:
                raise click.BadParameter(
                    f"two pictures would have the id {sample_id}; enrol them one by one."
                )
            ids.add(sample_id)
            yield Found(sample_id, name or (path.stem if alone else path.parent.name), path)


def _below(folder: Path, refused: dict[str, dict[str, str]]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        refused[str(error.filename)] = fault(error)

    for parent, _, files in os.walk(folder, onerror=unreadable):
        yield from (Path(parent, file) for file in files if Path(file).suffix.lower() in SUFFIXES)


def _enrolled(service: Client, ids: set[str]) -> set[str]:
    """Return those of these ids that are samples already. They are listed by id, so few pages tell."""
    first, last = min(ids), max(ids)
    near = service.samples(after=first[:-1] or None)  # an id's beginning comes before it
    return {sample["id"] for sample in takewhile(lambda sample: sample["id"] <= last, near)} & ids


def _new(
    pictures: Iterable[Found], there: set[str], report: Report, told: Any
) -> Iterator[tuple[Found, bytes]]:
    """Read the pictures that are worth sending; the report has the others."""
    seen: dict[bytes, str] = {}
    for picture in pictures:
        try:
            data = picture.path.read_bytes()
        except OSError as e:
            report.refused[picture.id] = fault(e)
            told(1)
            continue
        first = seen.setdefault(hashlib.sha256(data).digest(), picture.id)
        if picture.id in there:
            report.already.append(picture.id)
        elif first != picture.id:
            report.duplicates[picture.id] = first
        else:
            yield picture, data
            continue
        told(1)


def _batches(pictures: Iterable[tuple[Found, bytes]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for picture, data in pictures:
        if batch and (
            len(batch) == BATCH or sum(len(sample["picture"]) for sample in batch) + len(data) > BATCH_BYTES
        ):
            yield batch
            batch = []
        batch.append({"id": picture.id, "name": picture.name, "picture": data})
    if batch:
        yield batch


def _send(service: Client, batch: list[dict[str, Any]], report: Report) -> None:
    """Enrol a batch. Where one picture makes the service refuse all of them, each goes alone."""
    try:
        answer = service.enrol_all(batch)
    except ServiceError as e:
        if e.code not in WHOLE:
            raise
        if len(batch) == 1:
            report.refused[batch[0]["id"]] = fault(e)
        else:
            for sample in batch:
                _send(service, [sample], report)
        return
    report.enrolled += answer["success"]
    report.refused |= answer["errors"]
