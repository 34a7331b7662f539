"""What was erased, as lines of the audit log and receipts tell it.

A backup or an export that is older brings it back; replay.py then erases it again.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from pydantic_core import from_json

from recognition.bounds import Id, Moment
from recognition.gallery.tables import DEFAULT_NAME

ENROLLING = "enrol"
CLEARING = ("clear", "delete_gallery")
ERASING = ("delete", "delete_events", "expire", *CLEARING)
PARTING = ("make", "unmerge")  # of those who were merged, and are somebody of their own again
FORGETTING = "forget"  # all kept faces
RENAMING = ("merge", *PARTING)


@dataclass(slots=True)
class Erasures:
    """When things were erased last, in UTC.

    samples, persons, events: by their ids.
    cleared: everything; None: never.
    """

    samples: dict[str, datetime] = field(default_factory=dict)
    persons: dict[str, datetime] = field(default_factory=dict)
    events: dict[str, datetime] = field(default_factory=dict)
    cleared: datetime | None = None


@dataclass(slots=True)
class Journal:
    """What audit logs and receipts tell.

    done: what was erased.
    unfinished: what was about to be, and nobody knows whether it was.
    enrolled: when samples were enrolled last, in UTC, by id.
    forgotten: when all kept faces were last deleted, in UTC; None: never.
    until: the time of the last line; None: there is none.
    strange: how many lines are neither of an audit log nor receipts.
    """

    done: Erasures = field(default_factory=Erasures)
    unfinished: Erasures = field(default_factory=Erasures)
    enrolled: dict[str, datetime] = field(default_factory=dict)
    forgotten: datetime | None = None
    until: datetime | None = None
    strange: int = 0


class _Line(BaseModel):
    """A line of the audit log, as audit.py writes it."""

    time: Moment
    request_id: str | None = None
    who: str
    what: str
    outcome: Literal["begun", "done", "failed"]
    ids: tuple[Id, ...] = ()
    samples: int | None = None  # their number, where all are concerned
    person: Id | None = None
    into: Id | None = None
    persons: tuple[Id, ...] = ()
    events: tuple[Id, ...] = ()
    gallery: str = DEFAULT_NAME  # which lines do not name

    def change(self) -> tuple[Any, ...]:
        """Return what the two lines of a change have alike."""
        whose = (self.ids, self.samples, self.person, self.into, self.persons, self.events)
        return (self.request_id, self.who, self.what, self.gallery, *whose)


class _Receipt(BaseModel):
    """What `DELETE /persons/<id>?receipt=1` says of somebody who was erased."""

    person: Id
    samples: tuple[Id, ...]
    erased_at: Moment
    gallery: str = DEFAULT_NAME

    def line(self) -> _Line:
        """Say the same as the audit log does."""
        return _Line.model_construct(
            time=self.erased_at,
            who="",
            what="delete",
            outcome="done",
            ids=self.samples,
            person=self.person,
            gallery=self.gallery,
        )


def read(
    files: Iterable[Iterable[bytes]], since: datetime | None = None, gallery: str = DEFAULT_NAME
) -> Journal:
    """Read audit logs and receipts, a line each; in which order the files come does not matter.

    Of a change the line `begun` has its time: nobody else can write then, so whatever was enrolled before is
    erased, and whatever is enrolled later is not. A receipt has that time, too.

    Args:
        files: of lines. A receipt may stand in the answer that it came in.
        since: UTC; what was erased before it is passed over.
        gallery: whose lines count.

    Raises:
        OSError: a file cannot be read.
    """
    journal = Journal()
    done: list[_Line] = []
    begun: defaultdict[tuple[Any, ...], deque[_Line]] = defaultdict(deque)
    for line in _in_order(files, journal):
        journal.until = max(journal.until or line.time, line.time)
        if line.what not in (ENROLLING, FORGETTING, *ERASING, *RENAMING) or line.gallery != gallery:
            continue
        if line.outcome == "begun":
            begun[line.change()].append(line)
            continue
        change = line.change()
        first = begun[change].popleft() if begun[change] else line  # which may lie in a file that is gone
        if not begun[change]:
            del begun[change]
        if line.outcome == "done" and line.what == ENROLLING:
            _enrol(journal, line)
        elif line.outcome == "done" and line.what == FORGETTING:
            journal.forgotten = max(journal.forgotten or first.time, first.time)
        elif line.outcome == "done":
            done.append(first)
    unknown = [line for lines in begun.values() for line in lines]
    for line in unknown:
        if line.what == ENROLLING:
            _enrol(journal, line)
    _erase(journal.done, done, since)
    _erase(journal.unfinished, [line for line in unknown if line.what in ERASING], since)
    return journal


def _enrol(journal: Journal, line: _Line) -> None:
    for sample_id in line.ids:
        journal.enrolled[sample_id] = max(journal.enrolled.get(sample_id, line.time), line.time)


def _erase(erasures: Erasures, lines: Sequence[_Line], since: datetime | None) -> None:
    """Note the last erasure of everything. Whoever was merged into somebody is erased with them."""
    merged: dict[str, set[str]] = {}  # the ids of those whose samples somebody has got
    into: dict[str, str] = {}  # whose these are, by those ids
    for line in sorted(lines, key=lambda line: line.time):
        if line.what == "merge" and line.person and line.into:
            theirs = {line.person} | merged.pop(line.person, set())
            merged.setdefault(line.into, set()).update(theirs)
            into |= dict.fromkeys(theirs, line.into)
        elif line.what in PARTING and line.person in into:
            merged[into.pop(line.person)].discard(line.person)
        elif line.what in ERASING and (since is None or line.time >= since):
            if line.what in CLEARING:
                erasures.cleared = line.time
            erasures.samples |= dict.fromkeys(line.ids, line.time)
            erasures.events |= dict.fromkeys(line.events, line.time)
            for person in (*line.persons, *((line.person,) if line.person else ())):
                erasures.persons |= dict.fromkeys({person} | merged.get(person, set()), line.time)


def _in_order(files: Iterable[Iterable[bytes]], journal: Journal) -> Iterator[_Line]:
    """Yield the lines of all files, those of the file first that begins first."""
    begun = []
    for file in files:
        lines = _lines(file, journal)
        if (first := next(lines, None)) is not None:
            begun.append((first, lines))
    for first, lines in sorted(begun, key=lambda each: each[0].time):
        yield first
        yield from lines


def _lines(file: Iterable[bytes], journal: Journal) -> Iterator[_Line]:
    for text in file:
        if (line := _parsed(text)) is not None:
            yield line
        elif text.strip():
            journal.strange += 1


def _parsed(text: bytes) -> _Line | None:
    try:
        value = from_json(text)
        value = value.get("receipt", value)
        return _Receipt.model_validate(value).line() if "erased_at" in value else _Line.model_validate(value)
    except (ValueError, AttributeError, TypeError):  # no JSON, such as a line cut off; no object; another one
        return None
