"""Where a gallery's vectors lie: each sample has room for two, of two models, of which one is searched.

The first lies in the sample's own row, the second in `second_vectors`. A gallery has second ones once it
changes its model; `galleries.second` says which ones are searched, so that the change itself is one row's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa

from recognition.gallery.database import portions
from recognition.gallery.tables import Vector, gallery_of, samples, second_vectors

NO_MODEL = ""  # the fingerprint of a first vector that says nothing


class Vectors(NamedTuple):
    """The columns in which the first or the second ones lie. `sample` is the key of their sample."""

    second: bool
    sample: sa.Column[int]
    gallery: sa.Column[int]
    vector: sa.Column[Any]
    fingerprint: sa.Column[str]


FIRST = Vectors(False, samples.c.key, samples.c.gallery, samples.c.vector, samples.c.fingerprint)
SECOND = Vectors(
    True,
    second_vectors.c.sample,
    second_vectors.c.gallery,
    second_vectors.c.vector,
    second_vectors.c.fingerprint,
)

# By the id of its sample: one that is new has no key yet that is known here.
_INSERT = second_vectors.insert().from_select(
    ["sample", "gallery", "vector", "fingerprint"],
    sa.select(
        samples.c.key,
        samples.c.gallery,
        sa.bindparam("encoded", type_=Vector),
        sa.bindparam("model", type_=sa.Text),
    ).where(samples.c.gallery == sa.bindparam("gallery_key"), samples.c.sample_id == sa.bindparam("id")),
)


def searched(connection: sa.Connection) -> Vectors:
    """Return those that are searched in the gallery that a transaction is in, as `rows.enter` has noted."""
    return SECOND if connection.get_execution_options()["second"] else FIRST


def other(connection: sa.Connection) -> Vectors:
    """Return the others."""
    return FIRST if connection.get_execution_options()["second"] else SECOND


def switch(connection: sa.Connection, *, second: bool) -> None:
    """Let what follows in the transaction search the first or the second ones."""
    connection.execution_options(second=second)


def joined(query: sa.Select[Any], vectors: Vectors) -> sa.Select[Any]:
    """Let a query of samples read `vector` and `fingerprint` of those that have such a vector."""
    query = query.add_columns(vectors.vector, vectors.fingerprint)
    return with_them(query, vectors).where(vectors.fingerprint != NO_MODEL)


def with_them(query: sa.Select[Any], vectors: Vectors, *, outer: bool = False) -> sa.Select[Any]:
    """Join what a query of samples may read of these vectors; outer: of all samples."""
    if not vectors.second:
        return query
    return query.join(second_vectors, second_vectors.c.sample == samples.c.key, isouter=outer)


def lacks(vectors: Vectors, fingerprint: str | None = None) -> sa.ColumnElement[bool]:
    """Tell which rows of an outer join have no such vector, or none of this fingerprint."""
    if fingerprint is not None:
        return vectors.fingerprint.is_distinct_from(fingerprint)
    return vectors.sample.is_(None) if vectors.second else vectors.fingerprint == NO_MODEL


def nothing(connection: sa.Connection) -> Any:
    """Return what the column of the first vectors has where there is none."""
    return np.zeros(1, np.float32) if connection.dialect.name == "postgresql" else b""


def columns(connection: sa.Connection, encoded: Any, fingerprint: str) -> dict[str, Any]:
    """Return what a row of `samples` has of a new sample's vector, of the model that is searched."""
    if searched(connection).second:
        encoded, fingerprint = nothing(connection), NO_MODEL
    return {"vector": encoded, "fingerprint": fingerprint}


def store(
    connection: sa.Connection,
    stored: Iterable[tuple[str, Any]],
    replaced: Collection[int],
    fingerprint: str,
) -> None:
    """Store the rest of it, once its row is there.

    Args:
        stored: id and encoded vector of each sample.
        replaced: keys of those that were there before: their second vectors are of other pictures.
        fingerprint: of the vectors.
    """
    for some in portions(sorted(replaced)):
        connection.execute(second_vectors.delete().where(second_vectors.c.sample.in_(some)))
    if searched(connection).second:
        about = {"gallery_key": gallery_of(connection), "model": fingerprint}
        values = [{"id": sample_id, "encoded": encoded, **about} for sample_id, encoded in stored]
        connection.execute(_INSERT, values)
