"""`enrol`: pictures of folders and files become samples."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click

from recognition.cli.service import service_command
from recognition.cli.session import INTERRUPTED, error_of, progress, show
from recognition.client import Client, ServiceError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
BATCH = 16  # pictures in one request
BATCH_BYTES = 16 * 2**20  # in one request, before base64 adds a third: far below MAX_BODY_BYTES
ONE_PICTURES_FAULT = {"invalid_request", "body_too_large"}  # for which a whole request is refused

Sample = dict[str, Any]  # as Client.enrol_all takes it


@dataclass(frozen=True)
class Picture:
    """A picture to enrol.

    path: below the folder that was named, in POSIX form, or the file's name if the file itself was named.
        With the person's name it tells whether the picture is enrolled already.
    """

    path: str
    person: str
    file: Path


@dataclass
class Report:
    """What became of each picture, by path."""

    enrolled: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    duplicates: dict[str, str] = field(default_factory=dict)  # and of which
    refused: dict[str, dict[str, str]] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Render it as text."""
        yield f"{len(self.enrolled)} enrolled, {len(self.already)} already there, " + (
            f"{len(self.duplicates)} duplicates, {len(self.refused)} refused."
        )
        for path, original in self.duplicates.items():
            yield f"  {path}: the same bytes as {original}"
        for path, error in self.refused.items():
            yield f"  {path}: {error['detail']}"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="The name of the person in all of them.")
@click.option("--replace", is_flag=True, help="Send pictures again that are enrolled already.")
@service_command(gallery="new")
def enrol(service: Client, as_json: bool, paths: tuple[Path, ...], name: str | None, replace: bool) -> bool:
    """Enrol the pictures of folders and files.

    A person is named after the folder of the picture, exactly as the folder is written, or after the file if
    it lies in no folder below the one that you name. Ids are random; the path stands in the sample's
    metadata. Pictures that are enrolled already are skipped, so an interrupted enrolment can be started
    again. Of several files with the same bytes only the first is enrolled.

    Exit status 1: some were refused; the report says which, and why.
    """
    report = Report()
    pictures = list(_pictures(paths, name, report.refused))
    try:
        with progress("enrolling", len(pictures)) as advance:
            for batch in _batches(_samples(service, pictures, replace, report, advance)):
                _send(service, batch, report)
                advance(len(batch))
    except KeyboardInterrupt:
        show(as_json, vars(report), [*report.lines(), "Interrupted: start the same command again to go on."])
        raise SystemExit(INTERRUPTED) from None
    show(as_json, vars(report), report.lines())
    return not report.refused


def _pictures(
    paths: Iterable[Path], name: str | None, refused: dict[str, dict[str, str]]
) -> Iterator[Picture]:
    """Find the pictures in a stable order, each path once; folders that cannot be read are refused."""
    seen: set[str] = set()
    for named in paths:
        files = [named] if named.is_file() else sorted(_files_below(named, refused))
        if not files:
            raise click.BadParameter(f"there are no pictures in {named}.")
        for file in files:
            alone = file.parent == named or file == named
            path = file.name if file == named else file.relative_to(named).as_posix()
            if path in seen:
                raise click.BadParameter(
                    f"two pictures have the path {path}; enrol the folders that they lie in one by one."
                )
            seen.add(path)
            person = name or (file.stem if alone else file.parent.name)
            if _is_text(path) and _is_text(person):
                # File systems write the same name in several ways: macOS takes letters and accents apart.
                yield Picture(path, unicodedata.normalize("NFC", person).strip(), file)
            else:
                refused[path] = {"code": "file", "detail": "The name is not valid UTF-8."}


def _is_text(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _files_below(folder: Path, refused: dict[str, dict[str, str]]) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        refused[str(error.filename)] = error_of(error)

    for parent, _, files in os.walk(folder, onerror=refuse):
        yield from (Path(parent, file) for file in files if Path(file).suffix.lower() in SUFFIXES)


def _samples(
    service: Client,
    pictures: Iterable[Picture],
    replace: bool,
    report: Report,
    advance: Callable[[int], None],
) -> Iterator[Sample]:
    """Read the pictures that are to be sent; the report has the others."""
    enrolled = cache(lambda person: _enrolled(service, person))
    seen: dict[bytes, str] = {}
    for picture in pictures:
        try:
            data = picture.file.read_bytes()
        except OSError as e:
            report.refused[picture.path] = error_of(e)
            advance(1)
            continue
        first = seen.setdefault(hashlib.sha256(data).digest(), picture.path)
        sample_id = enrolled(picture.person).get(picture.path)
        if sample_id and not replace:
            report.already.append(picture.path)
        elif first != picture.path:
            report.duplicates[picture.path] = first
        else:
            yield {
                "id": sample_id or str(uuid.uuid4()),
                "name": picture.person,
                "picture": data,
                "metadata": {"path": picture.path},
            }
            continue
        advance(1)


def _enrolled(service: Client, person: str) -> dict[str, str]:
    """Return the ids of a person's samples by path."""
    try:
        samples = list(service.samples(name=person))
    except ServiceError as e:
        if e.code in ONE_PICTURES_FAULT:
            return {}  # it is refused as a name, and so will its pictures be
        raise
    return {_path(sample): sample["id"] for sample in samples}


def _path(sample: Sample) -> str:
    """Return where a sample came from; before 1.0.0 that was its id."""
    metadata = sample["metadata"]
    path = metadata.get("path") if isinstance(metadata, dict) else None
    return path if isinstance(path, str) else sample["id"]


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    batch: list[Sample] = []
    for sample in samples:
        size = sum(len(other["picture"]) for other in [*batch, sample])
        if batch and (len(batch) == BATCH or size > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _send(service: Client, batch: list[Sample], report: Report) -> None:
    """Enrol a batch. If one picture makes the service refuse all of them, each is sent alone."""
    path_of = {sample["id"]: sample["metadata"]["path"] for sample in batch}
    try:
        answer = service.enrol_all(batch)
    except ServiceError as e:
        if e.code not in ONE_PICTURES_FAULT:
            raise
        if len(batch) == 1:
            report.refused[batch[0]["metadata"]["path"]] = error_of(e)
        else:
            for sample in batch:
                _send(service, [sample], report)
        return
    report.enrolled += [path_of[sample_id] for sample_id in answer["success"]]
    report.refused |= {path_of[sample_id]: error for sample_id, error in answer["errors"].items()}
