"""Events that wait for their outlets, in a SQLite file: none is lost over a restart, a crash or a full disk.

The standard library's sqlite3 suffices: the queues on PyPI that are kept, persist-queue and litequeue, have
neither a bound that drops the oldest, nor several receivers, nor do they overwrite what they delete.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from recognition.events.delivery import Say, Waiting, line_of
from recognition.visits import Event, as_json

LIMIT = 10_000  # events for each outlet: at 100 visits a day, three months
HELD = 1_000  # events in memory while the disk takes none
HELD_WITH_PICTURE = 100  # of these, of some 20 KB each
MAX_PICTURE_BYTES = 1 << 18  # a face of 512 by 512 pixels has some 60 KB
KEPT_S = 30 * 24 * 3600  # as long as the service keeps events, unless it is set otherwise

VERSION = 1
TABLES = f"""
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    outlet TEXT NOT NULL,
    id TEXT NOT NULL,
    person TEXT,
    stored REAL NOT NULL,
    body TEXT NOT NULL,
    picture BLOB,
    UNIQUE (outlet, id)
);
CREATE INDEX IF NOT EXISTS events_in_order ON events (outlet, number);
CREATE TABLE IF NOT EXISTS about (version INTEGER NOT NULL, identity TEXT NOT NULL);
INSERT INTO about SELECT {VERSION}, lower(hex(randomblob(8))) WHERE NOT EXISTS (SELECT * FROM about);
"""
INSERT = "INSERT OR REPLACE INTO events (outlet, id, person, stored, body, picture) VALUES (?, ?, ?, ?, ?, ?)"
DELETE_SAME = "DELETE FROM events WHERE outlet = ? AND id = ? AND body = ?"
DELETE_UP_TO = "DELETE FROM events WHERE outlet = ? AND number <= ?"
DELETE_EVENT = "DELETE FROM events WHERE id = ?"


class SpoolUnavailable(Exception):
    """The file is in use by another process, is something else, or cannot be made. The text says which."""


class Spool:
    """The file; threads may share it, processes may not."""

    def __init__(
        self, file: Path, say: Say, *, limit: int = LIMIT, clock: Callable[[], float] = time.time
    ) -> None:
        """Open the file; a new one, and a new folder, can be read by their owner only.

        Args:
            file: where it lies.
            say: takes messages.
            limit: the most events for each outlet; the oldest are dropped.
            clock: seconds since 1970.

        Raises:
            SpoolUnavailable.
        """
        self.file = file
        self._say, self._limit, self._clock = say, limit, clock
        self._lock = threading.Lock()
        self._held: list[Waiting] = []  # not on disk yet
        self._past: dict[str, int] = {}  # the last row of each outlet that is done, deleted or not
        self._dropped: dict[str, int] = {}
        self._full = False
        self._log_to_empty = True
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.touch(mode=0o600)  # SQLite gives the log beside it the same mode
            self._connection = _connect(file)
        except OSError as e:
            raise SpoolUnavailable(f"{file} cannot be made: {e.strerror}.") from e
        except sqlite3.Error as e:
            raise SpoolUnavailable(_why(e, file)) from e
        version, self.identity = self._connection.execute("SELECT version, identity FROM about").fetchone()
        if version != VERSION:
            self._connection.close()
            raise SpoolUnavailable(f"{file} was made by another version of this program.")

    def put(self, event: Event, picture: bytes | None, outlets: Mapping[str, bool]) -> None:
        """Store an event for outlets, and return when it is on disk, or held in memory if that is full.

        An event that still waits is replaced by one of the same id.

        outlets: by name, whether each wants the picture; one of more than MAX_PICTURE_BYTES goes without.
        """
        body = line_of(as_json(event))
        if picture is not None and len(picture) > MAX_PICTURE_BYTES:
            picture = None
        with self._lock:
            self._held += [
                Waiting(None, outlet, event.id, event.person, body, picture if wants_picture else None)
                for outlet, wants_picture in outlets.items()
            ]
            self._store()

    def next(self, outlet: str) -> Waiting | None:
        """Return the oldest event that waits for an outlet; None: there is none."""
        with self._lock:
            self._store()
            with suppress(sqlite3.Error):
                row = self._connection.execute(
                    "SELECT number, outlet, id, person, body, picture FROM events "
                    "WHERE outlet = ? AND number > ? ORDER BY number LIMIT 1",
                    (outlet, self._past.get(outlet, 0)),
                ).fetchone()
                if row is not None:
                    return Waiting(*row)
                self._empty_log()
            return next((each for each in self._held if each.outlet == outlet), None)

    def done(self, waiting: Waiting) -> None:
        """Remove an event that was delivered, or given up, and overwrite it."""
        with self._lock:
            if waiting.number is None:
                same = waiting.outlet, waiting.id, waiting.body
                kept = [each for each in self._held if (each.outlet, each.id, each.body) != same]
                if len(kept) < len(self._held):
                    self._held = kept
                    return
                self._change(DELETE_SAME, same)  # it has found room on the disk meanwhile
            else:
                # On a full disk nothing can be deleted either: the next time deletes these, too.
                self._past[waiting.outlet] = waiting.number
                self._change(DELETE_UP_TO, (waiting.outlet, waiting.number))

    def count(self) -> dict[str, int]:
        """Count what waits, by outlet, also of outlets that nobody serves now."""
        with self._lock:
            counts = dict(self._rows("SELECT outlet, count(*) FROM events GROUP BY outlet"))
            for each in self._held:
                counts[each.outlet] = counts.get(each.outlet, 0) + 1
            return counts

    def ids(self) -> set[str]:
        """Return the ids of the events that wait."""
        with self._lock:
            rows = self._rows("SELECT DISTINCT id FROM events")
            return {event_id for (event_id,) in rows} | {each.id for each in self._held}

    def forget(self, event_id: str) -> None:
        """Remove an event that was erased, and overwrite it."""
        with self._lock:
            self._held = [each for each in self._held if each.id != event_id]
            self._change(DELETE_EVENT, (event_id,))

    def rename(self, event: Event) -> None:
        """Say of an event that waits whose it is by now."""
        with self._lock:
            self._held = [each if each.id != event.id else _renamed(each, event) for each in self._held]
            columns = "number, outlet, id, person, body, picture"
            for row in self._rows(f"SELECT {columns} FROM events WHERE id = ?", event.id):
                before = Waiting(*row)
                after = _renamed(before, event)
                if after != before:
                    self._change(
                        "UPDATE events SET person = ?, body = ? WHERE number = ?",
                        (after.person, after.body, after.number),
                    )

    def forget_old(self) -> None:
        """Remove what waits for longer than KEPT_S, and overwrite it."""
        with self._lock, suppress(sqlite3.Error), self._transaction():
            before = self._clock() - KEPT_S
            for outlet, number in self._connection.execute(
                "SELECT outlet, count(*) FROM events WHERE stored < ? GROUP BY outlet", (before,)
            ).fetchall():
                self._say(f"{number} events for {outlet} are dropped: they waited for 30 days.")
                self._log_to_empty = True
            self._connection.execute("DELETE FROM events WHERE stored < ?", (before,))

    def close(self) -> None:
        """Store what is held, if there is room now, and close the file."""
        with self._lock:
            self._store()
            if self._held:
                self._say(f"{len(self._held)} events are lost: {self.file} still takes none.")
            with suppress(sqlite3.Error):
                self._empty_log()
            self._connection.close()

    def _store(self) -> None:
        """Write what is held. On a disk that takes nothing it stays held, up to a bound."""
        if not self._held:
            return
        try:
            with self._transaction():
                dropped = self._insert(self._held)
        except sqlite3.Error as e:
            if not self._full:
                self._full = True
                self._say(f"{_why(e, self.file)} Up to {HELD} events are held in memory until it can.")
            self._bound_held()
            return
        self._held = []
        if self._full:
            self._full = False
            self._say(f"{self.file} can be written again.")
        for outlet, number in dropped.items():
            self._count_dropped(outlet, number)

    def _insert(self, held: list[Waiting]) -> dict[str, int]:
        """Write rows, and delete the oldest beyond the limit. Returns how many of each outlet."""
        at = self._clock()
        self._connection.executemany(
            INSERT, [(each.outlet, each.id, each.person, at, each.body, each.picture) for each in held]
        )
        dropped = {}
        for outlet in {each.outlet for each in held}:
            count = "SELECT count(*) FROM events WHERE outlet = ?"
            (number,) = self._connection.execute(count, (outlet,)).fetchone()
            if number > self._limit:
                dropped[outlet] = number - self._limit
                self._connection.execute(
                    "DELETE FROM events WHERE number IN "
                    "(SELECT number FROM events WHERE outlet = ? ORDER BY number LIMIT ?)",
                    (outlet, number - self._limit),
                )
        return dropped

    def _bound_held(self) -> None:
        while len(self._held) > HELD:
            self._count_dropped(self._held.pop(0).outlet, 1)
        for place, each in enumerate(self._held[: -HELD_WITH_PICTURE or None]):
            if each.picture is not None:
                self._held[place] = replace(each, picture=None)

    def _count_dropped(self, outlet: str, number: int) -> None:
        """Say so of the first, the tenth, the hundredth ...: not as often as it happens."""
        before = self._dropped.get(outlet, 0)
        self._dropped[outlet] = before + number
        if int(math.log10(before or 0.1)) != int(math.log10(before + number)) or not before:
            self._say(f"{before + number} events for {outlet} are dropped, the oldest: too many wait.")

    def _rows(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Read rows; none where the disk fails."""
        with suppress(sqlite3.Error):
            return self._connection.execute(query, values).fetchall()
        return []

    def _change(self, statement: str, values: tuple[str | int | None, ...]) -> None:
        with suppress(sqlite3.Error), self._transaction():
            self._connection.execute(statement, values)
            self._log_to_empty = True

    def _empty_log(self) -> None:
        """Once nothing waits, leave nothing of it in SQLite's write-ahead log either."""
        if self._log_to_empty and self._connection.execute("SELECT 1 FROM events LIMIT 1").fetchone() is None:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            self._log_to_empty = False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise


def _renamed(waiting: Waiting, event: Event) -> Waiting:
    body = {**json.loads(waiting.body), "name": event.name, "person": event.person}
    return replace(waiting, person=event.person, body=line_of(body))


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{file.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        # Two processes would deliver everything twice. The lock goes with the process, even if it is killed.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # what `put` has taken is on disk
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten: it has names
        connection.executescript(f"BEGIN IMMEDIATE; {TABLES} COMMIT;")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _why(error: sqlite3.Error, file: Path) -> str:
    code = (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF  # without the detail
    if code == sqlite3.SQLITE_BUSY:
        return f"Another process uses {file}; name another file with --queue."
    if code == sqlite3.SQLITE_NOTADB:
        return f"{file} is something else than a queue of events."
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return f"The queue {file} cannot be written: the disk is full, or fails."
    return f"The queue {file} cannot be used: {error}."
