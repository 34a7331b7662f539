"""What goes wrong, as CompreFace tells it: `{"message", "code"}`, whose numbers are its own."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum

from flask import Flask, Response, g, jsonify, request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from recognition import errors
from serving.errors import (
    STATUS,
    ClientGone,
    CrossOrigin,
    DiskFull,
    Failure,
    Forbidden,
    ImageTooLarge,
    InvalidImage,
    InvalidRequest,
    Misdirected,
    NotLocal,
    Overloaded,
    RateLimited,
    RequestTimeout,
    Unauthorized,
)

log = logging.getLogger(__name__)

PLEASE_TRY_AGAIN = "Something went wrong, please try again"
NO_FACE = "No face is found in the given image"
SEVERAL_FACES = "More than one face in the source image"
REFUSED, MISSING, INTERNAL = 400, 404, 500
MAY_PASS = (429, 503)  # statuses on which clients try again, and are told when


class Code(IntEnum):
    """CompreFace's numbers of what goes wrong."""

    UNFORESEEN = 0
    NO_APPLICATION = 2
    EMAIL_EXISTS = 4
    EMPTY_FIELD = 5
    NO_PRIVILEGE = 9
    NO_SERVICE = 10
    NAME_EXISTS = 17
    MISSING_HEADER = 20
    BAD_FILE = 21
    BAD_EMAIL = 22
    BAD_VALUE = 26
    NO_FACE = 28
    SEVERAL_FACES = 31
    MISSING_PARAMETER = 33
    MISSING_PART = 34
    BAD_CHARACTER = 36
    NO_SUBJECT = 42
    SUBJECT_EXISTS = 43
    NO_EXAMPLE = 44


class Refused(Failure):
    """A request is refused for a reason that only CompreFace has.

    number: its code; status: of the answer.
    """

    code = "refused"

    def __init__(self, number: int, message: str, status: int = REFUSED) -> None:
        super().__init__(message)
        self.number, self.status = number, status


class Missing(Refused):
    """There is no such service, subject or example."""

    code = "not_found"

    def __init__(self, number: int, message: str) -> None:
        super().__init__(number, message, MISSING)


class Unreadable(Failure):
    """A value is of the wrong type, or a body is not JSON; CompreFace says nothing more in such an answer."""

    code = "unreadable"


WRONG_ID = Missing(Code.NO_EXAMPLE, "Image Id is incorrect")

# Status, number and text of the use cases' failures, by the nearest class; None: the failure's own text.
FAILURES: Mapping[type[BaseException], tuple[int, Code, str | None]] = {
    errors.NoFace: (REFUSED, Code.NO_FACE, NO_FACE),
    InvalidImage: (REFUSED, Code.NO_FACE, NO_FACE),
    errors.LowQuality: (REFUSED, Code.NO_FACE, None),
    ImageTooLarge: (REFUSED, Code.UNFORESEEN, None),
    errors.SeveralFaces: (REFUSED, Code.SEVERAL_FACES, SEVERAL_FACES),
    errors.AdministratorExists: (REFUSED, Code.NO_PRIVILEGE, None),
    **{
        each: (STATUS[each], Code.UNFORESEEN, None)
        for each in (
            Unauthorized,
            Forbidden,
            NotLocal,
            CrossOrigin,
            RequestTimeout,
            Misdirected,
            RateLimited,
            ClientGone,
        )
    },
    # These may pass, so a client that tries again does right.
    **dict.fromkeys(
        (
            Overloaded,
            DiskFull,
            errors.EmbeddingUnavailable,
            errors.ModelUnknown,
            errors.GalleryUnavailable,
            errors.GalleryModelMismatch,
            errors.AuditUnavailable,
        ),
        (503, Code.UNFORESEEN, PLEASE_TRY_AGAIN),
    ),
    Failure: (REFUSED, Code.UNFORESEEN, PLEASE_TRY_AGAIN),
}


def register(app: Flask) -> None:
    """Add the form of errors to `app`."""

    @app.errorhandler(Refused)
    def refused(e: Refused) -> ResponseReturnValue:
        return answer(e.status, e.number, e.detail, e.code)

    @app.errorhandler(Unreadable)
    def unreadable(e: Unreadable) -> ResponseReturnValue:
        g.code = e.code
        return Response(status=REFUSED)

    @app.errorhandler(Failure)
    def expected(e: Failure) -> ResponseReturnValue:
        status, number, text = next(FAILURES[kind] for kind in type(e).__mro__ if kind in FAILURES)
        if status > INTERNAL:
            log.warning("%s: %s", e.code, e.detail, exc_info=e.__cause__)
        response = answer(status, number, text or e.detail, e.code)
        if status in MAY_PASS:
            response.headers["Retry-After"] = str(e.retry_after_s)
        return response

    @app.errorhandler(HTTPException)
    def not_served(e: HTTPException) -> ResponseReturnValue:
        if not isinstance(e, MethodNotAllowed):
            return answer(e.code or INTERNAL, Code.UNFORESEEN, e.description or e.name, "http_error")
        message = f"Request method '{request.method}' not supported"
        response = answer(MISSING, Code.UNFORESEEN, message, "method_not_allowed")
        response.headers["Allow"] = ", ".join(e.valid_methods or ())
        return response

    @app.errorhandler(ParseException)
    def wrongly_chunked(_: Exception) -> ResponseReturnValue:
        # gunicorn's, of a chunked body, while it is read. It quotes the body, so it is not logged.
        return answer(REFUSED, Code.UNFORESEEN, PLEASE_TRY_AGAIN, InvalidRequest.code)

    @app.errorhandler(OSError)
    def perhaps_full(e: OSError) -> ResponseReturnValue:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            return expected(DiskFull("The disk for temporary files is full."))
        return unforeseen(e)

    @app.errorhandler(Exception)
    def unforeseen(e: Exception) -> ResponseReturnValue:
        log.error("internal error", exc_info=e)
        return answer(REFUSED, Code.UNFORESEEN, PLEASE_TRY_AGAIN, "internal_error")


@contextmanager
def instead(kind: type[Failure], refusal: Refused) -> Iterator[None]:
    """Tell a failure of the use cases inside the block in CompreFace's words."""
    try:
        yield
    except kind as e:
        raise type(refusal)(refusal.number, refusal.detail) from e


def answer(status: int, number: int, message: str, code: str) -> Response:
    """Answer with an error. `code`: this program's, for the log."""
    g.code = code
    response = jsonify(message=message, code=int(number))
    response.status_code = status
    return response
