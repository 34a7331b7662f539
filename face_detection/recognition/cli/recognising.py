"""What `recognise` does with folders: who is in each picture, as text, CSV or JSON, and in sidecars."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from recognition.archive.entries import NO_PICTURE, File, Outcome, Refused, Seen
from recognition.archive.finding import of_faces
from recognition.archive.index import Index
from recognition.archive.sidecar_files import Naming, sidecar_of, write_sidecar
from recognition.archive.sidecars import NotXmp, region, stored
from recognition.archive.updating import FILES_AT_ONCE, chunks
from recognition.archive.walking import files_below, read
from recognition.cli import archives
from recognition.cli.archives import Options, Workshop
from recognition.cli.local import Parts, parts_of
from recognition.cli.pace import paced
from recognition.cli.session import cell, error_of, opened_as_text, printable, show
from recognition.client import Client, ServiceError
from recognition.enrolling import ahead
from recognition.faces import Search
from recognition.results import Recognition
from recognition.web import render, wire

# At once, to a running service: two at work, as MAX_RUNNING has it, and the next ones on their way.
REQUESTS = 4
MOST_BYTES = 2**28  # of a file that is sent; the service says how much it takes
PICTURES_TOGETHER = 32  # whose faces the gallery is asked for in one search
COLUMNS = (
    "picture",
    "face",
    "name",
    "person",
    "id",
    "distance",
    "false_match",
    "quality",
    "confidence",
    "bbox",
    "error",
)

Value = dict[str, Any]  # of a picture: `picture`, and `faces` or `error`, as the service has them
Named = tuple[bytes, str]  # the absolute path of a file or a folder, and as it was named


@dataclass
class Sidecars:
    """Writes sidecars, and counts them.

    naming: None: none is written.
    written: how many were changed; refused: why others could not be, by the picture.
    """

    naming: Naming | None
    written: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    _last: tuple[bytes, set[bytes]] = (b"", set())  # a folder, and those of its sidecars that are done

    def write(self, shown: str, seen: Seen, recognitions: Sequence[Recognition]) -> None:
        """Write the sidecar of a picture."""
        if self.naming is None:
            return
        picture = seen.file.path
        path = sidecar_of(picture, self.naming)
        folder, _, _ = path.rpartition(b"/")
        if self._last[0] != folder:
            self._last = folder, set()
        done = self._last[1]
        if path in done:
            self.refused[shown] = "Another picture has the same sidecar."
            return
        done.add(path)
        size = seen.width, seen.height, seen.orientation
        regions = [
            region(best.name, best.person or "", each.face.box, *size)
            for each in recognitions
            for best in [match.sample for match in each.matches[:1]]
        ]
        try:
            self.written += write_sidecar(path, picture, regions, stored(*size))
        except NotXmp as e:
            self.refused[shown] = f"Its sidecar stays as it is: {e}"
        except OSError as e:
            self.refused[shown] = f"Its sidecar cannot be written: {e.strerror}"


@dataclass(frozen=True, slots=True)
class Wishes:
    """How people are looked for, and what becomes of it.

    max_distance, max_false_match: as in Search.
    top_k: how many people each face is compared with are told; None: none.
    csv_file, json_file: where it is written; None: it is printed.
    naming: of sidecars; None: none is written.
    """

    max_distance: float | None
    max_false_match: float | None
    top_k: int | None
    csv_file: Path | None
    json_file: Path | None
    naming: Naming | None
    options: Options


def recognise_all(
    service: Client,
    named: Sequence[Path],
    wishes: Wishes,
    lines_of: Callable[[Value], list[str]],
    *,
    as_json: bool,
) -> bool:
    """Say who is in the pictures of folders and files. Returns whether all could be read.

    service: a running one, or what `open_client` has opened in this process, which is asked for vectors.
    """
    parts = parts_of(service)
    if parts is None and wishes.naming is not None:
        raise click.UsageError("--xmp works without --host: a service does not tell how a picture is stored.")
    roots = [(archives.path_of(path), str(path)) for path in named]
    sidecars = Sidecars(wishes.naming)
    complete = True
    to_file = wishes.csv_file is not None or wishes.json_file is not None
    with archives.failing(), ExitStack() as stack:
        values = stack.enter_context(_values(service, parts, roots, wishes, sidecars))
        write = stack.enter_context(_writer(wishes, lines_of, as_json=as_json))
        total = sum(1 for root, _ in roots for _ in files_below(root)) if to_file else 0
        advance = stack.enter_context(paced("recognising", total))
        pictures = known = 0
        for value in values:
            advance(1)
            if value is None:
                continue
            pictures += 1
            complete = complete and "error" not in value
            known += any(face["id"] for face in value.get("faces", []))
            write(value)
    if to_file:
        click.echo(f"{pictures} pictures, {known} with somebody who is known.", err=True)
    if wishes.naming is not None:
        click.echo(f"{sidecars.written} sidecars written or changed.", err=True)
    for shown, reason in sidecars.refused.items():
        click.echo(printable(f"{shown}: {reason}"), err=True)
    return complete and not sidecars.refused


@contextmanager
def _values(
    service: Client, parts: Parts | None, roots: Sequence[Named], wishes: Wishes, sidecars: Sidecars
) -> Iterator[Iterator[Value | None]]:
    """Give what is said of each file, in their order; None: of what is no picture, in a folder."""
    if parts is None:
        with ThreadPoolExecutor(REQUESTS) as pool, closing(_asked(service, pool, roots, wishes)) as values:
            yield values
        return
    with archives.workshop(parts, wishes.options) as here, ExitStack() as stack:
        file = wishes.options.index or archives.file_of(here.settings)
        kept = None
        if wishes.options.small_faces is None and (wishes.options.index is not None or file.exists()):
            kept = stack.enter_context(archives.opened(here.settings, file))
        yield stack.enter_context(closing(_recognised_here(here, kept, roots, wishes, sidecars)))


def _files(roots: Sequence[Named]) -> Iterator[tuple[File | Refused, str, bool]]:
    """Yield files, as they are shown, and whether they were named themselves."""
    for root, name in roots:
        for each in files_below(root):
            path = (each.file if isinstance(each, Refused) else each).path
            chosen = path == root
            shown = name if chosen else str(Path(name) / os.fsdecode(path[len(root) :].lstrip(b"/")))
            yield each, shown, chosen


def _recognised_here(
    here: Workshop, kept: Index | None, roots: Sequence[Named], wishes: Wishes, sidecars: Sidecars
) -> Generator[Value | None, None, None]:
    search = Search(wishes.max_distance, wishes.top_k or 1, max_false_match=wishes.max_false_match)
    identify = archives.identifying(here, search)
    options = wire.RecogniseOptions(include_unknown=True, top_k=wishes.top_k)
    for some in chunks(_outcomes(here, kept, roots), PICTURES_TOGETHER):
        faces = [face for outcome, *_ in some if isinstance(outcome, Seen) for face in outcome.faces]
        recognised = iter(identify(*of_faces(faces)) if faces else ())
        for outcome, shown, chosen in some:
            if isinstance(outcome, Refused):
                yield _refused(outcome, shown, chosen=chosen)
                continue
            own = [next(recognised) for _ in outcome.faces]
            sidecars.write(shown, outcome, own)
            yield {"picture": shown, "faces": render.recognition_answer(own, options)}


def _outcomes(
    here: Workshop, kept: Index | None, roots: Sequence[Named]
) -> Iterator[tuple[Outcome, str, bool]]:
    """See what is in files, or take it from the index, where they are unchanged since."""
    for some in chunks(_files(roots), FILES_AT_ONCE):
        files = [each for each, *_ in some if isinstance(each, File)]
        known = kept.known(files, here.fingerprint) if kept else {}
        new = here.looker(each for each in files if each.path not in known)
        for each, shown, chosen in some:
            if isinstance(each, Refused):
                yield each, shown, chosen
            else:
                yield known.get(each.path) or next(new), shown, chosen


def _asked(
    service: Client, pool: ThreadPoolExecutor, roots: Sequence[Named], wishes: Wishes
) -> Generator[Value | None, None, None]:
    """Ask a running service."""
    options = {
        "min_distance": wishes.max_distance,
        "max_false_match": wishes.max_false_match,
        "small_faces": wishes.options.small_faces,
        "top_k": wishes.top_k,
        "include_unknown": True,
    }

    def ask(named: tuple[File | Refused, str, bool]) -> Value | None:
        file, shown, chosen = named
        data = file if isinstance(file, Refused) else read(file, MOST_BYTES)
        if isinstance(data, Refused):
            return _refused(data, shown, chosen=chosen)
        warnings: list[str] = []
        try:
            faces = service.recognise(data, warnings=warnings, **options)
        except ServiceError as e:
            if e.code not in ONE_PICTURES_FAULT:
                raise
            return {"picture": shown, "error": error_of(e)}
        return {"picture": shown, "faces": faces, **({"warnings": warnings} if warnings else {})}

    yield from ahead(pool, ask, _files(roots), 2 * REQUESTS)


# What is one picture's fault; everything else would fail for the next one, too.
ONE_PICTURES_FAULT = {"invalid_image", "image_too_large", "body_too_large", "no_face"}


def _refused(outcome: Refused, shown: str, *, chosen: bool) -> Value | None:
    if outcome.code == NO_PICTURE and not chosen:
        return None
    code = "invalid_image" if outcome.code == NO_PICTURE else outcome.code
    return {"picture": shown, "error": {"code": code, "detail": outcome.detail}}


@contextmanager
def _writer(
    wishes: Wishes, lines_of: Callable[[Value], list[str]], *, as_json: bool
) -> Iterator[Callable[[Value], None]]:
    """Give what writes what is said of a picture to where it is wanted."""
    with ExitStack() as stack:
        writes: list[Callable[[Value], object]] = []
        if wishes.csv_file is not None:
            table = csv.writer(stack.enter_context(opened_as_text(wishes.csv_file)), lineterminator="\n")
            table.writerow(COLUMNS)
            writes.append(lambda value: table.writerows(_rows(value)))
        if wishes.json_file is not None:
            writes.append(stack.enter_context(_json(wishes.json_file)))
        if not writes:
            writes.append(lambda value: show(as_json, value, lines_of(value)))

        def write(value: Value) -> None:
            for each in writes:
                each(value)

        yield write


@contextmanager
def _json(file: Path) -> Iterator[Callable[[Value], None]]:
    """Write an array, or, into a file that ends in `l`, one object on each line."""
    lines = file.suffix == ".jsonl"
    with opened_as_text(file) as text:
        before = "" if lines else "["

        def write(value: Value) -> None:
            nonlocal before
            text.write(f"{before}{json.dumps(value)}" + ("\n" if lines else ""))
            before = "" if lines else ",\n"

        yield write
        if not lines:
            text.write("[]\n" if before == "[" else "]\n")


def _rows(value: Value) -> Iterator[list[str]]:
    """Render a picture as rows: one for each face, or one that says that there is none, or why."""
    picture = cell(value["picture"])
    if "error" in value:
        yield [picture, *[""] * (len(COLUMNS) - 2), cell(value["error"]["detail"])]
        return
    for number, face in enumerate(value["faces"], 1):
        said = {**face, "picture": picture, "face": number, "error": ""}
        yield [
            picture if name == "picture" else "" if said[name] is None else cell(str(said[name]))
            for name in COLUMNS
        ]
    if not value["faces"]:
        yield [picture, *[""] * (len(COLUMNS) - 1)]
