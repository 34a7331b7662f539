"""The body of the request under way: JSON, a form with files, or something else, each within its bounds."""

from __future__ import annotations

import codecs
import io
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

from flask import Request, request
from werkzeug.datastructures import FileStorage, Headers
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.sansio.multipart import File

from serving import validation
from serving.errors import InvalidRequest, UnsupportedMediaType

FORM = "multipart/form-data"
MAX_PART_BYTES = 1024 * 1024  # of a form's field, or a part's headers; a file may be as large as the body
# Of JSON without pictures: 64 KiB of metadata, of which each character may be escaped with six, and names.
MAX_SMALL_JSON_BYTES = 512 * 1024
MAX_PARTS = 1000
MAX_PART_HEADERS = 16  # clients send three at most


class _Parts(MultiPartParser):
    """Refuses the first part with many headers: millions of them take gigabytes."""

    def start_file_streaming(self, event: File, total_content_length: int | None) -> IO[bytes]:
        _check_headers(event.headers)
        return super().start_file_streaming(event, total_content_length)

    def get_part_charset(self, headers: Headers) -> str:  # of a field that has arrived
        _check_headers(headers)
        return super().get_part_charset(headers)


def _check_headers(headers: Headers) -> None:
    if len(headers) > MAX_PART_HEADERS:
        raise InvalidRequest(f"A part of the form has more than {MAX_PART_HEADERS} headers.")


class _FormParser(FormDataParser):
    """Werkzeug's, with the parser of parts above."""

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: Any = None
    ) -> tuple[IO[bytes], Any, Any]:
        if mimetype != FORM:
            return super().parse(stream, mimetype, content_length, options)
        parts = _Parts(
            self.stream_factory, self.max_form_memory_size, self.cls, max_form_parts=self.max_form_parts
        )
        try:
            boundary = (options or {}).get("boundary", "").encode("ascii")
            if boundary:
                return stream, *parts.parse(stream, boundary, content_length)
        except ValueError:  # it is no form
            pass
        return stream, self.cls(), self.cls()  # whatever is asked for is missing


class BoundedRequest(Request):
    """Flask's, whose forms are bounded, and whose files stay in memory, as the bodies of JSON do.

    In temporary files, as by default, pictures would touch a disk, and the hundreds of files that a form may
    have would be more than a process may have open.

    file_on_disk: see `keep_file_on_disk`.
    """

    form_data_parser_class = _FormParser
    file_on_disk = False

    def _get_file_stream(self, *about: Any, **more: Any) -> IO[bytes]:
        if not self.file_on_disk:
            return io.BytesIO()
        self.file_on_disk = False
        return super()._get_file_stream(*about, **more)


def is_form() -> bool:
    """Tell whether it is a form, which may have files."""
    return request.mimetype == FORM


def json() -> bytes:
    """Return it, if it says that it is JSON.

    A byte order mark in front of it is left out: RFC 8259, section 8.1, lets readers ignore one.

    Raises:
        UnsupportedMediaType: it is something else.
        InvalidRequest: it is not UTF-8, but UTF-16 or UTF-32.
    """
    if not request.is_json:
        raise UnsupportedMediaType(f"Send application/json or {FORM}.")
    body = whole()
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in body[:4]:
        raise InvalidRequest("body: JSON must be UTF-8; this is UTF-16 or UTF-32, or begins with NUL")
    return body.removeprefix(codecs.BOM_UTF8)


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


def keep_file_on_disk() -> None:
    """Keep the first file of a form in a temporary file; to be said before the form is read."""
    cast(BoundedRequest, request).file_on_disk = True


def files(*names: str) -> list[bytes]:
    """Return the files of a form, one of each name.

    Raises:
        InvalidRequest: one is missing.
    """
    for name in names:
        if name not in request.files:
            raise InvalidRequest(f"{name}: Field required")
    return [taken(request.files[name]) for name in names]


def several(name: str) -> list[tuple[str, bytes]]:
    """Return the files of a form that have this name, one or more: how each is called, and what is in it.

    Raises:
        InvalidRequest: there is none.
        UnsupportedMediaType: the body is no form.
    """
    if not is_form():
        raise UnsupportedMediaType(f"Send {FORM}.")
    if name not in request.files:
        raise InvalidRequest(f"{name}: Field required")
    return [(file.filename or "", taken(file)) for file in request.files.getlist(name)]


def taken(file: FileStorage) -> bytes:
    """Return what is in a file of a form, which then keeps it no longer."""
    with file.stream as stream:
        return stream.read()


def check_names(files: Collection[str], fields: Collection[str], *, several: bool = False) -> None:
    """Make sure that a form has no files and no fields but those of these names, each once.

    several: a file may come several times.

    Raises:
        InvalidRequest: it has.
    """
    validation.check_once(request.form.items(multi=True))
    if not several:
        validation.check_once(request.files.items(multi=True))
    for name in request.files:
        if name in fields:
            raise InvalidRequest(f"{name}: must be text, not a file")
        if name not in files:
            raise validation.unknown_field(name, (*files, *fields))
    for name in request.form:
        if name in files:
            raise InvalidRequest(f"{name}: must be a file, with a file name")
        if name not in fields:
            raise validation.unknown_field(name, (*files, *fields))


def check_none() -> None:
    """Make sure that no body comes where none is expected: whoever sends one means something by it.

    Raises:
        InvalidRequest: there is more than `{}`.
    """
    if (request.content_length or 0) > len("{}") or "Transfer-Encoding" in request.headers:
        raise InvalidRequest("body: this call takes none")


@contextmanager
def as_file(name: str, *media: str) -> Iterator[IO[bytes]]:
    """Receive a file, in a form or as the body, that can be read twice and of which little stays in memory.

    Args:
        name: of the form's file.
        media: the media types of a body that is the file itself.

    Raises:
        UnsupportedMediaType: it is neither.
        InvalidRequest: the form has no such file.
    """
    if is_form():
        if name not in request.files:
            raise InvalidRequest(f"{name}: Field required")
        with request.files[name].stream as file:
            yield file
        return
    if request.mimetype not in media:
        raise UnsupportedMediaType(f"Send {' or '.join((*media, FORM))}.")
    with tempfile.TemporaryFile() as file:  # on disk, without a name
        shutil.copyfileobj(request.stream, file)
        yield file
