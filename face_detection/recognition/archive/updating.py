"""Brings an index up to date with the folders that it is about."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TypeVar

from recognition.archive.entries import File, IndexUnavailable, Outcome, Refused
from recognition.archive.index import Index
from recognition.archive.walking import files_below, gone

FILES_AT_ONCE = 500  # that are looked up together
STORED_AT_ONCE = (
    32  # whose outcomes are stored together: a killed process has to see no more than these again
)

Item = TypeVar("Item")
Look = Callable[[Iterable[File]], Iterator[Outcome]]


@dataclass(frozen=True, slots=True)
class Pending:
    """What there is to do in folders.

    files: how many each has; waiting: how many of all of them are new or have changed.
    """

    files: Mapping[bytes, int]
    waiting: int


def outermost(folders: Iterable[bytes]) -> list[bytes]:
    """Leave out folders that lie in others of them; all are absolute paths."""
    kept: list[bytes] = []
    for folder in sorted(set(folders)):
        if not any(folder.startswith(other.rstrip(b"/") + b"/") for other in kept):
            kept.append(folder)
    return kept


def pending(index: Index, roots: Sequence[bytes], fingerprint: str, *, again: bool = False) -> Pending:
    """Look what is new or has changed in folders.

    Args:
        index: what is known of them.
        roots: the folders, absolute paths, none of them in another one.
        fingerprint: of the model of which vectors are wanted.
        again: all of it is to be seen again.

    Raises:
        IndexUnavailable: a folder of which something is known has nothing in it, as a disk that is missing.
    """
    files, waiting = {}, 0
    for root in roots:
        files[root] = 0
        for some in chunks(files_below(root), FILES_AT_ONCE):
            files[root] += len(some)
            waiting += len(_new(index, some, fingerprint, again=again))
        if not files[root] and index.count(root):
            name = os.fsdecode(root)
            raise IndexUnavailable(
                f"There is nothing in {name}, but the index knows pictures of it: is a disk missing? "
                f"`recognition index --forget {name}` forgets them."
            )
    return Pending(files, waiting)


def update(
    index: Index,
    due: Pending,
    look: Look,
    fingerprint: str,
    *,
    again: bool = False,
    advance: Callable[[int], object] = lambda number: None,
) -> int:
    """See what is new or has changed in folders, and forget what is gone. Returns how many files were gone.

    What is stored is never lost, however this ends: the next call goes on behind it.

    Args:
        index, fingerprint, again: as for `pending`.
        due: what that has returned.
        look: sees what is in files, with the model of the fingerprint.
        advance: is told how many files were looked at in each step.

    Raises:
        GalleryUnavailable: the index is locked, or its disk is full.
    """
    removed = 0
    for root, files in due.files.items():
        index.remove_passing(root)
        if due.waiting:
            files = _see(index, root, look, fingerprint, again=again, advance=advance)
        if index.count(root) > files:
            removed += _remove_gone(index, root)
    if due.waiting or removed:
        index.empty_log()
    return removed


def _see(
    index: Index,
    root: bytes,
    look: Look,
    fingerprint: str,
    *,
    again: bool,
    advance: Callable[[int], object],
) -> int:
    """See what is new or has changed in a folder. Returns how many files there are."""
    files = 0

    def waiting() -> Iterator[File]:
        nonlocal files
        for some in chunks(files_below(root), FILES_AT_ONCE):
            files += len(some)
            new = _new(index, some, fingerprint, again=again)
            if unreadable := [each for each in new if isinstance(each, Refused)]:
                index.store(unreadable, fingerprint)
                advance(len(unreadable))
            yield from (each for each in new if isinstance(each, File))

    for outcomes in chunks(look(waiting()), STORED_AT_ONCE):
        index.store(outcomes, fingerprint)
        advance(len(outcomes))
    return files


def _new(
    index: Index, some: Sequence[File | Refused], fingerprint: str, *, again: bool
) -> list[File | Refused]:
    """Return what of some files is new or has changed, and what cannot be looked at."""
    files = [each for each in some if isinstance(each, File)]
    unchanged = set() if again else index.unchanged(files, fingerprint)
    return [each for each in some if isinstance(each, Refused) or each.path not in unchanged]


def _remove_gone(index: Index, root: bytes) -> int:
    number = 0
    for missing in chunks(gone(chain.from_iterable(index.paths(root))), STORED_AT_ONCE):
        index.remove(missing)
        number += len(missing)
    return number


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items, so many at a time."""
    iterator = iter(items)
    while some := list(islice(iterator, size)):
        yield some
