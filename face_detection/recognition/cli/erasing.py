"""What `gallery replay-erasures` does: erasures read from files, done again in each gallery, and told."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import datetime
from io import BufferedIOBase
from pathlib import Path

import click

from recognition.cli.session import FAILED, fail, read_settings, show
from recognition.gallery import Gallery
from recognition.gallery.erasures import Journal, read
from recognition.gallery.galleries import names
from recognition.gallery.replay import Replay, replay

# Of a sample whose lines do not decide.
UNCLEAR = "the files do not show whether its erasure was done, or whether it was enrolled anew"


def replayed(
    gallery: Gallery, files: Sequence[Path], since: datetime | None, *, dry_run: bool, as_json: bool
) -> bool:
    """Erase again what files say was erased, in all galleries of a database, and show what becomes of it.

    Args:
        gallery: one of the database.
        files: audit logs and receipts, maybe compressed; none: the audit log of the settings.
        since: UTC; what was erased before it is passed over.
        dry_run: erase nothing.
        as_json: show it for programs.

    Returns:
        Whether there are samples of which the files do not tell.

    Raises:
        GalleryUnavailable, AuditUnavailable: see `replay`; OSError: a file cannot be read.
    """
    unclear = False
    for name in names(gallery):
        journal = _journal_of(files or [_audit_log()], since, name)
        outcome = replay(gallery.of(name), journal, dry_run=dry_run)
        unclear |= bool(outcome.unclear)
        value = {"gallery": name, "dry_run": dry_run, **asdict(outcome), "unread_lines": journal.strange}
        show(as_json, value, _told(name, outcome, dry_run=dry_run, strange=journal.strange))
    return unclear


def _journal_of(files: Sequence[Path], since: datetime | None, name: str) -> Journal:
    try:
        with ExitStack() as opened:
            journal = read([opened.enter_context(_opened_log(file)) for file in files], since, name)
    except (EOFError, zlib.error):
        fail(FAILED, {"code": "file", "detail": "A compressed file is cut off or damaged."})
    if journal.until is None:
        fail(FAILED, {"code": "file", "detail": "There is no line of an audit log, and no receipt."})
    return journal


def _told(name: str, outcome: Replay, *, dry_run: bool, strange: int) -> list[str]:
    where = "" if name == "default" else f"{name}: "
    done = "would be erased" if dry_run else "erased"
    return [
        f"{where}{len(outcome.samples)} samples and {len(outcome.persons)} people {done}.",
        *([f"{outcome.faces} kept faces {done}."] if outcome.faces else []),
        *([f"{len(outcome.events)} events {done}."] if outcome.events else []),
        *([f"{len(outcome.stay)} samples stay: they were enrolled anew."] if outcome.stay else []),
        *(f"  {sample_id}: stays, though it may have to go; {UNCLEAR}" for sample_id in outcome.unclear),
        *([f"{strange} lines could not be read."] if strange and not where else []),
    ]


def _audit_log() -> Path:
    path = read_settings().audit_log
    if path is None or not path.is_file():
        raise click.UsageError("Name the audit log, or a file with receipts.")
    return path


def _opened_log(file: Path) -> BufferedIOBase:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")
