"""Finds the files of folders, and reads them; those of buckets as buckets.py does."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from recognition.archive import buckets
from recognition.archive.entries import NO_PICTURE, File, Refused, is_passed_over, unreadable
from serving.formats import START_BYTES, other_kind, picture_format

# A named pipe would otherwise wait for somebody to write; of no effect on files.
READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def files_below(root: bytes) -> Iterator[File | Refused]:
    """Yield the files in a folder and in those below it, in order of their names; or the one file that it is.

    Links to files are followed, links to folders are not. Passed over is what begins with a dot, folders of
    thumbnails, and what is neither a file nor a folder. One folder's names are in memory at a time.
    """
    if buckets.is_in_one(root):
        yield from buckets.files_below(root)
        return
    if not os.path.isdir(root):
        yield from _file(root)
        return
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        try:
            with os.scandir(parent) as entries:
                names = sorted((each.name, each.is_dir(follow_symlinks=False)) for each in entries)
        except OSError as e:
            yield unreadable(File(parent, 0, 0), e)
            continue
        for name, is_folder in names:
            if not is_folder and not is_passed_over(name, folder=False):
                yield from _file(os.path.join(parent, name))
        waiting += [
            os.path.join(parent, name)
            for name, is_folder in reversed(names)
            if is_folder and not is_passed_over(name, folder=True)
        ]


def read(file: File, max_bytes: int) -> bytes | Refused:
    """Read a picture, all of it; of what is none, or is too large, only the beginning is looked at."""
    try:
        with _opened(file.path) as opened:
            start = opened.read(START_BYTES)
            if picture_format(start) is None:
                return Refused(file, NO_PICTURE, f"Not a picture: it is {other_kind(start)}.")
            if file.size > max_bytes:
                return Refused(file, "body_too_large", f"The file has more than {max_bytes} bytes.")
            data = start + opened.read(max(0, file.size + 1 - len(start)))
            changed = len(data) != file.size or not _is_as_it_was(file, opened)
    except OSError as e:
        return unreadable(file, e)
    if changed:
        return Refused(file, "changed", "The file was changed while it was read.", passing=True)
    return data


def gone(paths: Iterable[bytes]) -> Iterator[bytes]:
    """Yield those of some paths, sorted, where there is no file any more, as far as anybody knows."""
    is_gone_from_bucket = buckets.comparing()
    for path in paths:
        if is_gone_from_bucket(path) if buckets.is_in_one(path) else _is_gone(path):
            yield path


def _opened(path: bytes) -> BinaryIO:
    return buckets.opened(path) if buckets.is_in_one(path) else open(os.open(path, READING), "rb")


def _is_as_it_was(file: File, opened: BinaryIO) -> bool:
    """Tell whether an open file is the one that was found.

    An object that was replaced meanwhile is another one when it is next looked for.
    """
    if buckets.is_in_one(file.path):
        return True
    status = os.fstat(opened.fileno())
    return (status.st_size, status.st_mtime_ns) == (file.size, file.modified_ns)


def _is_gone(path: bytes) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _file(path: bytes) -> Iterator[File | Refused]:
    try:
        status = os.stat(path)
    except OSError as e:
        yield unreadable(File(path, 0, 0), e)
        return
    if stat.S_ISREG(status.st_mode):
        yield File(path, status.st_size, status.st_mtime_ns)
