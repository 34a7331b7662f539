"""Finds and reads pictures in S3, or in what speaks like it: paths that begin with `s3://`.

Credentials and region come from where AWS's own programs take them: AWS_ACCESS_KEY_ID and its like, a
profile, or the machine's role; AWS_ENDPOINT_URL names another service than Amazon's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from typing import Any, BinaryIO, cast

from recognition.archive.entries import File, IndexUnavailable, Refused, is_passed_over, unreadable

SCHEME = b"s3://"
NEEDS = "s3:// needs the extra `ray`: pip install 'face-recognition-service[ray]'"
LISTS_KEPT = 16  # of folders: the paths of one stand between those of the folders in it
READ_AT_ONCE = 2**20  # bytes: most pictures come with one request
ENDPOINTS = "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"  # in AWS's own order; Arrow does not look there


def is_in_one(path: bytes) -> bool:
    """Tell whether a path is of a bucket."""
    return path.startswith(SCHEME)


def is_name(path: bytes) -> bool:
    """Tell whether what begins like a name in a bucket is one, whose parts are not empty."""
    try:
        parts = _key(path).split("/")
    except UnicodeDecodeError:
        return False
    return all(parts)


def exists(path: bytes) -> bool:
    """Tell whether there is an object of this name, or one below it.

    Raises:
        IndexUnavailable: the library is not there; OSError: nobody can tell.
    """
    (info,) = _files().get_file_info([_key(path)])
    return bool(info.type != _fs().FileType.NotFound)


def files_below(root: bytes) -> Iterator[File | Refused]:
    """Yield the objects below a name, folder by folder, in order of their names; or the one that it is.

    What is passed over on disks is here, too. One folder's names are in memory at a time.
    """
    kind = _fs().FileType
    try:
        (info,) = _files().get_file_info([_key(root)])
    except OSError as e:
        yield unreadable(File(root, 0, 0), e)
        return
    if info.type == kind.File:
        yield _file(info)
    waiting = [_key(root)] if info.type == kind.Directory else []
    while waiting:
        parent = waiting.pop()
        try:
            entries = _files().get_file_info(_fs().FileSelector(parent, allow_not_found=True))
        except OSError as e:
            yield unreadable(File(SCHEME + parent.encode(), 0, 0), e)
            continue
        below = [each for each in entries if each.path.startswith(f"{parent}/")]
        if len(below) < len(entries):  # which list themselves, so that nobody would come to an end
            odd = File(SCHEME + f"{parent}//".encode(), 0, 0)
            yield Refused(odd, "file", "Names with a double slash cannot be read.", passing=True)
        below.sort(key=lambda entry: entry.base_name)
        kept = [
            each
            for each in below
            if not is_passed_over(each.base_name.encode(), folder=each.type == kind.Directory)
        ]
        yield from (_file(each) for each in kept if each.type == kind.File)
        waiting += [each.path for each in reversed(kept) if each.type == kind.Directory]


def opened(path: bytes) -> BinaryIO:
    """Open an object to read it from the beginning.

    Raises:
        OSError: it cannot be read.
    """
    return cast(BinaryIO, _files().open_input_stream(_key(path), buffer_size=READ_AT_ONCE))


def comparing() -> Callable[[bytes], bool]:
    """Return what tells of a path whether there is nothing any more; where nobody knows, there is.

    It lists each folder once, if paths come sorted: to ask for each object takes a thousand times as long.
    """

    @lru_cache(maxsize=LISTS_KEPT)
    def names(parent: str) -> frozenset[str] | None:
        try:
            entries = _files().get_file_info(_fs().FileSelector(parent, allow_not_found=True))
        except OSError:
            return None
        return frozenset(entry.base_name for entry in entries)

    def is_gone(path: bytes) -> bool:
        parent, _, name = _key(path).rpartition("/")
        there = names(parent) if parent else None
        return there is not None and name not in there

    return is_gone


def _file(info: Any) -> File:
    return File(SCHEME + info.path.encode(), info.size, info.mtime_ns or 0)


def _key(path: bytes) -> str:
    return path.removeprefix(SCHEME).rstrip(b"/").decode()


@cache  # with its connections: to make them takes longer than to read a picture
def _files() -> Any:
    endpoint = next(filter(None, map(os.environ.get, ENDPOINTS)), None)
    return _fs().S3FileSystem(endpoint_override=endpoint)


def _fs() -> Any:
    try:
        from pyarrow import fs  # here: few need it
    except ModuleNotFoundError as e:
        raise IndexUnavailable(NEEDS) from e
    return fs
