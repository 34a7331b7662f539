"""Opens a gallery: the one place that knows what kinds of databases there are."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from recognition.audit import Audit
from recognition.errors import GalleryUnavailable
from recognition.gallery import atrest
from recognition.gallery.database import open_postgresql, open_sqlite
from recognition.gallery.migrations import bring_up_to_date
from recognition.gallery.search import Search
from recognition.gallery.search_database import DatabaseSearch
from recognition.gallery.search_memory import MemorySearch
from recognition.gallery.store import NOW, Clock, Gallery


def open_gallery(
    url: str,
    lock_timeout_s: float,
    ef_search: int = 120,
    *,
    key: bytes | None = None,
    clock: Clock = NOW,
    audit: Audit = Audit(None),  # noqa: B008  it has no state
) -> Gallery:
    """Open the gallery at a SQLAlchemy URL; make its tables, or bring them up to date, if need be.

    Args:
        url: of a SQLite file or a PostgreSQL database.
        lock_timeout_s: how long a locked database is waited for, in seconds.
        ef_search: see `DatabaseSearch`; 1 to 1,000, of no effect on SQLite.
        key: 32 bytes that the vectors are encrypted with, for SQLite alone; a new gallery keeps to it.
        clock: returns the time, in UTC; tells which samples have expired.
        audit: gets the lines of every change: what cannot be written there is not done.

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
        file = Path(parsed.database or "")
        cipher = None
        if key is not None:
            # Here, since the library takes memory and time to import: only those who have a key pay.
            from recognition.gallery.cipher import Cipher

            cipher = Cipher(key)
        engine, search = open_sqlite(file, lock_timeout_s, cipher), MemorySearch()
    gallery = Gallery(engine, search, clock, audit)
    try:
        bring_up_to_date(engine)
        atrest.begin(engine)
    except GalleryUnavailable:
        gallery.close()
        raise
    return gallery
