"""What is answered to the removal of a person: what was erased, where and when, and what remains. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from recognition.results import Erasure
from recognition.web import answers

ERASED = (
    "the person's name, metadata and times",
    "of each sample its vector, kept face, metadata, action and times",
    "of each visit to a camera its picture, camera and times",
)
OVERWRITTEN = ("the rows of the database", "overwritten")
LOG_EMPTIED = ("the database's write-ahead log", "emptied")
LOG_PENDING = ("the database's write-ahead log", "emptied within a minute, once nobody reads it")
DELETED = ("the rows of the database", "deleted; VACUUM lets them be overwritten")
COPIES = "backups and exports that were made before, encrypted ones, too"
AUDITED = "lines of the audit log, which have these ids"
ARCHIVES = "PostgreSQL's write-ahead log, and archives of it"
BLOCKS = "old blocks of the disk, until it uses them again"
FOLLOW = (
    "`recognition gallery replay-erasures` erases it again where a backup or an export brings it back; "
    "it takes the audit log, or this receipt"
)


def erasure_answer(erasure: Erasure, *, receipt: bool) -> answers.Erased:
    """Render the answer to the removal of a person."""
    answer: answers.Erased = {"success": [erasure.person]}
    if receipt:
        answer["receipt"] = {
            "person": erasure.person,
            "samples": erasure.samples,
            "events": erasure.events,
            "erased": list(ERASED),
            "erased_at": erasure.erased_at.isoformat(),
            "gallery": erasure.gallery,
            "database": erasure.database,
            "places": [{"place": place, "state": state} for place, state in _places(erasure)],
            "remains": list(_remains(erasure)),
            "after_restoring": FOLLOW,
        }
    return answer


def _places(erasure: Erasure) -> Iterator[tuple[str, str]]:
    if erasure.database != "sqlite":
        yield DELETED
        return
    yield OVERWRITTEN
    yield LOG_EMPTIED if erasure.log_emptied else LOG_PENDING


def _remains(erasure: Erasure) -> Iterator[str]:
    yield COPIES
    if erasure.audited:
        yield AUDITED
    if erasure.database != "sqlite":
        yield ARCHIVES
    yield BLOCKS
