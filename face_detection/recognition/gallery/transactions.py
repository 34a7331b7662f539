"""Transactions of a database that has several galleries, of which each is in one alone.

Each begins with `rows.enter`. What has expired is found by nobody from that moment on. Whoever writes removes
it first, and so does the upkeep once a minute, if the clock is to be believed (clock.py): readers never wait
for a database that cannot be written.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from types import EllipsisType
from typing import Self, TypeVar

import sqlalchemy as sa

from recognition.audit import Audit, Begin
from recognition.errors import GalleryUnavailable, ModelChanged
from recognition.gallery import atrest, persons, rows
from recognition.gallery.clock import Clock, Trust
from recognition.gallery.database import NotAlone, empty_log, transaction
from recognition.gallery.replicas import Replicas, origin_of
from recognition.gallery.search import Search
from recognition.gallery.tables import DEFAULT_NAME, State, naive_utc
from recognition.gallery.tables import expired as gone_by
from recognition.gallery.tables import persons as persons_table
from recognition.gallery.unknown_groups import Known
from recognition.gallery.weighing import Kept
from serving.errors import NotFound

log = logging.getLogger(__name__)

T = TypeVar("T")


class Transactions:
    """Begins them. Several threads may use it, and several processes the same database.

    name: of the gallery that they are in; `of` gives the others of the database.
    replicas: standbys that searches are made on; None: there are none.
    """

    def __init__(
        self,
        engine: sa.Engine,
        make_search: Callable[[], Search],
        clock: Clock,
        audit: Audit,
        replicas: Replicas | None = None,
    ) -> None:
        self.engine = engine
        self.replicas = replicas
        self.name = DEFAULT_NAME
        self.audit = audit
        self._make_search = make_search
        self._searches: dict[str, Search] = {}  # of the galleries that have been searched, by name
        self._calibrations: dict[str, Kept] = {}  # likewise
        self.unknowns: dict[str, Known] = {}  # likewise; see unknown_groups.py
        self._models: dict[str, str | None] = {}  # as the last transaction found them, by the same names
        self._expected: str | EllipsisType | None = ...  # model of this gallery; ...: whichever it is
        self._clock = clock
        self._looked_at_s: float | None = None  # at the clock, last

    def of(self, name: str) -> Self:
        """Return the gallery of this name in the same database, whether it is there or not.

        Where it is not, all that is asked of it raises NotFound.
        """
        other = copy.copy(self)
        other.name, other._expected = name, ...
        other.audit = replace(self.audit, gallery=None if name == DEFAULT_NAME else name)
        return other

    @property
    def model_name(self) -> str | None:
        """Return the name of the gallery's model, as this process has last seen it.

        None: whichever the embedding service has for its own.
        """
        return self._models.get(self.name)

    def of_model(self, name: str | None) -> Self:
        """Return this gallery, whose transactions raise ModelChanged where its model is another one."""
        other = copy.copy(self)
        other._expected = name
        return other

    def check_there(self) -> None:
        """Make sure that there is this gallery.

        Raises:
            NotFound: there is not.
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        with self.reading():
            pass

    def forget(self) -> None:
        """Keep nothing in memory of a gallery that is not there any more."""
        self._searches.pop(self.name, None)
        self._calibrations.pop(self.name, None)
        self.unknowns.pop(self.name, None)
        self._models.pop(self.name, None)

    def searched(self) -> set[str]:
        """Return the names of the galleries that this process has searched, and may have in memory."""
        return set(self._searches)

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return self._clock()

    def moment(self) -> datetime:
        """Return the moment, naive UTC, by which samples have expired or not."""
        return naive_utc(self._clock())

    def close(self) -> None:
        """Close all connections to the database."""
        self.engine.dispose()
        if self.replicas is not None:
            self.replicas.close()

    def search(self, look: Callable[[Search, sa.Connection, State], T]) -> T:
        """Search in one transaction: of a replica, if one has all that was acknowledged before.

        look: gets the search, whose lock is held, the transaction and the state. Where a replica fails on the
            way, it is called a second time, on the primary.

        Raises:
            GalleryUnavailable: the primary cannot be reached, or is locked.
        """
        if self.replicas is not None and self.replicas.turn():
            moment = self.moment()
            with self.reading() as (connection, known):
                origin = origin_of(connection)
            try:
                with self.replicas.reading(self.name, origin, known) as (connection, current):
                    # The standby may not know yet which moments were credible.
                    current = _hiding(current, known.trust.hides_by(moment))
                    self._check_model(current)  # it may know more than the primary did a moment ago
                    found = look(self._search(), connection, current)
                self.replicas.served()
                return found
            except GalleryUnavailable as e:
                self.replicas.failed(e)
        with self.searching() as (search, connection, current):
            return look(search, connection, current)

    def check_replicas(self) -> None:
        """Make sure that a replica can be read, and is not behind.

        Raises:
            GalleryUnavailable: none can, or the primary cannot.
        """
        if self.replicas is not None:
            with self.reading() as (connection, known):
                origin = origin_of(connection)
            with self.replicas.reading(self.name, origin, known):
                pass

    @contextmanager
    def searching(self) -> Iterator[tuple[Search, sa.Connection, State]]:
        """Begin a transaction to search in; gives the search, whose lock is held, too."""
        search = self._search()
        with search.lock, self.reading() as (connection, current):
            yield search, connection, current

    @contextmanager
    def reading(self) -> Iterator[tuple[sa.Connection, State]]:
        """Begin a transaction; gives the state in it, too, which says whether samples in it have expired."""
        moment = self.moment()
        with transaction(self.engine) as connection:
            current = self._enter(connection)
            yield connection, _hiding(current, current.trust.hides_by(moment))

    def written(self, work: Callable[[sa.Connection, Begin], T]) -> T:
        """Do work in a transaction of `writing`, and return what it returns.

        Where it turns out to need the database alone, it is done over again in one that is.
        """
        try:
            with self.writing() as (connection, begin):
                return work(connection, begin)
        except NotAlone:
            with self.writing(alone=True) as (connection, begin):
                return work(connection, begin)

    @contextmanager
    def writing(
        self, patience_ms: int | None = None, *, alone: bool = False
    ) -> Iterator[tuple[sa.Connection, Begin]]:
        """Begin a transaction that writes: first of all it removes what has expired, by a credible clock.

        Args:
            patience_ms: how long others that write are waited for; None: as the gallery was opened.
            alone: nobody writes to another gallery meanwhile, either. What locks whole tables needs that: by
                making or dropping an index, or by emptying them.

        Gives what begins a change's lines in the audit log, too: to be called when only the commit is left.
        """
        moment = self.moment()
        expired: list[str] = []
        whose = None if alone else self.name
        began = transaction(self.engine, write=True, gallery=whose, patience_ms=patience_ms)
        with self.audit.outcomes() as begin, began as connection:
            current = self._enter(connection)
            erased_by = self._judged(connection, current.trust, moment).erases_by(moment)
            if erases := current.due(erased_by):
                expired = rows.remove(connection, gone_by(current.gallery, erased_by))
                over = sa.and_(persons.inside(connection), persons_table.c.expires_at <= erased_by)
                gone = persons.remove(connection, over)
                begin("expire", expired, **({"persons": gone} if gone else {}))
            yield connection, begin
        if erases:
            empty_log(self.engine)

    def _judged(self, connection: sa.Connection, known: Trust, moment: datetime) -> Trust:
        """Look at the clock, and note what is news; once for all processes the log tells of a jump."""
        trust = known.judged(moment, self._ran())
        self._looked_at_s = self._clock.steady_s()
        noted = known.is_news(trust) and rows.note(connection, known, trust)
        if noted and trust.claimed is not None and known.claimed is None:
            log.warning(
                "the clock has jumped from %s to %s: what expires in between is not found, and not erased "
                "before services have run on this time for a while",
                trust.seen,
                trust.claimed,
            )
        return trust

    def _ran(self) -> timedelta:
        """Tell how long this process has run since it looked at the clock."""
        if self._looked_at_s is None:
            return timedelta(0)
        return timedelta(seconds=self._clock.steady_s() - self._looked_at_s)

    def _search(self) -> Search:
        """Return what searches this gallery, made when it is first needed."""
        return self._searches.get(self.name) or self._searches.setdefault(self.name, self._make_search())

    def _enter(self, connection: sa.Connection) -> State:
        """Let a transaction be in this gallery, if it is there, and opened with its own key."""
        try:
            current = rows.enter(connection, self.name)
        except NotFound:
            self.forget()
            raise
        atrest.check(connection, current.key_check)
        self._models[self.name] = current.model
        self._check_model(current)
        return current

    def _check_model(self, current: State) -> None:
        if self._expected not in (..., current.model):
            raise ModelChanged("The gallery has another model by now.")


def _hiding(current: State, moment: datetime) -> State:
    """Let what has expired by a moment count as gone."""
    return current._replace(expired_by=moment) if current.due(moment) else current
