"""The body of the request under way: JSON, a form with files, or something else, each within its bounds."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from flask import request

from serving import validation
from serving.errors import InvalidRequest, UnsupportedMediaType

FORM = "multipart/form-data"


def is_form() -> bool:
    """Tell whether it is a form, which may have files."""
    return request.mimetype == FORM


def json() -> bytes:
    """Return it, if it says that it is JSON.

    Raises:
        UnsupportedMediaType: it is something else.
    """
    if not request.is_json:
        raise UnsupportedMediaType(f"Send application/json or {FORM}.")
    return whole()


def of_type(media: str) -> bytes:
    """Return it, if it has this media type.

    Raises:
        UnsupportedMediaType: it has another.
    """
    if request.mimetype != media:
        raise UnsupportedMediaType(f"Send {media}.")
    return whole()


def whole() -> bytes:
    """Return all of it."""
    data = request.get_data(cache=False)
    if request.content_length is None:
        request.stream.read()  # a chunked body stops short at the limit; reading on is what raises the 413
    return data


def files(*names: str) -> list[bytes]:
    """Return the files of a form, one of each name.

    Raises:
        InvalidRequest: one is missing, or there are others.
    """
    check_files(*names)
    for name in names:
        if name not in request.files:
            raise InvalidRequest(f"{name}: Field required")
    return [request.files[name].read() for name in names]


def check_files(*names: str) -> None:
    """See to it that a form has no files but those of these names.

    Raises:
        InvalidRequest: it has.
    """
    for name in request.files:
        if name not in names:
            raise InvalidRequest(f"{name[: validation.NAME_SHOWN]}: {validation.unknown(name, names)}")


@contextmanager
def as_file(name: str, media: str) -> Iterator[IO[bytes]]:
    """Receive a file, in a form or as the body, that can be read twice and of which little stays in memory.

    Args:
        name: of the form's file.
        media: the media type of a body that is the file itself.

    Raises:
        UnsupportedMediaType: it is neither.
        InvalidRequest: the form has no such file, or something else.
    """
    if is_form():
        check_files(name)
        for field in request.form:
            raise InvalidRequest(f"{field[: validation.NAME_SHOWN]}: {validation.unknown(field, (name,))}")
        if name not in request.files:
            raise InvalidRequest(f"{name}: Field required")
        with request.files[name].stream as file:
            yield file
        return
    if request.mimetype != media:
        raise UnsupportedMediaType(f"Send {media} or {FORM}.")
    with tempfile.TemporaryFile() as file:  # on disk, without a name
        shutil.copyfileobj(request.stream, file)
        yield file
