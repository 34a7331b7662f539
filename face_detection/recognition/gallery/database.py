"""The connection to the database: what a transaction is on SQLite and on PostgreSQL, and how it fails."""

from __future__ import annotations

import math
import re
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import sqlalchemy as sa
from filelock import FileLock, Timeout

from recognition.errors import GalleryModelMismatch, GalleryUnavailable

if TYPE_CHECKING:
    from recognition.gallery.cipher import Cipher

VALUES_PER_QUERY = 500  # SQLite takes 999 bound parameters in its oldest builds
LOG_WAIT_MS = 100  # a search among a million samples reads for 30
# PostgreSQL, appendix A; the dimension's is pgvector's choice.
DISK_FULL, OTHER_DIMENSION, READ_ONLY = "53100", "22000", "25006"
# What a request stores is hardly ever more than its body, of at most 64 MiB (MAX_BODY_BYTES); for a while it
# lies on the disk twice: in SQLite's write-ahead log, and in the file.
LEAST_FREE_BYTES = 128 * 2**20
SHM_BYTES = 32 * 1024  # by which SQLite enlarges the index of its log, the file -shm
OPTION = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")  # a setting in the `options` of a PostgreSQL URL
# PostgreSQL's advisory locks are numbers. Whoever writes to a gallery shares that of the database, and has
# that of the gallery alone, whose second number comes from its name; two names with the same one just wait.
WRITE_LOCK = int.from_bytes(b"gallery", "big")
GALLERY_LOCK = int.from_bytes(b"glry", "big")


class NotAlone(Exception):
    """A transaction that shares the database with those who write to other galleries is to have it alone."""


def check_alone(connection: sa.Connection) -> None:
    """See to it that a transaction that writes in PostgreSQL has the database alone.

    What locks whole tables would else wait for somebody who in turn waits for the same.

    Raises:
        NotAlone: it has not.
    """
    if connection.get_execution_options()["writes_to"] is not None:
        raise NotAlone


@contextmanager
def transaction(
    engine: sa.Engine, *, write: bool = False, gallery: str | None = None, patience_ms: int | None = None
) -> Iterator[sa.Connection]:
    """Run a transaction that sees one state of the database; those that write come one after the other.

    Args:
        engine: of the database.
        write: it may change something.
        gallery: the name of the only one that it changes: in PostgreSQL it then waits for nobody who writes
            to others. None: it has the database alone.
        patience_ms: how long those that write are waited for; None: as the engine was opened.

    Raises:
        GalleryUnavailable: the database cannot be reached, is locked, or has no room left.
        GalleryModelMismatch: by pgvector, which does not compare vectors of different dimensions.
    """
    committing = False
    try:
        options: dict[str, Any] = {"write": write, "writes_to": gallery, "patience_ms": patience_ms}
        with engine.connect().execution_options(**options) as connection, connection.begin():
            yield connection
            committing = write
    except sa.exc.DBAPIError as e:
        if getattr(e.orig, "sqlstate", None) == OTHER_DIMENSION:
            raise GalleryModelMismatch("The gallery's vectors have another number of values.") from e
        error = GalleryUnavailable(reason(e.orig, file_of(engine)))
        error.outcome_unknown = committing and e.connection_invalidated
        raise error from e
    except sa.exc.TimeoutError as e:
        raise GalleryUnavailable("All connections to the database are busy.") from e


def reason(error: BaseException | None, file: Path | None) -> str:
    """Say why a database refused, as far as it helps the caller; the arguments are those of `is_full`."""
    if is_full(error, file):
        return "The database's disk is full."
    return "The database cannot be used right now."


def is_full(error: BaseException | None, file: Path | None) -> bool:
    """Tell whether a full disk made a database refuse.

    Args:
        error: the driver's.
        file: the SQLite file that it is about; None for PostgreSQL.
    """
    if file is None:
        return getattr(error, "sqlstate", None) == DISK_FULL
    # SQLite's extended codes have the primary one in their last byte.
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_OK) & 0xFF
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and file.exists():
        # A full disk leads to these, too: a file beside the database cannot be made, or not enlarged.
        free = free_bytes(file)
        return free is not None and free < SHM_BYTES
    return code == sqlite3.SQLITE_FULL


def file_of(engine: sa.Engine) -> Path | None:
    """Return the file of a SQLite database; None for PostgreSQL."""
    file: Path | None = engine.get_execution_options().get("file")
    return file


def free_bytes(file: Path) -> int | None:
    """Tell how many bytes may still be written to the disk that a file lies on; None if that is gone."""
    try:
        return shutil.disk_usage(file.parent).free
    except OSError:
        return None


def empty_log(engine: sa.Engine) -> bool:
    """Write SQLite's write-ahead log into the file, and cut it off: what was deleted stands in it still.

    Whoever reads or writes meanwhile is waited for LOG_WAIT_MS, not longer: the next time may find a moment.
    Returns whether it is empty now; PostgreSQL's is out of reach.
    """
    if engine.dialect.name != "sqlite":
        return False
    with suppress(sqlite3.Error, sa.exc.SQLAlchemyError), closing(engine.raw_connection()) as borrowed:
        connection: Any = borrowed.driver_connection
        (timeout_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {LOG_WAIT_MS}")
        try:
            (busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        finally:
            connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")
    return False


def portions(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut the values of a long `IN` into pieces that a query takes."""
    for start in range(0, len(values), VALUES_PER_QUERY):
        yield values[start : start + VALUES_PER_QUERY]


def open_sqlite(path: Path, timeout_s: float, cipher: Cipher | None = None) -> sa.Engine:
    """Open a SQLite file; a new one, and a new folder, can be read by their owner only.

    Args:
        path: of the file.
        timeout_s: how long a locked file is waited for, in seconds.
        cipher: each connection has it in its `info`, for atrest.py.

    Raises:
        GalleryUnavailable: it is locked or no database.
        OSError: it cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)  # SQLite gives the files beside it, -wal and -shm, the same mode
    # mode=rw: no new file is made where it is gone, at whose sight SQLite would remove the log beside it.
    existing = sa.URL.create("sqlite", database=path.absolute().as_uri(), query={"mode": "rw", "uri": "true"})
    engine = sa.create_engine(
        existing,
        execution_options={"file": path},
        connect_args={"timeout": timeout_s},
        pool_timeout=timeout_s,
        hide_parameters=True,  # an error that is logged quotes no ids, names or vectors
    )

    def configure(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun by `begin`, not by the driver
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # what is acknowledged is on disk
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        record.info["file"] = identity()
        record.info["cipher"] = cipher

    def check(_connection: Any, record: Any, _proxy: Any) -> None:
        if record.info["file"] != identity():  # another file was put in its place
            raise sa.exc.DisconnectionError

    def identity() -> tuple[int, int] | None:
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino

    def begin(connection: sa.Connection) -> None:
        # IMMEDIATE takes the write lock at once: waiting for it later, with a read lock held, cannot succeed.
        options = connection.get_execution_options()
        with _patience(connection, options.get("patience_ms"), timeout_s):
            connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get("write") else "BEGIN")

    sa.event.listen(engine, "connect", configure)
    sa.event.listen(engine, "checkout", check)
    sa.event.listen(engine, "begin", begin)
    try:
        # The switch to write-ahead logging does not wait for locks: one process at a time opens a new file.
        with FileLock(f"{path}.opening", timeout=timeout_s, mode=0o600), transaction(engine):
            return engine
    except Timeout as e:
        raise GalleryUnavailable("Another process is opening the database and does not finish.") from e


@contextmanager
def _patience(connection: sa.Connection, patience_ms: int | None, otherwise_s: float) -> Iterator[None]:
    """Let SQLite wait so long for a lock inside; None: as ever."""
    if patience_ms is None:
        yield
        return
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {patience_ms}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {round(1000 * otherwise_s)}")


def open_postgresql(url: sa.URL, timeout_s: float, ef_search: int, cipher: Cipher | None = None) -> sa.Engine:
    """Open a PostgreSQL URL; parameters that stand in it win over those set here.

    A pooler may give each transaction another of its connections (PgBouncer's `pool_mode = transaction`). So
    nothing is set at start-up or for a session: each transaction brings its settings along, in the message
    that begins it. Statements are prepared in the server, which spares it a fifth of a small search, only
    where no pooler stands in between, or where the URL has `prepare_threshold=n`: after so many runs of each.

    Of several servers that the URL names (`host=a&host=b`) it is the primary that is connected to. A server
    that turns out to be a standby is left, for its name may stand for another one by then.

    Args:
        url: its driver does not matter.
        timeout_s: how long a connection, a lock, a statement, and a client that has died within a transaction
            are waited for, in seconds.
        ef_search: candidates that the index for vectors looks at, 1 to 1,000.
        cipher: as above.
    """
    timeout_ms = max(1, round(1000 * timeout_s))
    settings = {
        "lock_timeout": timeout_ms,
        "statement_timeout": timeout_ms,
        "idle_in_transaction_session_timeout": timeout_ms,
        "hnsw.ef_search": ef_search,
        # Goes on where the first ef_search candidates do not suffice; search_database.py sorts them itself.
        "hnsw.iterative_scan": "relaxed_order",
    }
    for name in OPTION.findall(str(url.query.get("options", ""))):
        settings.pop(name, None)
    local = "".join(f"; SET LOCAL {name} = {value}" for name, value in settings.items())
    read = f"BEGIN ISOLATION LEVEL REPEATABLE READ{local}"
    # Who waits for the lock must then see what its last holder wrote: a new snapshot for each statement.
    write = f"BEGIN ISOLATION LEVEL READ COMMITTED{local}"
    query = {
        "connect_timeout": str(math.ceil(timeout_s)),
        # A server that vanishes without a word is noticed by the silence.
        "keepalives_idle": str(math.ceil(timeout_s)),
        "tcp_user_timeout": str(timeout_ms),
        **url.query,
    }
    if isinstance(query.get("host"), tuple):
        query.setdefault("target_session_attrs", "read-write")
    asked = query.pop("prepare_threshold", None)
    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg", query=query),
        connect_args={"autocommit": True},  # transactions are begun by `begin`, not by the driver
        pool_timeout=timeout_s,
        pool_pre_ping=True,  # the server may have been restarted since
        hide_parameters=True,  # as above
    )

    def configure(connection: Any, record: Any) -> None:
        if asked is not None:
            connection.prepare_threshold = int(str(asked))
        elif connection.execute("SELECT pg_backend_pid()").fetchone()[0] != connection.info.backend_pid:
            connection.prepare_threshold = None  # the process that we were told of is a pooler's invention
        record.info["prepare_threshold"] = connection.prepare_threshold
        record.info["cipher"] = cipher

    def begin(connection: sa.Connection) -> None:
        driver: Any = connection.connection.driver_connection
        driver.prepare_threshold = None  # several statements in one message cannot be prepared
        options = connection.get_execution_options()
        patience_ms = options.get("patience_ms")
        patience = "" if patience_ms is None else f"; SET LOCAL lock_timeout = {patience_ms}"
        locks = _locks(options.get("writes_to"))
        connection.exec_driver_sql(f"{write}{patience}; {locks}" if options.get("write") else read)
        driver.prepare_threshold = connection.info["prepare_threshold"]

    def leave(context: sa.engine.ExceptionContext) -> None:
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True  # and so are the others of the pool

    sa.event.listen(engine, "connect", configure)
    sa.event.listen(engine, "begin", begin)
    sa.event.listen(engine, "handle_error", leave)
    return engine


def _locks(gallery: str | None) -> str:
    """Return the statements that wait for those who write to a gallery, or to any; see WRITE_LOCK."""
    if gallery is None:
        return f"SELECT pg_advisory_xact_lock({WRITE_LOCK})"
    number = crc32(gallery.encode()) - 2**31  # a signed one of four bytes
    return (
        f"SELECT pg_advisory_xact_lock_shared({WRITE_LOCK}); "
        f"SELECT pg_advisory_xact_lock({GALLERY_LOCK}, ({number})::int)"
    )
