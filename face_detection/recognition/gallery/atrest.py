"""What lies encrypted in the tables where the connection has a cipher: kept faces, pictures of events, and in
SQLite vectors and digests of pictures.

PostgreSQL compares vectors itself, so there they are plain in any case.

`gallery_state.key_check` is an empty text that was encrypted with the gallery's key; null: nothing is
encrypted.
"""

from __future__ import annotations

import logging
from statistics import mode
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from recognition.errors import GalleryUnavailable
from recognition.faces import Sample
from recognition.gallery.database import transaction
from recognition.gallery.rows import enter
from recognition.gallery.tables import DEFAULT_KEY, DEFAULT_NAME, events, faces, gallery_of, samples, state
from recognition.gallery.vector_rows import NO_MODEL, Vectors, searched

if TYPE_CHECKING:
    from recognition.gallery.cipher import Cipher

log = logging.getLogger(__name__)

LITTLE_ENDIAN_FLOAT32 = np.dtype("<f4")
LOOKED_AT = 1000  # samples, to tell the dimension: one of them may be damaged
OF_PICTURES = "picture"  # stands where a sealed vector has its model
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
    """Let a database in which nothing is plain yet begin with its key, and hold the others against theirs.

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
        if cipher is not None and key_check is None and not _any_plain(connection):
            key_check = cipher.seal(b"", "", "")
            connection.execute(state.update().values(key_check=key_check))
            if connection.dialect.name == "postgresql":
                log.warning("GALLERY_KEY encrypts kept faces, not PostgreSQL's vectors: encrypt its disk")
        check(connection, key_check)


def _any_plain(connection: sa.Connection) -> bool:
    """Tell whether a database without a key has anything that its key would have encrypted."""
    sealed = faces.c.sample if connection.dialect.name == "postgresql" else samples.c.key
    pictures = sa.select(events.c.key).where(events.c.picture.is_not(None))
    return any(connection.execute(each.limit(1)).first() for each in (sa.select(sealed), pictures))


def check(connection: sa.Connection, key_check: bytes | None) -> None:
    """See to it that the gallery is opened with its own key, or without one if it has none.

    Raises:
        GalleryUnavailable: it is not.
    """
    cipher = cipher_of(connection)
    if cipher is None:
        if key_check is not None:
            raise GalleryUnavailable("The gallery is encrypted, and GALLERY_KEY is not set.")
        return
    if key_check is None:
        raise GalleryUnavailable(f"GALLERY_KEY is set, but the gallery is not encrypted; {ANOTHER_GALLERY}.")
    try:
        cipher.open(key_check, "", "")
    except GalleryUnavailable as e:
        raise GalleryUnavailable("GALLERY_KEY is not the key of this gallery.") from e


def dimension_of(connection: sa.Connection, vectors: Vectors | None = None) -> int | None:
    """Return the number of values that the vectors of the transaction's gallery have, most of them.

    vectors: which ones; None: those that are searched.

    None: there is none.
    """
    vectors = vectors or searched(connection)
    inside = vectors.gallery == gallery_of(connection), vectors.fingerprint != NO_MODEL
    if connection.dialect.name == "postgresql":
        dimensions = sa.select(sa.func.vector_dims(vectors.vector))
        return connection.execute(dimensions.where(*inside).limit(1)).scalar()
    lengths = sa.select(sa.func.length(vectors.vector)).where(*inside).limit(LOOKED_AT)
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
    if isinstance(stored, np.ndarray):  # PostgreSQL's
        return stored.astype(np.float32, copy=False)
    if not isinstance(stored, bytes):  # SQLite keeps values of any type in any column
        stored = b""
    if (cipher := cipher_of(connection)) is not None:
        stored = cipher.open(stored, sealed_as(connection, row.sample_id), row.fingerprint)
    whole = len(stored) % LITTLE_ENDIAN_FLOAT32.itemsize == 0
    return np.frombuffer(stored if whole else b"", dtype=LITTLE_ENDIAN_FLOAT32)


def sealed_picture(connection: sa.Connection, sample: Sample) -> bytes | None:
    """Turn the digest of a sample's picture into what its column takes.

    Where vectors are encrypted, so is this: whoever has a picture could otherwise tell that it is enrolled.
    """
    cipher = cipher_of(connection)
    if sample.picture is None or cipher is None:
        return sample.picture
    return cipher.seal(sample.picture, sealed_as(connection, sample.id), OF_PICTURES)


def picture_of(connection: sa.Connection, row: Any) -> bytes | None:
    """Read the digest of the picture, of a row that has its `sample_id`, too; None: it is not known."""
    stored = row.picture
    if not isinstance(stored, bytes):
        return None
    if (cipher := cipher_of(connection)) is None:
        return stored
    try:
        return cipher.open(stored, sealed_as(connection, row.sample_id), OF_PICTURES)
    except GalleryUnavailable:  # damaged: the sample is found all the same
        return None
