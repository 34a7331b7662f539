"""Opens the gallery for a command, or says why that fails and exits."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser

import click

from recognition.audit import Audit
from recognition.cli.session import UNAVAILABLE, fail
from recognition.config import Settings
from recognition.errors import GalleryUnavailable
from recognition.gallery import NO_GALLERY, Gallery, open_gallery, shown
from serving.errors import Failure
from serving.request_id import caller


def open_named_gallery(settings: Settings, *, create: bool, migrate: bool = True) -> Gallery:
    """Open the gallery of the settings, and name it on stderr.

    create: make it where there is none. migrate: bring older tables up to date, or else refuse them.

    Raises:
        SystemExit: with UNAVAILABLE, where it cannot be opened, or is not there and is not to be made.
    """
    with _failing():
        return _opened(settings, create=create, migrate=migrate)


def gallery_there(settings: Settings) -> Gallery | None:
    """Do the same, but make nothing, and return None where there is none.

    Raises:
        SystemExit: with UNAVAILABLE, where it cannot be opened.
    """
    with _failing():
        try:
            return _opened(settings, create=False)
        except GalleryUnavailable as e:
            if not e.detail.startswith(NO_GALLERY):
                raise
            return None


def _opened(settings: Settings, *, create: bool, migrate: bool = True) -> Gallery:
    audit = Audit(settings.audit_log, reads=settings.audit_reads)
    caller.set(who())
    click.echo(f"gallery: {shown(settings.database_url)}", err=True)
    audit.check()
    return open_gallery(
        settings.database_url,
        settings.gallery_lock_timeout_s,
        settings.gallery_ef_search,
        key=settings.gallery_key.get_secret_value() if settings.gallery_key else None,
        index=settings.gallery_index,
        index_token=settings.index_token,
        halfvec=settings.gallery_halfvec,
        audit=audit,
        create=create,
        migrate=migrate,
    )


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except Failure as e:
        cause = str(e.__cause__ or "").partition("\n")[0]  # what the driver says; the rest is the statement
        fail(UNAVAILABLE, {"code": e.code, "detail": f"{e.detail} {cause}".rstrip()})
    except OSError as e:  # the folder is read-only
        fail(UNAVAILABLE, {"code": "gallery_unavailable", "detail": str(e)})


def who() -> str:
    """Name the user of this process for the audit log."""
    try:
        return f"command of {getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"command of uid {os.getuid()}"
