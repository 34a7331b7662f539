"""What `index` does: folders looked through in this process, and what is said of that."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from recognition.archive import parquet, updating
from recognition.archive.index import Index, Summary
from recognition.archive.updating import Look
from recognition.cli import workers
from recognition.cli.archives import Options, loaded, opened, path_of, workshop
from recognition.cli.opening import open_named_gallery
from recognition.cli.pace import paced
from recognition.cli.portraits import Enrolled, enrolling
from recognition.cli.session import INTERRUPTED, cell, opened_for_owner, printable, read_settings, show
from recognition.config import Settings
from recognition.gallery import Gallery
from recognition.seeing import fingerprint_of
from serving.model import Model

SHOWN = 3  # files of each reason for a refusal


@dataclass(frozen=True, slots=True)
class Outputs:
    """What `index` makes beside the index.

    refused: a file of what was refused; parquet: a folder of files of everything; None: none.
    enrol: whether the largest face of each picture is enrolled.
    """

    refused: Path | None = None
    parquet: Path | None = None
    enrol: bool = False


def index(options: Options, folders: Sequence[str], outputs: Outputs, *, again: bool, as_json: bool) -> bool:
    """Bring the index up to date with folders, and report. Returns whether nothing was refused."""
    roots = updating.outermost(map(path_of, folders))
    if outputs.parquet is not None:
        parquet.prepare(outputs.parquet)
    with _looking(options, portraits=outputs.enrol) as (settings, gallery, model, look):
        fingerprint = fingerprint_of(model)
        enrolled = Enrolled()
        if outputs.enrol:
            look = enrolling(look, gallery, fingerprint, settings, roots, enrolled)
        with opened(settings, options.index, create=True) as kept, kept.writing_alone():
            click.echo(f"index: {printable(str(kept.file))}", err=True)
            due = updating.pending(kept, roots, fingerprint, again=again)
            interrupted, gone = False, 0
            try:
                with paced("looking at files", due.waiting) as advance:
                    gone = updating.update(kept, due, look, fingerprint, again=again, advance=advance)
            except KeyboardInterrupt:
                interrupted = True
            summary = kept.summary(None, roots)
            if outputs.refused is not None:
                _write_refusals(kept, roots, outputs.refused)
            files = sum(due.files.values())
            value = {
                "files": files,
                "looked_at": due.waiting,
                "removed": gone,
                **_value_of(summary),
            }
            lines = [
                f"{files} files: {due.waiting} were new or had changed, {gone} have gone.",
                _line_of(summary),
                *_lines_of_refusals(kept, roots, summary),
            ]
            if outputs.enrol:
                value |= enrolled.value()
                lines.append(enrolled.line())
            if outputs.parquet is not None and not interrupted:
                value["rows"] = parquet.write(kept, roots, fingerprint, model.dimension, outputs.parquet)
                lines.append(f"{value['rows']} rows in {outputs.parquet}.")
    if interrupted:
        del value["looked_at"], value["removed"]
        stopped = "Interrupted: start the same command again to go on."
        show(as_json, value | {"interrupted": True}, [*lines[1:], stopped])
        sys.exit(INTERRUPTED)
    show(as_json, value, lines)
    return not summary.refused


@contextmanager
def _looking(options: Options, *, portraits: bool) -> Iterator[tuple[Settings, Gallery, Model, Look]]:
    """Open the gallery, and what sees faces with its model, in this process or in workers of Ray."""
    if options.ray is None:
        with loaded("new") as parts, workshop(parts, options, portraits=portraits) as here:
            yield here.settings, here.gallery, here.model, here.looker
        return
    settings = read_settings()
    with closing(open_named_gallery(settings, create=True)) as every:
        gallery = every if options.gallery is None else every.of(options.gallery)
        gallery.check_there()
        name = gallery.model_name
        wish = workers.wish(settings, name, options.small_faces, portraits=portraits)
        with workers.seeing(options.ray, options.jobs, settings, wish) as (model, look):
            yield settings, gallery.of_model(name), model, look


def describe(file: Path | None, *, as_json: bool) -> None:
    """Say what is in an index."""
    with opened(read_settings(), file) as kept:
        summary = kept.summary(None)
        size = kept.file.stat().st_size
    value = {"index": str(kept.file), "bytes": size, **_value_of(summary)}
    show(as_json, value, [f"{kept.file}, {size / 2**20:.1f} MB", _line_of(summary)])


def forget(file: Path | None, folders: Sequence[str], *, as_json: bool) -> None:
    """Erase what an index has of folders."""
    with opened(read_settings(), file) as kept, kept.writing_alone():
        number = sum(kept.forget(path_of(folder)) for folder in folders)
    show(as_json, {"forgotten": number}, [f"{number} files forgotten."])


def _value_of(summary: Summary) -> dict[str, Any]:
    refused = [
        {"code": code, "detail": detail, "files": number}
        for (code, detail), number in summary.refused.most_common()
    ]
    return {
        "pictures": summary.pictures,
        "faces": summary.faces,
        "others": summary.others,
        "refused": refused,
    }


def _line_of(summary: Summary) -> str:
    return (
        f"{summary.pictures} pictures with {summary.faces} faces in the index, "
        f"{summary.refused.total()} refused, {summary.others} other files."
    )


def _lines_of_refusals(kept: Index, roots: Sequence[bytes], summary: Summary) -> Iterator[str]:
    if not summary.refused:
        return
    examples: dict[tuple[str, str], list[str]] = {reason: [] for reason in summary.refused}
    missing = sum(min(SHOWN, number) for number in summary.refused.values())
    for each in kept.refusals(roots):
        some = examples.get((each.code, each.detail), [])
        if len(some) < SHOWN:
            some.append(os.fsdecode(each.file.path))
            missing -= 1
            if not missing:
                break
    for (code, detail), number in summary.refused.most_common():
        yield f"  {number} refused: {detail}"
        yield from (f"    {path}" for path in examples[code, detail])
        if number > SHOWN:
            yield f"    and {number - SHOWN} more"


def _write_refusals(kept: Index, roots: Sequence[bytes], file: Path) -> None:
    with opened_for_owner(file) as stream, io.TextIOWrapper(stream, "utf-8", newline="") as text:
        table = csv.writer(text, lineterminator="\n")
        table.writerow(("code", "detail", "picture"))
        for each in kept.refusals(roots):
            table.writerow((each.code, each.detail, cell(os.fsdecode(each.file.path))))
