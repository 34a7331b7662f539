"""Finds the files of folders, and reads them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from recognition.archive.entries import NO_PICTURE, File, Refused
from serving.formats import START_BYTES, other_kind, picture_format

HIDDEN = b"."
THUMBNAILS = b"@eaDir"  # in which Synology's systems keep smaller copies of every picture
# A named pipe would otherwise wait for somebody to write; of no effect on files.
READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def files_below(root: bytes) -> Iterator[File | Refused]:
    """Yield the files in a folder and in those below it, in order of their names; or the one file that it is.

    Links to files are followed, links to folders are not. Passed over is what begins with a dot, folders of
    thumbnails, and what is neither a file nor a folder. One folder's names are in memory at a time.
    """
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
            yield _unreadable(File(parent, 0, 0), e)
            continue
        for name, is_folder in names:
            if not is_folder and not name.startswith(HIDDEN):
                yield from _file(os.path.join(parent, name))
        waiting += [
            os.path.join(parent, name)
            for name, is_folder in reversed(names)
            if is_folder and not name.startswith(HIDDEN) and name != THUMBNAILS
        ]


def read(file: File, max_bytes: int) -> bytes | Refused:
    """Read a picture, all of it; of what is none, or is too large, only the beginning is looked at."""
    try:
        with open(os.open(file.path, READING), "rb") as opened:
            start = opened.read(START_BYTES)
            if picture_format(start) is None:
                return Refused(file, NO_PICTURE, f"Not a picture: it is {other_kind(start)}.")
            if file.size > max_bytes:
                return Refused(file, "body_too_large", f"The file has more than {max_bytes} bytes.")
            data = start + opened.read(max_bytes + 1 - len(start))
            status = os.fstat(opened.fileno())
    except OSError as e:
        return _unreadable(file, e)
    if (len(data), status.st_size, status.st_mtime_ns) != (file.size, file.size, file.modified_ns):
        return Refused(file, "changed", "The file was changed while it was read.", passing=True)
    return data


def is_gone(path: bytes) -> bool:
    """Tell whether there is no such file any more; of one that cannot be looked at nobody knows."""
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
        yield _unreadable(File(path, 0, 0), e)
        return
    if stat.S_ISREG(status.st_mode):
        yield File(path, status.st_size, status.st_mtime_ns)


def _unreadable(file: File, error: OSError) -> Refused:
    return Refused(file, "file", error.strerror or "The file cannot be read.", passing=True)
