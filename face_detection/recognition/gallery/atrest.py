"""Vectors as they lie in the table: plain, or, where the connection has a cipher, encrypted.

`gallery_state.key_check` is an empty text that was encrypted with the gallery's key; null: vectors are plain.
"""

from __future__ import annotations

from statistics import mode
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import GalleryUnavailable
from recognition.gallery.database import transaction
from recognition.gallery.rows import enter
from recognition.gallery.tables import DEFAULT_KEY, DEFAULT_NAME, gallery_of, samples, state

if TYPE_CHECKING:
    from recognition.gallery.cipher import Cipher

LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")
LOOKED_AT = 1000  # samples, to tell the dimension: one of them may be damaged
ANOTHER_GALLERY = "export it as it is, and import it into another database with the key that you want"


def cipher_of(connection: sa.Connection) -> Cipher | None:
    """Return what this gallery was opened with."""
    cipher: Cipher | None = connection.info.get("cipher")
    return cipher


def sealed_as(connection: sa.Connection, sample_id: str) -> str:
    """Return what a vector is bound to where it is encrypted: the sample's id, and its gallery.

    In `default` it is the id alone, as before there were other galleries.
    """
    gallery = gallery_of(connection)
    return sample_id if gallery == DEFAULT_KEY else f"{gallery}\0{sample_id}"


def begin(engine: sa.Engine) -> None:
    """Let an empty database begin with the key that it is opened with, and hold the others against theirs.

    All galleries of a database have the same key.

    Raises:
        GalleryUnavailable: they do not belong together; or the database cannot be reached or is locked.
    """
    with transaction(engine) as connection:
        key_check = enter(connection, DEFAULT_NAME).key_check
        if cipher_of(connection) is None or key_check is not None:
            return check(connection, key_check)
    with transaction(engine, write=True) as connection:
        key_check = enter(connection, DEFAULT_NAME).key_check
        cipher = cipher_of(connection)
        empty = connection.execute(sa.select(samples.c.key).limit(1)).first() is None
        if cipher is not None and key_check is None and empty:
            key_check = cipher.seal(b"", "", "")
            connection.execute(state.update().values(key_check=key_check))
        check(connection, key_check)


def check(connection: sa.Connection, key_check: bytes | None) -> None:
    """See to it that the gallery is opened with its own key, or without one if it has none.

    Raises:
        GalleryUnavailable: it is not.
    """
    cipher = cipher_of(connection)
    if cipher is None:
        if key_check is not None:
            raise GalleryUnavailable("The gallery's vectors are encrypted, and GALLERY_KEY is not set.")
        return
    if key_check is None:
        raise GalleryUnavailable(
            f"GALLERY_KEY is set, but the gallery's vectors are not encrypted; {ANOTHER_GALLERY}."
        )
    try:
        cipher.open(key_check, "", "")
    except GalleryUnavailable as e:
        raise GalleryUnavailable("GALLERY_KEY is not the key of this gallery.") from e


def dimension_of(connection: sa.Connection) -> int | None:
    """Return the number of values that the vectors of the transaction's gallery have, most of them.

    None: there is no sample.
    """
    inside = samples.c.gallery == gallery_of(connection)
    if connection.dialect.name == "postgresql":
        dimensions = sa.select(sa.func.vector_dims(samples.c.vector))
        return connection.execute(dimensions.where(inside).limit(1)).scalar()
    lengths = sa.select(sa.func.length(samples.c.vector)).where(inside).limit(LOOKED_AT)
    sizes = connection.execute(lengths).scalars().all()
    if not sizes:
        return None
    cipher = cipher_of(connection)
    size: int = mode(sizes) - (cipher.overhead if cipher else 0)
    return max(size // LITTLE_ENDIAN_FLOAT32.itemsize, 1)


def vector_of(connection: sa.Connection, row: Any) -> NDArray[np.float32]:
    """Read the vector, float32 (d,), of a row that has its `sample_id` and `fingerprint`, too.

    What cannot be one is an empty one.

    Raises:
        GalleryUnavailable: it cannot be decrypted.
    """
    stored = row.vector
    if not isinstance(stored, bytes | np.ndarray):  # SQLite keeps values of any type in any column
        stored = b""
    if (cipher := cipher_of(connection)) is not None:
        stored = cipher.open(stored, sealed_as(connection, row.sample_id), row.fingerprint)
    if isinstance(stored, bytes):
        whole = len(stored) % LITTLE_ENDIAN_FLOAT32.itemsize == 0
        return np.frombuffer(stored if whole else b"", dtype=LITTLE_ENDIAN_FLOAT32)
    return np.asarray(stored, dtype=np.float32)
