"""Opens a gallery: the one place that knows what kinds of databases there are."""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa

from recognition.errors import GalleryUnavailable
from recognition.gallery import atrest
from recognition.gallery.database import open_postgresql, open_sqlite
from recognition.gallery.migrations import bring_up_to_date
from recognition.gallery.search import DatabaseSearch, MemorySearch, Search
from recognition.gallery.store import NOW, Audit, Clock, Gallery, unheard


def open_gallery(
    url: str,
    lock_timeout_s: float,
    ef_search: int = 120,
    *,
    key: bytes | None = None,
    clock: Clock = NOW,
    audit: Audit = unheard,
) -> Gallery:
    """Open the gallery at a SQLAlchemy URL; make its tables, or bring them up to date, if need be.

    Args:
        url: of a SQLite file or a PostgreSQL database.
        lock_timeout_s: how long a locked database is waited for, in seconds.
        ef_search: see `DatabaseSearch`; 1 to 1,000, of no effect on SQLite.
        key: 32 bytes that the vectors are encrypted with, for SQLite alone; a new gallery keeps to it.
        clock: returns the time, in UTC; tells which samples have expired.
        audit: is told of every change, within its transaction: what is done, and the ids or the number of the
            samples. If it raises, nothing is changed.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked, lacks what is needed, was made by a
            newer version of this program, or is encrypted with another key or none.
        OSError: the file cannot be made.
    """
    parsed = sa.make_url(url)
    search: Search
    if parsed.get_backend_name() == "postgresql":
        if key is not None:
            raise GalleryUnavailable(
                "GALLERY_KEY is set, but PostgreSQL compares the vectors itself, which it cannot do with "
                "encrypted ones; encrypt its disk, or use SQLite."
            )
        engine, search = open_postgresql(parsed, lock_timeout_s, ef_search), DatabaseSearch()
    else:
        # The library takes memory and time to import: only those who have a key pay.
        cipher = key and import_module("recognition.gallery.cipher").Cipher(key)
        engine, search = open_sqlite(parsed, lock_timeout_s, cipher), MemorySearch()
    gallery = Gallery(engine, search, clock, audit)
    try:
        bring_up_to_date(engine)
        atrest.begin(engine)
    except GalleryUnavailable:
        gallery.close()
        raise
    return gallery
