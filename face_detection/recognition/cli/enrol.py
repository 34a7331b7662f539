"""`enrol`: pictures of folders and files become samples."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import click

from recognition.cli.folders import Picture, pictures_in, read
from recognition.cli.recognise import SMALL_FACES
from recognition.cli.service import service_command
from recognition.cli.session import FAILED, INTERRUPTED, error_of, fail, progress, show
from recognition.client import Client, ServiceError

BATCH = 16  # pictures in one request
BATCH_BYTES = 16 * 2**20  # in one request, before base64 adds a third: far below MAX_BODY_BYTES
ONE_PICTURES_FAULT = {"invalid_request", "body_too_large"}  # for which a whole request is refused

Sample = dict[str, Any]  # as Client.enrol_all takes it


@dataclass(frozen=True)
class Known:
    """A person's samples: ids by the SHA-256 of the file, and by its path where no two have the same.

    undigested: paths of samples that lack a SHA-256, as those of earlier versions and of the web page do.
    """

    by_digest: dict[str, str]
    by_path: dict[str, str]
    undigested: set[str]


@dataclass(frozen=True)
class Sending:
    """A sample to be sent, and what is shown of its file."""

    shown: str
    sample: Sample


@dataclass
class Report:
    """What became of each picture, by path.

    already_by_path: those of `already` of which only the path says so; see `Known`.
    """

    enrolled: list[str] = field(default_factory=list)
    already: list[str] = field(default_factory=list)
    already_by_path: list[str] = field(default_factory=list)
    duplicates: dict[str, str] = field(default_factory=dict)  # and of which
    refused: dict[str, dict[str, Any]] = field(default_factory=dict)
    warnings: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # of those enrolled

    def value(self) -> dict[str, Any]:
        """Render it for programs; what only paths tell, and warnings, are the exception."""
        rare = ("already_by_path", "warnings")
        return {name: found for name, found in vars(self).items() if found or name not in rare}

    def lines(self) -> Iterator[str]:
        """Render it as text."""
        yield f"{len(self.enrolled)} enrolled, {len(self.already)} already there, " + (
            f"{len(self.duplicates)} duplicates, {len(self.refused)} refused."
        )
        for path in self.already_by_path:
            yield f"  {path}: already there, by its path alone; --replace sends it if it is another picture"
        for path, original in self.duplicates.items():
            yield f"  {path}: the same bytes as {original}"
        for path, error in self.refused.items():
            yield f"  {path}: {error['detail']}"
        for path, warnings in self.warnings.items():
            for warning in warnings:
                yield f"  {path}: enrolled, but: {warning['detail']}"


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--name", help="The name of the person in all of them.")
@click.option("--person", metavar="ID", help="The id of that person, as `people list` shows it.")
@click.option(
    "--replace",
    is_flag=True,
    help="Send pictures again that are enrolled already; one that has changed replaces that of its path.",
)
@click.option(
    "--one-face", is_flag=True, help="Refuse pictures with several faces; default: take the largest."
)
@click.option("--accept-low-quality", is_flag=True, help="Enrol even faces that are too poor to recognise.")
@click.option(
    "--expires-at",
    metavar="TIME",
    help="Gone from then on: ISO 8601 with its offset, or never; default: as DEFAULT_EXPIRES_DAYS says.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Refuse pictures of which there is anything to warn, such as that somebody else is similar.",
)
@SMALL_FACES
@service_command(gallery="new")
def enrol(
    service: Client,
    as_json: bool,
    paths: tuple[Path, ...],
    name: str | None,
    person: str | None,
    replace: bool,
    one_face: bool,
    accept_low_quality: bool,
    expires_at: str | None,
    strict: bool,
    small_faces: bool | None,
) -> bool:
    """Enrol the pictures of folders and files.

    A person is named after the folder of the picture, or after the file if it lies in no folder below the one
    that you name. What is a picture is told by its bytes, whatever its file is called. Ids are random; the
    path and the SHA-256 of the file stand in the sample's metadata.

    Files are skipped whose bytes are enrolled under this name already, wherever they lay: an interrupted
    enrolment can be started again, and a folder can be moved. Samples without a SHA-256, of earlier versions
    and of the web page, are told by their paths. Of several files with the same bytes only the first is
    enrolled.

    Exit status 1: some were refused, or are no pictures; the report says which, and why.
    """
    if name is not None and person is not None:
        raise click.UsageError("Give one of --name and --person.")
    report = Report()
    options: dict[str, Any] = {"face": "only"} if one_face else {}
    if person is not None:
        name, options["person"] = _name_of(service, person), person
    pictures = list(pictures_in(paths, name, report.refused))
    options |= {"accept_low_quality": True} if accept_low_quality else {}
    options |= {"expires_at": expires_at} if expires_at is not None else {}
    options |= {"strict": True} if strict else {}
    options |= {"small_faces": True} if small_faces else {}
    try:
        with progress("enrolling", len(pictures)) as advance:
            for batch in _batches(_samples(service, pictures, person, replace, report, advance)):
                _send(service, batch, options, report)
                advance(len(batch))
    except KeyboardInterrupt:
        show(
            as_json, report.value(), [*report.lines(), "Interrupted: start the same command again to go on."]
        )
        raise SystemExit(INTERRUPTED) from None
    show(as_json, report.value(), report.lines())
    return not report.refused


def _samples(
    service: Client,
    pictures: Sequence[Picture],
    person: str | None,
    replace: bool,
    report: Report,
    advance: Callable[[int], None],
) -> Iterator[Sending]:
    """Read the pictures that are to be sent; the report has the others."""
    known_of = cache(lambda name: _known(service, {"name": name} if person is None else {"person": person}))
    seen: dict[str, str] = {}  # what is shown of the first file, by digest
    sent: set[str] = set()  # ids
    alike = Counter((picture.person, picture.path) for picture in pictures)
    for picture in pictures:
        try:
            data, reason = read(picture)
        except OSError as e:
            report.refused[picture.shown] = error_of(e)
            advance(1)
            continue
        if reason is not None:
            if reason:
                report.refused[picture.shown] = {"code": "invalid_image", "detail": reason}
            advance(1)
            continue
        digest = hashlib.sha256(data).hexdigest()
        first = seen.setdefault(digest, picture.shown)
        known = known_of(picture.person)
        if not replace and digest not in known.by_digest and picture.path in known.undigested:
            report.already.append(picture.shown)
            report.already_by_path.append(picture.shown)
        elif first != picture.shown:
            report.duplicates[picture.shown] = first
        elif not replace and digest in known.by_digest:
            report.already.append(picture.shown)
        else:
            sample_id = known.by_digest.get(digest)
            # Of several pictures with one path nobody knows which of them the sample was made of.
            if not sample_id and replace and alike[picture.person, picture.path] == 1:
                sample_id = known.by_path.get(picture.path)
            if not sample_id or sample_id in sent:
                sample_id = str(uuid.uuid4())
            sent.add(sample_id)
            yield Sending(
                picture.shown,
                {
                    "id": sample_id,
                    "name": picture.person,
                    "picture": data,
                    "metadata": {"path": picture.path, "sha256": digest},
                },
            )
            continue
        advance(1)


def _name_of(service: Client, person: str) -> str:
    try:
        return str(service.person(person)["name"])
    except ServiceError as e:
        if e.code != "not_found":
            raise
        fail(FAILED, error_of(e))


def _known(service: Client, whose: dict[str, str]) -> Known:
    """Look up the samples of a person, who is told by name or by id."""
    try:
        samples = list(service.samples(**whose))
    except ServiceError as e:
        if e.code in ONE_PICTURES_FAULT:
            return Known({}, {}, set())  # it is refused as a name, and so will its pictures be
        raise
    by_digest, by_path, undigested = {}, {}, set()
    alike = Counter(map(_path, samples))
    for sample in samples:
        if (digest := _digest(sample)) is not None:
            by_digest[digest] = sample["id"]
        else:
            undigested.add(_path(sample))
        if alike[_path(sample)] == 1:
            by_path[_path(sample)] = sample["id"]
    return Known(by_digest, by_path, undigested)


def _path(sample: Sample) -> str:
    """Return where a sample came from; before 1.0.0 that was its id."""
    path = _metadata(sample).get("path")
    return path if isinstance(path, str) else sample["id"]


def _digest(sample: Sample) -> str | None:
    digest = _metadata(sample).get("sha256")
    return digest if isinstance(digest, str) else None


def _metadata(sample: Sample) -> dict[str, Any]:
    metadata = sample["metadata"]
    return metadata if isinstance(metadata, dict) else {}


def _batches(sendings: Iterable[Sending]) -> Iterator[list[Sending]]:
    batch: list[Sending] = []
    for sending in sendings:
        size = sum(len(other.sample["picture"]) for other in [*batch, sending])
        if batch and (len(batch) == BATCH or size > BATCH_BYTES):
            yield batch
            batch = []
        batch.append(sending)
    if batch:
        yield batch


def _send(service: Client, batch: list[Sending], options: Sample, report: Report) -> None:
    """Enrol a batch, with these options. If one picture makes the service refuse all, each is sent alone."""
    shown = {sending.sample["id"]: sending.shown for sending in batch}
    try:
        answer = service.enrol_all([sending.sample | options for sending in batch])
    except ServiceError as e:
        if e.code not in ONE_PICTURES_FAULT:
            raise
        if len(batch) == 1:
            report.refused[batch[0].shown] = error_of(e)
        else:
            for sending in batch:
                _send(service, [sending], options, report)
        return
    report.enrolled += [shown[sample_id] for sample_id in answer["success"]]
    report.warnings |= {
        shown[sample_id]: seen["warnings"]
        for sample_id, seen in answer["samples"].items()
        if seen["warnings"]
    }
    report.refused |= {shown[sample_id]: error for sample_id, error in answer["errors"].items()}
