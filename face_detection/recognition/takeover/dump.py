"""A file that pg_dump has made of CompreFace's database: SQL, or what pg_restore turns into that."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from recognition.takeover.database import TABLES, check_columns, services_of, troubles_of
from recognition.takeover.source import (
    NO_PICTURE,
    TOO_LARGE,
    Choose,
    Example,
    Read,
    Service,
    SourceFailure,
    Trouble,
)
from recognition.takeover.statements import CUT, bytes_of, rows

PG_RESTORE = "pg_restore"
CUSTOM, GZIP = b"PGDMP", b"\x1f\x8b"
TAR = b"toc.dat\0"  # the name of the first file in it
CONTENTS = "toc.dat"  # likewise in a folder
PACKED = {b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
PACKED |= {b"PK\x03\x04": "zip"}
AT_ONCE = 500  # examples that are shown at a time
SPARE = 1024  # bytes of a line of `img` beside the picture, which takes two characters for a byte
UNREADABLE = Trouble("invalid_image", "The dump's picture is no bytea.")

# The pictures come before the subjects, or behind them, in the order of the tables' names or in none, so the
# file is read twice: first for all but the pictures. SQLite keeps what it takes to put the two together, in a
# file that has no name and is gone with this process, once it is more than a little.
MADE = """
    CREATE TABLE model (id, name, type, key, app);
    CREATE TABLE app (id PRIMARY KEY, name);
    CREATE TABLE subject (id PRIMARY KEY, key, name);
    CREATE TABLE embedding (id PRIMARY KEY, subject, img, chosen DEFAULT 0);
    CREATE INDEX embedding_img ON embedding (img);
    CREATE INDEX subject_key ON subject (key);
"""
COLUMNS = {
    "model": ("id", "name", "type", "api_key", "app_id"),
    "app": ("id", "name"),
    "subject": ("id", "api_key", "subject_name"),
    "embedding": ("id", "subject_id", "img_id"),
}
EXAMPLES = """
    SELECT embedding.rowid, embedding.id, coalesce(subject.name, ''), subject.key FROM embedding
    JOIN subject ON subject.id = embedding.subject WHERE subject.key IN (SELECT key FROM asked)
"""


class Dump:
    """A dump of CompreFace's database; see `Source`."""

    def __init__(self, path: Path, max_picture_bytes: int) -> None:
        """Read all but the pictures.

        Raises:
            SourceFailure: it is no dump of CompreFace's database, or not whole; or pg_restore is needed.
            OSError: the file cannot be read.
        """
        self.troubles: list[Trouble] = []
        self._path, self._max_bytes = path, max_picture_bytes
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.executescript(MADE)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def services(self) -> list[Service]:
        """Return its services."""
        strays = """
            SELECT embedding.id FROM embedding LEFT JOIN subject ON subject.id = embedding.subject
            LEFT JOIN model ON model.key = subject.key WHERE model.key IS NULL ORDER BY embedding.id
        """
        self.troubles += troubles_of([row[0] for row in self._db.execute(strays)], 0)
        found = self._db.execute(
            "SELECT model.name, type, key, app.name FROM model LEFT JOIN app ON app.id = model.app"
            " ORDER BY CAST(model.id AS INTEGER)"
        )
        return services_of(found.fetchall(), self.troubles)

    def subjects(self, service: Service) -> Iterator[str]:
        """Return the names of a recognition service's subjects."""
        query = "SELECT coalesce(name, '') FROM subject WHERE key = ? ORDER BY name"
        for (name,) in self._db.execute(query, [service.key]):
            yield name

    def count(self, services: Sequence[Service]) -> int:
        """Return how many examples these recognition services have."""
        self._ask(services)
        return int(self._db.execute(f"SELECT count(*) FROM ({EXAMPLES})").fetchone()[0])

    def examples(self, services: Sequence[Service], choose: Choose) -> Iterator[Read]:
        """Show all examples of these services; give those that are chosen, in the order of the pictures."""
        self._ask(services)
        by_key = {service.key: service for service in services}
        with closing(
            self._db.execute(f"{EXAMPLES} ORDER BY subject.key, subject.id, embedding.id")
        ) as listing:
            while some := listing.fetchmany(AT_ONCE):
                chosen = choose([Example(row[1], row[2], by_key[row[3]]) for row in some])
                marked = [(row[0],) for row in some if row[1] in chosen]
                self._db.executemany("UPDATE embedding SET chosen = 1 WHERE rowid = ?", marked)
        orphans = 0
        for img, content in self._pictures():
            known = self._db.execute("SELECT 1 FROM embedding WHERE img = ? LIMIT 1", [img]).fetchone()
            orphans += known is None
            for rowid, example_id, name, key in self._db.execute(
                f"{EXAMPLES} AND chosen AND img = ?", [img]
            ).fetchall():
                self._db.execute("UPDATE embedding SET chosen = 0 WHERE rowid = ?", [rowid])
                yield Example(example_id, name, by_key[key]), self._picture(content)
        self.troubles += troubles_of([], orphans)
        for _, example_id, name, key in self._db.execute(f"{EXAMPLES} AND chosen"):
            yield Example(example_id, name, by_key[key]), NO_PICTURE

    def close(self) -> None:
        """Forget what was read."""
        self._db.close()

    def _ask(self, services: Sequence[Service]) -> None:
        self._db.execute("CREATE TEMP TABLE IF NOT EXISTS asked (key PRIMARY KEY)")
        self._db.execute("DELETE FROM asked")
        self._db.executemany("INSERT OR IGNORE INTO asked VALUES (?)", [(each.key,) for each in services])

    def _load(self) -> None:
        known: dict[str, Sequence[str]] = {}
        self._db.execute("BEGIN")
        with _sql(self._path, [*COLUMNS]) as stream:
            for table, row in rows(stream, COLUMNS, known, self._max_line()):
                blanks = ", ".join("?" * len(row))
                names = "(id, subject, img)" if table == "embedding" else ""
                values = [_text(value) for value in row]
                self._db.execute(f"INSERT OR REPLACE INTO {table}{names} VALUES ({blanks})", values)
        self._db.execute("COMMIT")
        # pg_restore is not asked for the pictures yet.
        check_columns({"img": TABLES["img"]} | {table: set(columns) for table, columns in known.items()})

    def _pictures(self) -> Iterator[tuple[str | None, bytes | None]]:
        with _sql(self._path, ["img"]) as stream:
            for _, (img, content) in rows(stream, {"img": ("id", "content")}, {}, self._max_line()):
                yield _text(img), content

    def _max_line(self) -> int:
        return 2 * self._max_bytes + SPARE

    def _picture(self, content: bytes | None) -> bytes | Trouble:
        if not content:
            return NO_PICTURE
        if content == CUT:
            return TOO_LARGE
        try:
            picture = bytes_of(content)
        except ValueError:
            return UNREADABLE
        if len(picture) > self._max_bytes:
            return TOO_LARGE
        return picture or NO_PICTURE


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


@contextmanager
def _sql(path: Path, tables: Sequence[str]) -> Iterator[BinaryIO]:
    """Open a dump as SQL: of one that pg_restore has to be asked for, just what is in some tables."""
    if path.is_dir():
        if not (path / CONTENTS).exists():
            raise SourceFailure(f"{path} is a folder, and no dump.")
        with _restored(path, tables) as stream:
            yield stream
        return
    with path.open("rb") as file:
        begins = file.read(512)
        file.seek(0)
        if begins.startswith((CUSTOM, TAR)):
            with _restored(path, tables) as stream:
                yield stream
        elif begins.startswith(GZIP):
            with gzip.open(file) as unpacked, _unpacking():
                if unpacked.read(len(CUSTOM)) == CUSTOM:
                    raise SourceFailure("Unpack the dump first (gunzip): pg_restore has to read it.")
                unpacked.seek(0)
                yield cast(BinaryIO, unpacked)
        elif packed := next((name for magic, name in PACKED.items() if begins.startswith(magic)), None):
            raise SourceFailure(f"The dump is packed with {packed}: unpack it first.")
        else:
            yield file


@contextmanager
def _unpacking() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError, zlib.error) as e:
        raise SourceFailure(f"The dump cannot be unpacked: {e}") from e


@contextmanager
def _restored(path: Path, tables: Sequence[str]) -> Iterator[BinaryIO]:
    """Let pg_restore, which needs no server for that, turn a dump into SQL."""
    program = shutil.which(PG_RESTORE)
    if program is None:
        raise SourceFailure(
            "This dump is in a format of pg_dump's own, which pg_restore has to read: install it (Debian's "
            "package postgresql-client), or make the dump as SQL (pg_dump without -F)."
        )
    command = [program, "--file=-", *(f"--table={table}" for table in tables), str(path.absolute())]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, stdin=subprocess.DEVNULL)
        assert process.stdout is not None
        try:
            yield cast(BinaryIO, process.stdout)
            left_open = bool(process.stdout.read(1))  # else it has ended, or does so now
        except BaseException:
            left_open = True
            raise
        finally:
            if left_open:
                process.kill()
            process.stdout.close()
            status = process.wait()
        if status != 0:
            errors.seek(0)
            said = errors.read(2000).decode("utf-8", "replace").strip().splitlines()
            raise SourceFailure(f"The dump cannot be read: {said[-1] if said else f'status {status}'}")
