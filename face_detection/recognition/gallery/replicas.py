"""Searches on hot standbys of PostgreSQL, which may be behind: none sees less than was acknowledged before.

Whatever changes what a search may find raises the gallery's revision. So the primary is asked for it, and
the search is made in a transaction of a standby that sees that revision, or a later one. What a standby
cannot do, the primary does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple

import sqlalchemy as sa

from recognition.errors import GalleryUnavailable
from recognition.gallery import rows
from recognition.gallery.database import transaction
from recognition.gallery.tables import State
from serving.credentials import without_credentials
from serving.errors import NotFound

log = logging.getLogger(__name__)

WAIT_S = 0.2  # for a standby that is behind; most replay a change within some milliseconds
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.001, 0.016
RETRY_S = 5.0  # after it was away or too far behind; until then no search waits for it
ROLLED_BACK = "40"  # SQLSTATEs of conflicts, of which one is with what the standby replays

# A copy has the primary's identifier, keys of databases, and history. The history has another number once a
# standby was promoted: one that still follows the server of before may have what the new primary never had.
# A standby notes the number when it writes pages or a restart point.
_ORIGIN = sa.text("""
SELECT (SELECT system_identifier FROM pg_control_system()),
    (SELECT oid FROM pg_database WHERE datname = current_database()),
    CASE WHEN pg_is_in_recovery() THEN greatest(
        (SELECT timeline_id FROM pg_control_checkpoint()),
        (SELECT min_recovery_end_timeline FROM pg_control_recovery()))
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END
""")


class Origin(NamedTuple):
    """What tells a copy of a database from all others: the cluster, the database in it, and its history."""

    cluster: int
    database: int
    timeline: int


def origin_of(connection: sa.Connection) -> Origin | None:
    """Tell which database a transaction is in, at the end of it; None: the server does not say."""
    try:
        return Origin._make(connection.execute(_ORIGIN).one())
    except sa.exc.DBAPIError as e:
        if e.connection_invalidated:
            raise
        return None  # a service like PostgreSQL, or one that grants less


class Replicas:
    """The standbys of one URL, and whether they are to be asked. Several threads may use it."""

    def __init__(self, engine: sa.Engine, wait_s: float = WAIT_S, retry_s: float = RETRY_S) -> None:
        self.engine = engine
        self.wait_s, self.retry_s = wait_s, retry_s
        self._lock = Lock()
        self._again_at_s: float | None = None  # by the steady clock; None: they are asked
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Say why the primary makes the searches for now, without addresses; None: it does not."""
        return self._trouble

    def turn(self) -> bool:
        """Tell whether a search is to try a standby: while they are away, one in a while."""
        now_s = time.monotonic()
        with self._lock:
            if self._again_at_s is None:
                return True
            if now_s < self._again_at_s:
                return False
            self._again_at_s = now_s + self.retry_s  # others need not wait for what this one finds
            return True

    @contextmanager
    def reading(
        self, name: str, origin: Origin | None, known: State
    ) -> Iterator[tuple[sa.Connection, State]]:
        """Begin a transaction in which a gallery is as the primary has it, or later; gives its state there.

        Args:
            name: of the gallery.
            origin: of the primary.
            known: the state of the gallery there.

        Raises:
            GalleryUnavailable: no standby can be reached, or has that state within `wait_s`.
        """
        until_s, pause_s = time.monotonic() + self.wait_s, FIRST_PAUSE_S
        while True:
            with transaction(self.engine) as connection:
                if origin is None or origin_of(connection) != origin:
                    raise GalleryUnavailable("It is no standby of the primary, or may follow another one.")
                current = _state(connection, name)
                if current is not None and _has(current, known):
                    yield connection, current
                    return
            if time.monotonic() + pause_s > until_s:
                raise GalleryUnavailable("It is behind the primary.")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def failed(self, error: GalleryUnavailable) -> None:
        """Note that a search could not be made; the log tells of it once, until one can be made again."""
        driver = getattr(error.__cause__, "orig", None)
        if (getattr(driver, "sqlstate", None) or "").startswith(ROLLED_BACK):
            return  # no fault of the standby's: it replays what was removed under this search
        cause = without_credentials(str(driver or error.__cause__ or "").partition("\n")[0])
        with self._lock:
            first = self._trouble is None
            self._again_at_s = time.monotonic() + self.retry_s
            self._trouble = error.detail
        self.engine.dispose()  # the name may stand for another server by then
        if first:
            log.warning("the primary searches in the place of DATABASE_READ_URL: %s %s", error.detail, cause)

    def served(self) -> None:
        """Note that a search was made."""
        if self._trouble is None:
            return
        with self._lock:
            self._again_at_s = self._trouble = None
        log.warning("DATABASE_READ_URL serves searches again")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _state(connection: sa.Connection, name: str) -> State | None:
    try:
        return rows.enter(connection, name)
    except NotFound:  # the standby does not have it yet
        return None


def _has(current: State, known: State) -> bool:
    """Tell whether a state of a gallery has all that another one has."""
    return current.gallery == known.gallery and current.revision >= known.revision
