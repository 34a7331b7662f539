"""Rows of `faces`, stored and read on a connection; the caller gives the transaction.

A row goes with that of its sample, whatever removes it: the database sees to that (`ON DELETE CASCADE`). No
search and no start reads this table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from recognition.errors import DamagedGallery, GalleryUnavailable
from recognition.faces import KeptFace, Sample
from recognition.gallery.atrest import cipher_of, sealed_as
from recognition.gallery.database import portions
from recognition.gallery.kept import packed, unpacked
from recognition.gallery.tables import faces, gallery_of, samples

KIND = "\0face"  # in the place of a model's fingerprint, of which none begins like this
ROWS_AT_ONCE = 100  # a thousand take 10 MB

# Each is found by its sample's id: those that are new have no key yet that is known here.
_INSERT = faces.insert().from_select(
    ["sample", "face"],
    sa.select(samples.c.key, sa.bindparam("kept", type_=sa.LargeBinary)).where(
        samples.c.gallery == sa.bindparam("gallery"), samples.c.sample_id == sa.bindparam("id")
    ),
)


def store(connection: sa.Connection, stored: Sequence[Sample], replaced: Collection[int]) -> None:
    """Store the kept faces of samples that were stored just now, encrypted where there is a key.

    Args:
        stored: with their faces, or without.
        replaced: keys of those that were there before; what was kept of them goes in any case.
    """
    for some in portions(sorted(replaced)):
        connection.execute(faces.delete().where(faces.c.sample.in_(some)))
    cipher, gallery = cipher_of(connection), gallery_of(connection)
    values = []
    for sample in stored:
        if sample.face is not None:
            face = packed(sample.face)
            if cipher is not None:
                face = cipher.seal(face, sealed_as(connection, sample.id), KIND)
            values.append({"gallery": gallery, "id": sample.id, "kept": face})
    if values:
        connection.execute(_INSERT, values)


def face_of(connection: sa.Connection, row: Any) -> KeptFace | None:
    """Read the kept face of a row that has its `sample_id`, too; None: none is kept.

    Raises:
        DamagedGallery: it cannot be decrypted, or is no face.
    """
    stored = row.face
    if stored is None:
        return None
    try:
        if (cipher := cipher_of(connection)) is not None:
            stored = cipher.open(stored, sealed_as(connection, row.sample_id), KIND)
        return unpacked(stored)
    except GalleryUnavailable as e:
        raise DamagedGallery("its kept face cannot be decrypted") from e
    except (TypeError, ValueError) as e:  # SQLite keeps values of any type in any column
        raise DamagedGallery("its kept face is none") from e


def faults(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Check the kept faces of the gallery: of each that is damaged its sample's id, and what is wrong."""
    query = sa.select(faces.c.face, samples.c.sample_id).join_from(faces, samples).order_by(faces.c.sample)
    query = query.where(samples.c.gallery == gallery_of(connection))
    for row in connection.execute(query.execution_options(yield_per=ROWS_AT_ONCE)):
        try:
            face_of(connection, row)
        except DamagedGallery as e:
            yield row.sample_id, e.detail
