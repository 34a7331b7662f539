"""Opens a gallery: the one place that knows what kinds of databases there are."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from recognition.audit import Audit
from recognition.errors import GalleryUnavailable
from recognition.gallery import atrest, migrations
from recognition.gallery.clock import Clock, SystemClock
from recognition.gallery.database import open_postgresql, open_sqlite, reason, transaction
from recognition.gallery.replicas import Replicas
from recognition.gallery.search import Search
from recognition.gallery.search_database import DatabaseSearch
from recognition.gallery.search_memory import MemorySearch
from recognition.gallery.store import Gallery
from recognition.gallery.tables import state
from serving.credentials import without_credentials

NO_GALLERY = "There is no gallery"  # as an error begins, where none is to be made
NO_URL = "It is no URL of a database: what of user and password is not a letter or digit is percent-encoded."
PLAIN = "GALLERY_INDEX would have the vectors in plain text that GALLERY_KEY encrypts: unset one of them."
ONLY_POSTGRESQL = "DATABASE_READ_URL: only PostgreSQL has standbys; both URLs have to be of it."
NO_INDEX = (
    "DATABASE_READ_URL, GALLERY_INDEX: set one of them: Milvus, which then searches, is fed from the primary"
)
# A standby that vanishes without a word keeps a search waiting for so long, not for GALLERY_LOCK_TIMEOUT_S.
SILENCE_S = 2
SECRETS = ("password", "secret")  # in the names of query parameters of a URL


def open_gallery(
    url: str,
    lock_timeout_s: float,
    ef_search: int = 120,
    *,
    create: bool = True,
    migrate: bool = True,
    key: bytes | None = None,
    clock: Clock = SystemClock(),  # noqa: B008  it has no state
    audit: Audit = Audit(None),  # noqa: B008  it has no state
    index: str | None = None,
    index_token: str | None = None,
    read_url: str | None = None,
    halfvec: bool = False,
) -> Gallery:
    """Open the gallery `default` at a SQLAlchemy URL; make its tables, or bring them up to date, if need be.

    Args:
        url: of a SQLite file or a PostgreSQL database.
        lock_timeout_s: how long a locked database is waited for, in seconds.
        ef_search: see `DatabaseSearch`; 1 to 1,000, of no effect on SQLite.
        create: make a new gallery where there is none; otherwise that is an error, and nothing is made.
        migrate: bring older tables up to date; otherwise those are an error, and nothing is changed.
        key: 32 bytes that kept faces are encrypted with, and in SQLite vectors; a new gallery keeps to it.
        clock: tells which samples have expired.
        audit: gets the lines of every change: what cannot be written there is not done.
        index: where Milvus is, which then searches: a URL, or the file of milvus-lite. It is connected to
            when it is first needed.
        index_token: opens it.
        read_url: of hot standbys of a PostgreSQL database, on which searches are made while they are not
            behind. They are connected to when they are first needed.
        halfvec: whether the indexes that PostgreSQL makes from now on hold 16-bit floats.

    Raises:
        GalleryUnavailable: the database cannot be reached or is locked, lacks what is needed, was made by a
            newer version of this program, or is encrypted with another key or none; or there is no gallery,
            and none is to be made, or an older one, and it is to stay as it is; or what Milvus needs is not
            installed, or its copies of vectors would be plain that the key encrypts; or standbys are
            named of a SQLite file, or beside Milvus.
        OSError: the file cannot be made.
    """
    parsed = _parsed(url)
    reading = None if read_url is None else _of_standbys(parsed, read_url)
    if reading is not None and index is not None:
        raise GalleryUnavailable(f"{NO_INDEX}.")
    search: Callable[[], Search]
    cipher = None
    if key is not None:
        # Here, since the library takes memory and time to import: only those who have a key pay.
        from recognition.gallery.cipher import Cipher

        cipher = Cipher(key)
        if index is not None and parsed.get_backend_name() != "postgresql":
            raise GalleryUnavailable(PLAIN)
    if parsed.get_backend_name() == "postgresql":
        engine, search = open_postgresql(parsed, lock_timeout_s, ef_search, cipher), DatabaseSearch
        engine.update_execution_options(halfvec=halfvec)  # of which vector_indexes.py asks
    else:
        file = Path(parsed.database or "")
        if not create and not _has_gallery(file, lock_timeout_s):
            raise _no_gallery(url)
        engine, search = open_sqlite(file, lock_timeout_s, cipher), MemorySearch
    try:
        if index is not None:
            search = _in_milvus(engine, search, index, index_token, ef_search, lock_timeout_s, clock)
    except GalleryUnavailable:
        engine.dispose()
        raise
    replicas = None
    if reading is not None:
        replicas = Replicas(open_postgresql(reading, lock_timeout_s, ef_search, cipher))
    gallery = Gallery(engine, search, clock, audit, replicas)
    try:
        if not create:
            with transaction(engine) as connection:
                if not sa.inspect(connection).has_table(state.name):
                    raise _no_gallery(url)
        if not migrate:
            migrations.check(engine)
            return gallery
        migrations.bring_up_to_date(engine)
        atrest.begin(engine)
    except GalleryUnavailable:
        gallery.close()
        raise
    return gallery


def _in_milvus(
    engine: sa.Engine,
    base: Callable[[], Search],
    index: str,
    token: str | None,
    ef_search: int,
    timeout_s: float,
    clock: Clock,
) -> Callable[[], Search]:
    """Return what makes searches that ask Milvus, which is closed with the engine."""
    # Here, since most do without.
    from recognition.gallery.milvus import Milvus
    from recognition.gallery.search_milvus import MilvusSearch

    milvus = Milvus(index, token, timeout_s)
    sa.event.listen(engine, "engine_disposed", lambda _: milvus.close())
    return lambda: MilvusSearch(milvus, base(), ef_search, timeout_s, clock)


def shown(url: str) -> str:
    """Return the URL of a gallery as it may be shown: without its password and other secrets."""
    try:
        parsed = _parsed(url)
    except GalleryUnavailable:
        return without_credentials(url)
    secrets = [name for name in parsed.query if any(word in name.lower() for word in SECRETS)]
    return parsed.difference_update_query(secrets).render_as_string(hide_password=True)


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise GalleryUnavailable(NO_URL) from None  # the error quotes it, with its password
    # Of a password with an @ in it the rest would be shown as the host.
    if parsed.drivername != "sqlite" and url.partition("?")[0].count("@") > 1:
        raise GalleryUnavailable(NO_URL)
    # As Heroku and others still write it; SQLAlchemy has dropped it.
    return parsed.set(drivername="postgresql") if parsed.drivername == "postgres" else parsed


def _of_standbys(primary: sa.URL, read_url: str) -> sa.URL:
    """Return the URL of standbys with what it does not say itself."""
    try:
        parsed = _parsed(read_url)
    except GalleryUnavailable as e:
        raise GalleryUnavailable(f"DATABASE_READ_URL: {e.detail}") from None
    if {each.get_backend_name() for each in (primary, parsed)} != {"postgresql"}:
        raise GalleryUnavailable(ONLY_POSTGRESQL)
    defaults = {
        "target_session_attrs": "standby",  # what stands in the place of one is none
        "connect_timeout": str(SILENCE_S),
        "tcp_user_timeout": str(1000 * SILENCE_S),
    }
    return parsed.set(query={**defaults, **parsed.query})


def _has_gallery(file: Path, timeout_s: float) -> bool:
    """Look without a trace whether a SQLite file has our tables: opening it in earnest would make a log."""
    if not file.exists():
        return False
    try:
        uri = f"{file.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, timeout_s, uri=True)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE name = ?", [state.name])
            return tables.fetchone() is not None
    except sqlite3.Error as e:
        raise GalleryUnavailable(reason(e, file)) from e


def _no_gallery(url: str) -> GalleryUnavailable:
    return GalleryUnavailable(f"{NO_GALLERY} at {shown(url)}.")
