"""Finds and reads pictures in S3, or in what speaks like it: paths that begin with `s3://`.

Credentials and region come from where AWS's own programs take them: AWS_ACCESS_KEY_ID and its like, a
profile, or the machine's role; AWS_ENDPOINT_URL names another service than Amazon's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, BinaryIO, cast

from recognition.archive.entries import File, IndexUnavailable, Refused, is_passed_over, unreadable

SCHEME = b"s3://"
NEEDS = "s3:// needs the extra `ray`: pip install 'face-recognition-service[ray]'"
READ_AT_ONCE = 2**20  # bytes: most pictures come with one request
ENDPOINTS = "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"  # in AWS's own order; Arrow does not look there


def is_in_one(path: bytes) -> bool:
    """Tell whether a path is of a bucket."""
    return path.startswith(SCHEME)


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
        entries.sort(key=lambda entry: entry.base_name)
        kept = [
            each
            for each in entries
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


def gone(paths: Sequence[bytes]) -> list[bytes]:
    """Return those of some paths at which there is nothing any more; none where nobody knows."""
    try:
        infos = _files().get_file_info([_key(path) for path in paths])
    except OSError:
        return []
    kind = _fs().FileType
    return [path for path, info in zip(paths, infos, strict=True) if info.type != kind.File]


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
