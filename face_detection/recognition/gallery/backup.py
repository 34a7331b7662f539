"""A copy of a SQLite database, with all its galleries, made while services go on writing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from recognition.errors import GalleryUnavailable
from recognition.gallery.database import is_full
from recognition.gallery.galleries import names
from recognition.gallery.portable import PART
from recognition.gallery.store import Gallery
from serving.errors import NotFound


def backup(gallery: Gallery, file: Path) -> int:
    """Copy the database as it is at one moment, and check the copy.

    Args:
        gallery: in a SQLite file.
        file: must not be there, and is when all is done; until then it has `.part` behind its name.

    Returns:
        The number of samples in the copy.

    Raises:
        NotFound: there is no sample to copy in any of its galleries.
        AuditUnavailable: the audit log cannot be written.
        GalleryUnavailable: the database, or the copy, cannot be read or written.
        OSError: the file is there already, its unfinished copy is, or it cannot be made.
    """
    if file.exists():
        raise FileExistsError(f"{file} is there already; a backup overwrites nothing.")
    for name in names(gallery):
        gallery.of(name).remove_expired()
    samples = gallery.total()
    if samples == 0:
        raise NotFound("The gallery is empty: there is nothing to back up.")
    with gallery.audit.outcomes() as begin:
        begin("backup", samples)
        return _copy(gallery.engine, file)


def _copy(engine: sa.Engine, file: Path) -> int:
    part = file.with_name(file.name + PART)
    part.touch(mode=0o600, exist_ok=False)  # faces are nobody else's business
    try:
        with closing(engine.raw_connection()) as borrowed, closing(sqlite3.connect(part)) as copy:
            source: Any = borrowed.driver_connection
            source.backup(copy)  # in one step: one state, and writers go on in the write-ahead log
            copy.execute("PRAGMA journal_mode = DELETE")  # so that it is one file, whole by itself
            faults = [line for (line,) in copy.execute("PRAGMA integrity_check") if line != "ok"]
            if faults:
                raise GalleryUnavailable(f"The copy is damaged: {faults[0]}")
            (count,) = copy.execute("SELECT count(*) FROM samples").fetchone()
        file.touch(mode=0o600, exist_ok=False)  # nobody has made it meanwhile
        part.replace(file)
    except sa.exc.SQLAlchemyError as e:
        raise GalleryUnavailable("The database cannot be copied.") from e
    except sqlite3.Error as e:
        full = "The copy's disk is full."
        raise GalleryUnavailable(full if is_full(e, part) else "The database cannot be copied.") from e
    finally:
        part.unlink(missing_ok=True)
    return int(count)
