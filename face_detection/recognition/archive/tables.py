"""The SQLite file that an index is: its tables, and how it is opened.

Vectors are encrypted where there is a key, as in a gallery.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from recognition.archive.entries import IndexUnavailable
from recognition.errors import GalleryUnavailable
from recognition.gallery.database import open_sqlite, transaction

if TYPE_CHECKING:
    from recognition.gallery.cipher import Cipher

VERSION = 2
LOCK_TIMEOUT_S = 30.0

metadata = sa.MetaData()
# One row. key_check: an empty text, encrypted with the index's key; null: nothing is encrypted.
about = sa.Table(
    "about",
    metadata,
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("key_check", sa.LargeBinary),
)
# Keys are never used again: encrypted vectors are bound to them. code and detail: why nothing was seen.
pictures = sa.Table(
    "pictures",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("path", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("modified_ns", sa.BigInteger, nullable=False),
    sa.Column("code", sa.Text),
    sa.Column("detail", sa.Text),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("orientation", sa.Integer),
    sa.Column("fingerprint", sa.Text),
    sqlite_autoincrement=True,
)
# Groups of faces that are nobody's. ignored: for good. person: the id of the one who they were said to be.
unknowns = sa.Table(
    "unknowns",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("ignored", sa.Boolean, nullable=False),
    sa.Column("person", sa.Text),
    sqlite_autoincrement=True,
)
faces = sa.Table(
    "faces",
    metadata,
    sa.Column("picture", sa.ForeignKey("pictures.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),  # the largest first, from 0
    sa.Column("x", sa.Float, nullable=False),
    sa.Column("y", sa.Float, nullable=False),
    sa.Column("w", sa.Float, nullable=False),
    sa.Column("h", sa.Float, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("quality", sa.Float, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("unknown", sa.Integer, index=True),  # the key of its group; null: it is in none
)


def open_tables(file: Path, *, create: bool, key: bytes | None = None) -> sa.Engine:
    """Open the file of an index; a new one can be read by its owner only.

    One of an older version is brought up to date, and nothing in it is lost.

    Args:
        file: where it lies.
        create: make one where there is none.
        key: 32 bytes that vectors are encrypted with; a new index keeps to it.

    Raises:
        IndexUnavailable: there is none, or the file is something else, of a newer version, or encrypted with
            another key or none; or it is locked.
        OSError: it cannot be made.
    """
    if not create and not file.exists():
        raise IndexUnavailable(f"There is no index {file}; `recognition index DIR` makes one.")
    if file.exists() and file.stat().st_size and not _is_ours(file):
        raise IndexUnavailable(f"{file} is no index of an archive.")
    cipher = None
    if key is not None:
        from recognition.gallery.cipher import Cipher  # a library that few need

        cipher = Cipher(key)
    try:
        engine = open_sqlite(file, LOCK_TIMEOUT_S, cipher)
        with transaction(engine, write=True) as connection:
            _begin(connection, file, cipher)
    except GalleryUnavailable as e:
        raise IndexUnavailable(f"The index {file} cannot be used: {e.detail}") from e
    return engine


def _is_ours(file: Path) -> bool:
    """Look without a trace whether a file has our tables; one that cannot be read for now may have them."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE name = 'about'")
            return tables.fetchone() is not None
    except sqlite3.OperationalError:
        return True
    except sqlite3.Error:
        return False


def _begin(connection: sa.Connection, file: Path, cipher: Cipher | None) -> None:
    """Make the tables of a new index or a new version, and see to it that it is opened with its own key."""
    there = sa.inspect(connection).has_table(about.name)
    version = connection.execute(sa.select(about.c.version)).scalar() if there else None
    if version == 1:
        connection.execute(sa.text("ALTER TABLE faces ADD COLUMN unknown INTEGER"))
        connection.execute(sa.text("CREATE INDEX ix_faces_unknown ON faces (unknown)"))
        connection.execute(about.update().values(version=VERSION))
    elif version not in (None, VERSION):
        raise IndexUnavailable(f"The index {file} was made by another version of this program.")
    metadata.create_all(connection)
    row = connection.execute(sa.select(about)).first()
    if row is None:
        check = None if cipher is None else cipher.seal(b"", "", "")
        connection.execute(about.insert().values(version=VERSION, key_check=check))
        return
    if cipher is None:
        if row.key_check is not None:
            raise IndexUnavailable(f"The index {file} is encrypted, and GALLERY_KEY is not set.")
        return
    if row.key_check is None:
        raise IndexUnavailable(
            f"GALLERY_KEY is set, but the index {file} is not encrypted; delete it, and index anew."
        )
    try:
        cipher.open(row.key_check, "", "")
    except GalleryUnavailable as e:
        raise IndexUnavailable(f"GALLERY_KEY is not the key of the index {file}.") from e
