"""What moving and checking a gallery needs of its database, beyond what the service does with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import IO

import numpy as np
import sqlalchemy as sa

from recognition.errors import GalleryModelMismatch, GalleryUnavailable, NotFound
from recognition.gallery import portable
from recognition.gallery.atrest import vector_of
from recognition.gallery.database import transaction
from recognition.gallery.store import Gallery
from recognition.gallery.tables import SAMPLE_COLUMNS, sample_of, samples, state, tombstones

ROWS_AT_ONCE = 1000


def header(engine: sa.Engine) -> portable.Header:
    """Tell what the gallery's vectors are.

    Raises:
        NotFound: it is empty.
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    found = _header(engine)
    if found is None:
        raise NotFound("The gallery is empty.")
    return found


def records(engine: sa.Engine, fingerprint: str, after: str | None) -> list[portable.Record]:
    """Return the next samples by id, after this id, with their vectors, float32 (d,).

    fingerprint: only vectors of this model, even if the gallery has become another model's meanwhile.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    wanted = sa.select(*SAMPLE_COLUMNS, samples.c.vector, samples.c.fingerprint).where(
        samples.c.fingerprint == fingerprint
    )
    wanted = wanted.order_by(samples.c.sample_id).limit(ROWS_AT_ONCE)
    if after is not None:
        wanted = wanted.where(samples.c.sample_id > after)
    with transaction(engine) as connection:
        return [(sample_of(row), vector_of(connection, row)) for row in connection.execute(wanted)]


def export(gallery: Gallery) -> Iterator[bytes]:
    """Render the gallery as a portable file, piece by piece, in the memory that a thousand samples take.

    Raises:
        NotFound: it is empty; at once.
        GalleryUnavailable: the database cannot be reached or is locked; at once, or between two pieces.
    """
    of = header(gallery.engine)
    gallery.audit("export", gallery.count())
    rendered = portable.pieces(of, partial(records, gallery.engine, of.fingerprint))
    return (piece for piece, _ in rendered)


def store(
    gallery: Gallery, file: IO[bytes], of: portable.Header, told: portable.Told = lambda samples: None
) -> int:
    """Store the samples of a portable file that has been checked, a thousand in one transaction.

    A sample that is there in the same or a newer state stays as it is, so what was broken off can simply be
    started again.

    Args:
        gallery: empty, or of the same model.
        file: that can be read from its beginning.
        of: what its vectors are.
        told: is given the number of samples of each step.

    Returns:
        How many were stored.

    Raises:
        GalleryModelMismatch: the gallery holds vectors of another model.
        GalleryUnavailable: the database cannot be reached or is locked. The steps before are stored.
        DamagedGallery, OSError.
    """
    if _header(gallery.engine) not in (None, of):
        raise GalleryModelMismatch("The gallery was made with another embedding model than the file.")
    stored = 0
    read = portable.read(file)
    while some := list(islice(read, ROWS_AT_ONCE)):
        vectors = np.stack([vector for _, vector in some])
        stored += gallery.upsert([sample for sample, _ in some], vectors, of.fingerprint, only_newer=True)
        told(len(some))
    return stored


def import_file(gallery: Gallery, file: IO[bytes], check: Callable[[str, int], None]) -> tuple[int, int]:
    of, count = portable.check(file)
    check(of.fingerprint, of.dimension)
    gallery.audit("import", count)
    imported = store(gallery, file, of)
    return imported, count - imported


def faults(engine: sa.Engine) -> Iterator[str]:
    """Check the database against what must always hold of it: one sentence for each fault.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with transaction(engine) as connection:
        if engine.dialect.name == "sqlite":
            told = connection.exec_driver_sql("PRAGMA integrity_check").scalars()
            yield from (f"SQLite: {line}" for line in told if line != "ok")
        now = connection.execute(sa.select(state)).one()
        buried = sa.select(sa.func.count()).select_from(
            tombstones.join(samples, tombstones.c.key == samples.c.key)
        )
        if connection.execute(buried).scalar_one():
            yield "a deleted sample is still there"
        wanted = sa.select(samples).order_by(samples.c.key).execution_options(yield_per=ROWS_AT_ONCE)
        dimension = None
        for row in connection.execute(wanted):
            try:
                vector = vector_of(connection, row)
            except GalleryUnavailable:
                yield f"sample {row.sample_id!r}: its vector cannot be decrypted"
                continue
            dimension = dimension or len(vector)
            for wrong, what in (
                (len(vector) != dimension, "its vector has another length than the others"),
                (not np.isfinite(vector).all(), "its vector has a value that is not finite"),
                (row.fingerprint != now.fingerprint, "its vector is of another model than the gallery"),
                (row.revision > now.revision, "it is newer than the gallery"),
                (not _is_json(row.metadata), "its metadata is not JSON"),
            ):
                if wrong:
                    yield f"sample {row.sample_id!r}: {what}"


def _header(engine: sa.Engine) -> portable.Header | None:
    wanted = sa.select(samples.c.sample_id, samples.c.fingerprint, samples.c.vector).limit(1)
    with transaction(engine) as connection:
        row = connection.execute(wanted).first()
        return None if row is None else portable.Header(row.fingerprint, len(vector_of(connection, row)))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
