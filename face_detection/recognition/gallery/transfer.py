"""What moving and checking a gallery needs of its database, beyond what the service does with it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import GalleryUnavailable
from recognition.faces import Sample
from recognition.gallery.atrest import vector_of
from recognition.gallery.database import portions, transaction
from recognition.gallery.tables import SAMPLE_COLUMNS, sample_of, samples, state, tombstones

ROWS_AT_ONCE = 1000


def fingerprint(engine: sa.Engine) -> str | None:
    """Return the fingerprint of the model whose vectors the gallery holds, None if it never held any.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with transaction(engine) as connection:
        found: str | None = connection.execute(sa.select(state.c.fingerprint)).scalar_one()
        return found


def records(engine: sa.Engine, *, limit: int, after: str | None) -> list[tuple[Sample, NDArray[np.float32]]]:
    """Return the first samples by id, after this id, with their vectors, float32 (d,).

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    wanted = (
        sa.select(*SAMPLE_COLUMNS, samples.c.vector, samples.c.fingerprint)
        .order_by(samples.c.sample_id)
        .limit(limit)
    )
    if after is not None:
        wanted = wanted.where(samples.c.sample_id > after)
    with transaction(engine) as connection:
        return [(sample_of(row), vector_of(connection, row)) for row in connection.execute(wanted)]


def modified(engine: sa.Engine, ids: Sequence[str]) -> dict[str, datetime]:
    """Return when those of these samples that are there were last stored.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    with transaction(engine) as connection:
        return {
            row.sample_id: row.modified.replace(tzinfo=UTC)
            for some in portions(ids)
            for row in connection.execute(
                sa.select(samples.c.sample_id, samples.c.modified).where(samples.c.sample_id.in_(some))
            )
        }


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


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
