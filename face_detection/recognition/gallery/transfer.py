"""A gallery leaves as a portable file, and comes in from one; and what must always hold of its database."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from recognition.errors import GalleryModelMismatch, GalleryUnavailable
from recognition.gallery import portable
from recognition.gallery.atrest import dimension_of, vector_of
from recognition.gallery.database import transaction
from recognition.gallery.rows import state_of, unexpired
from recognition.gallery.store import Gallery
from recognition.gallery.tables import SAMPLE_COLUMNS, sample_of, samples, tombstones
from recognition.names import unnamed
from serving.errors import NotFound

log = logging.getLogger(__name__)

ROWS_AT_ONCE = 1000

# Opens the progress bar of one part of the work: its name, and how many samples it has, None if not known.
Progress = Callable[[str, int | None], AbstractContextManager[portable.Advance]]


class Imported(NamedTuple):
    """How many samples of a file were stored, how many were there already, and how many have no name.

    Of these the name could not be seen; they are called `unnamed (ID)`.
    """

    imported: int
    unchanged: int
    unnamed: int


def unseen(part: str, total: int | None) -> AbstractContextManager[portable.Advance]:
    """Show no progress."""
    return nullcontext(lambda samples: None)


def export(gallery: Gallery) -> Iterator[bytes]:
    """Render a gallery as a portable file, piece by piece, in the memory that a thousand samples take.

    The export begins at once, and ends, for the audit log too, with the last piece or when it is closed.

    Raises:
        NotFound: it is empty; at once.
        AuditUnavailable: the audit log cannot be written; at once.
        GalleryUnavailable: the database cannot be reached or is locked; at once, or between two pieces.
    """

    def pieces() -> Iterator[bytes]:
        of = header(gallery.engine)
        with gallery.audit.outcomes() as begin:
            begin("export", gallery.count())
            yield b""  # taken below: only a generator that has started notices that it is closed
            page = partial(records, gallery.engine, of, expired_by=gallery.moment())
            yield from (piece for piece, _ in portable.pieces(of, page))

    started = pieces()
    next(started)
    return started


def export_to(gallery: Gallery, file: Path, progress: Progress = unseen) -> int:
    """Write a gallery as a portable file; a broken-off export of the same model goes on where it stopped.

    Args:
        gallery: whose samples are written.
        file: is there when all is written; until then it has `.part` behind its name.
        progress: shows it.

    Returns:
        The number of samples in the file.

    Raises:
        NotFound: the gallery is empty.
        AuditUnavailable: the audit log cannot be written.
        GalleryUnavailable: the database cannot be reached or is locked.
        DamagedGallery: the broken-off export is of another model.
        OSError: the file cannot be written.
    """
    of, total = header(gallery.engine), gallery.count()
    with gallery.audit.outcomes() as begin, progress("exporting", total) as advance:
        begin("export", total)
        page = partial(records, gallery.engine, of, expired_by=gallery.moment())
        return portable.write(file, of, page, advance)


def import_file(
    gallery: Gallery,
    file: IO[bytes],
    check_comparable: Callable[[str, int], None] = lambda fingerprint, dimension: None,
    progress: Progress = unseen,
) -> Imported:
    """Store the samples of a portable file, once all of it is checked, a thousand in one transaction.

    A sample that is there in the same or a newer state stays as it is, so what was broken off can simply be
    started again.

    Args:
        gallery: empty, or of the same model.
        file: that can be read from its beginning.
        check_comparable: raises where vectors of this fingerprint and dimension cannot be used here.
        progress: shows it.

    Raises:
        DamagedGallery: the file is not whole, or was changed; nothing is stored.
        GalleryModelMismatch: the gallery holds vectors of another model; nothing is stored.
        AuditUnavailable: the audit log cannot be written. The steps before are stored.
        GalleryUnavailable: the database cannot be reached or is locked. The steps before are stored.
        OSError: the file cannot be read.
        And what `check_comparable` raises; nothing is stored.
    """
    with progress("checking", None) as advance:
        of, count = portable.check(file, advance)
    check_comparable(of.fingerprint, of.dimension)
    if _header(gallery.engine) not in (None, of):
        raise GalleryModelMismatch("The gallery was made with another embedding model than the file.")
    imported = without_name = 0
    with gallery.audit.outcomes() as begin, progress("importing", count) as advance:
        begin("import", count)  # each step has its own lines of what is stored
        checked = portable.read(file)
        while records := list(islice(checked, ROWS_AT_ONCE)):
            without_name += sum(sample.name == unnamed(sample.id) for sample, _ in records)
            new, vectors = [sample for sample, _ in records], np.stack([vector for _, vector in records])
            imported += gallery.upsert(new, vectors, of.fingerprint, only_newer=True)
            advance(len(records))
    return Imported(imported, count - imported, without_name)


def header(engine: sa.Engine) -> portable.Header:
    """Tell what the gallery's vectors are.

    Raises:
        NotFound: it is empty.
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    of = _header(engine)
    if of is None:
        raise NotFound("The gallery is empty.")
    return of


def records(
    engine: sa.Engine, of: portable.Header, after: str | None, *, expired_by: datetime | None = None
) -> list[portable.Record]:
    """Return the next samples by id, after this id, with their vectors, float32 (d,).

    Args:
        engine: of the gallery.
        of: only vectors of this model, even if the gallery has become another model's meanwhile. Damaged
            ones are left out, and named in the log.
        after: an id; None: the first ones.
        expired_by: a moment, naive UTC; what has expired by then is left out.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    query = sa.select(*SAMPLE_COLUMNS, samples.c.vector, samples.c.fingerprint).where(
        samples.c.fingerprint == of.fingerprint
    )
    query = unexpired(query.order_by(samples.c.sample_id).limit(ROWS_AT_ONCE), expired_by)
    page: list[portable.Record] = []
    with transaction(engine) as connection:
        while not page:  # an empty page is the last one
            rows = connection.execute(
                query if after is None else query.where(samples.c.sample_id > after)
            ).all()
            if not rows:
                break
            for row in rows:
                after = row.sample_id
                if fault := _fault_of(connection, row, of.dimension):
                    log.error("sample %r is not exported: %s", row.sample_id, fault)
                else:
                    page.append((sample_of(row), vector_of(connection, row)))
    return page


def faults(engine: sa.Engine) -> Iterator[str]:
    """Check the database against what must always hold of it: one sentence for each fault.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with transaction(engine) as connection:
        if engine.dialect.name == "sqlite":
            results = connection.exec_driver_sql("PRAGMA integrity_check").scalars()
            yield from (f"SQLite: {result}" for result in results if result != "ok")
        current = state_of(connection)
        buried = sa.select(sa.func.count()).select_from(
            tombstones.join(samples, tombstones.c.key == samples.c.key)
        )
        if connection.execute(buried).scalar_one():
            yield "a deleted sample is still there"
        every = sa.select(samples).order_by(samples.c.key).execution_options(yield_per=ROWS_AT_ONCE)
        dimension = dimension_of(connection) or 0
        for row in connection.execute(every):
            fault = _fault_of(connection, row, dimension)
            for wrong, what in (
                (fault is not None, fault),
                (row.fingerprint != current.fingerprint, "its vector is of another model than the gallery"),
                (row.revision > current.revision, "it is newer than the gallery"),
                (not _is_json(row.metadata), "its metadata is not JSON"),
            ):
                if wrong:
                    yield f"sample {row.sample_id!r}: {what}"


def _header(engine: sa.Engine) -> portable.Header | None:
    with transaction(engine) as connection:
        fingerprint = connection.execute(sa.select(samples.c.fingerprint).limit(1)).scalar()
        dimension = dimension_of(connection)
        return None if dimension is None else portable.Header(str(fingerprint), dimension)


def _fault_of(connection: sa.Connection, row: Any, dimension: int) -> str | None:
    """Say what is wrong with a vector; None: nothing is. The row is what `vector_of` takes."""
    try:
        vector = vector_of(connection, row)
    except GalleryUnavailable:
        return "its vector cannot be decrypted"
    if len(vector) != dimension:
        return "its vector has another length than the others"
    if not (np.abs(vector) < portable.LARGEST).all():
        return "its vector has a value that is not finite"
    return None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
