"""What `migrate-compreface` does: a source and the gallery opened, and one taken over into the other."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from recognition import client_keys
from recognition.app import decoding_here, load_decoder, load_detector, make_enroller, make_sight
from recognition.cli.compreface import tell_when
from recognition.cli.local import load_embedder, read_embedding_settings
from recognition.cli.opening import gallery_there, open_named_gallery
from recognition.cli.session import file_error, progress, read_settings
from recognition.config import Settings
from recognition.gallery import Gallery, services
from recognition.takeover.database import Database
from recognition.takeover.dump import Dump
from recognition.takeover.report import Report
from recognition.takeover.rest import Rest
from recognition.takeover.source import Service, Source, SourceFailure
from recognition.takeover.taking import Enrol, Wishes, take_over
from serving.errors import Failure
from serving.models import prepare

PASSWORD = "COMPREFACE_PASSWORD"  # the variable
ADDRESS = re.compile(r"https?://", re.IGNORECASE)
DATABASE = re.compile(r"postgres(ql)?(\+psycopg)?://", re.IGNORECASE)
DEFAULT_NAME = "compreface"  # of a service that is known by its key alone


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for."""

    source: str
    keys: tuple[str, ...]
    email: str | None
    only: frozenset[str]
    into: str | None
    take_all: bool
    guessable: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of it. error: what it ended with before its time."""

    report: Report
    error: dict[str, str] | None = None
    interrupted: bool = False


def migrated(asked: Request) -> Outcome:
    """Take over what is asked for, and tell what became of it, also where it does not come to its end.

    Raises:
        SystemExit: it did not even begin.
    """
    if asked.into is not None and client_keys.HAS_GALLERY.fullmatch(asked.into) is None:
        raise click.UsageError(
            "--gallery: up to 64 letters, digits and . _ -, of which . and - do not begin it."
        )
    settings = read_settings()
    report = Report(dry=asked.dry_run)
    fixed = settings.compreface_services
    wishes = Wishes(asked.only, asked.into, asked.take_all, asked.guessable, fixed)
    with ExitStack() as stack:
        try:
            source = _source(asked, settings.max_body_bytes)
            stack.callback(source.close)
            gallery, enrol = _target(settings, stack, dry_run=asked.dry_run)
            none_yet = gallery is not None and not services.listed(gallery)
            take_over(source, gallery, enrol, wishes, report, lambda total: _bar(stack, total))
        except SourceFailure as e:
            return Outcome(report, {"code": "source", "detail": e.detail})
        except Failure as e:
            return Outcome(report, {"code": e.code, "detail": e.detail})
        except OSError as e:
            return Outcome(report, file_error(e))
        except KeyboardInterrupt:
            return Outcome(report, interrupted=True)
    if not asked.dry_run and any(each.new for each in report.services.values()):
        tell_when(settings, is_first=none_yet)
    return Outcome(report)


def _source(asked: Request, max_picture_bytes: int) -> Source:
    """Open what is taken over.

    Raises:
        SourceFailure, OSError.
    """
    if ADDRESS.match(asked.source):
        if bool(asked.keys) == (asked.email is not None):
            raise click.UsageError("Of an address, say either --key or --email.")
        source = Rest(asked.source, [_service(key) for key in asked.keys], max_picture_bytes)
        if asked.email is not None:
            source.log_in(
                asked.email, os.environ.get(PASSWORD) or click.prompt("Password", hide_input=True, err=True)
            )
        return source
    if DATABASE.match(asked.source):
        return Database(DATABASE.sub("postgresql://", asked.source), max_picture_bytes)
    return Dump(Path(asked.source), max_picture_bytes)


def _service(text: str) -> Service:
    name, _, key = text.rpartition("=")
    try:
        client_keys.digest(key)
    except ValueError:
        raise click.UsageError("A --key is no UUID.") from None
    return Service(name or DEFAULT_NAME, "recognition", key)


def _target(settings: Settings, stack: ExitStack, *, dry_run: bool) -> tuple[Gallery | None, Enrol | None]:
    """Open the gallery, and load what enrols; for a dry run what there is of a gallery, and nothing more."""
    gallery = gallery_there(settings) if dry_run else open_named_gallery(settings, create=True)
    if gallery is not None:
        stack.callback(gallery.close)
    if dry_run:
        return gallery, None
    embedding_settings = read_embedding_settings()
    prepare(settings.models_dir)
    if (decoder := load_decoder(settings)) is not None:
        stack.callback(decoder.close)
    sight = make_sight(
        settings,
        decoder or decoding_here(settings),
        load_detector(settings),
        load_embedder(embedding_settings),
    )
    return gallery, make_enroller(settings, sight)


def _bar(stack: ExitStack, total: int) -> Callable[[int], object]:
    return stack.enter_context(progress("taking over", total))
