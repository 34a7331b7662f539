"""The one shape of every error, and the status of each: what goes wrong becomes an answer here."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Mapping
from typing import Annotated

from flask import Flask, g, jsonify, make_response, request
from flask.typing import ResponseReturnValue
from gunicorn.http.errors import ParseException
from pydantic import Field
from typing_extensions import TypedDict
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from serving.errors import (
    CrossOrigin,
    DiskFull,
    Failure,
    Forbidden,
    InvalidRequest,
    Misdirected,
    NotLocal,
    RateLimited,
    Unauthorized,
)
from serving.routes import Route

log = logging.getLogger(__name__)

TOO_LARGE, INTERNAL = 413, 500
SEE_THE_LOG = "The log has more under this request id."
NOT_LET_IN = (Misdirected, CrossOrigin, Unauthorized, Forbidden, NotLocal, RateLimited, InvalidRequest)

ERROR_TEXT = {
    400: "Invalid request.",
    401: "Unauthorized.",
    403: "Forbidden.",
    404: "Not found.",
    405: "Method not allowed.",
    408: "Too slow.",
    409: "Conflict.",
    413: "Too large.",
    414: "Too long.",
    415: "Unsupported media type.",
    417: "Expectation failed.",
    421: "Misdirected request.",
    429: "Too many requests.",
    431: "Headers too large.",
    499: "The client has gone.",
    501: "Not implemented.",
    503: "Service unavailable.",
}

# What Flask, Werkzeug and gunicorn themselves refuse.
HTTP_CODE = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    TOO_LARGE: "body_too_large",
    414: "uri_too_long",
    415: "unsupported_media_type",
    417: "expectation_failed",
    431: "headers_too_large",
    INTERNAL: "internal_error",
    501: "unsupported_transfer_coding",
}


class Error(TypedDict):
    """The one shape of every error."""

    error: Annotated[str, Field(description="What the status means.")]
    code: Annotated[str, Field(description="For programs; it stays the same.")]
    detail: Annotated[str, Field(description="For people: what exactly, and where.")]
    request_id: Annotated[str, Field(description="Under which the log has more.")]


def status_of(failure: type[Failure], route: Route | None, statuses: Mapping[type[Failure], int]) -> int:
    """Return the status of a failure of a route."""
    if route is not None and route.failing is not None and not issubclass(failure, NOT_LET_IN):
        return route.failing
    return statuses[failure]


def error_text(status: int) -> str:
    """Return the text that stands for a status in `error`."""
    return ERROR_TEXT.get(status, "Internal error.")


def register(app: Flask, routes: Iterable[Route], statuses: Mapping[type[Failure], int]) -> None:
    """Add the error shape to `app`.

    statuses: of every failure that may happen.
    """
    table = {route.name: route for route in routes}

    @app.errorhandler(Failure)
    def expected(e: Failure) -> ResponseReturnValue:
        status = status_of(type(e), table.get(request.endpoint or ""), statuses)
        if status >= 500:
            log.warning("%s: %s", e.code, e.detail, exc_info=e.__cause__)
        return _error(status, e.code, e.detail, e.retry_after_s)

    @app.errorhandler(HTTPException)
    def refused(e: HTTPException) -> ResponseReturnValue:
        status = e.code or INTERNAL
        response = make_response(_error(status, HTTP_CODE.get(status, "http_error"), e.description or e.name))
        if isinstance(e, MethodNotAllowed) and e.valid_methods:
            response.headers["Allow"] = ", ".join(e.valid_methods)
        return response

    @app.errorhandler(ParseException)
    def wrongly_chunked(_: Exception) -> ResponseReturnValue:
        # gunicorn's, of a chunked body, while it is read. It quotes the body, so it is not logged.
        return _error(400, "invalid_request", "The body is wrongly chunked.")

    @app.errorhandler(OSError)
    def perhaps_full(e: OSError) -> ResponseReturnValue:
        # The file of an import lies in TMPDIR meanwhile.
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            return expected(DiskFull("The disk for temporary files is full."))
        return unforeseen(e)

    @app.errorhandler(Exception)
    def unforeseen(e: Exception) -> ResponseReturnValue:
        log.error("internal error", exc_info=e)
        return _error(INTERNAL, "internal_error", SEE_THE_LOG)


def _error(status: int, code: str, detail: str, retry_after_s: int = 2) -> ResponseReturnValue:
    g.code = code
    answer = Error(error=error_text(status), code=code, detail=detail, request_id=g.request_id)
    response = jsonify(answer)
    response.status_code = status
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        response.headers["Retry-After"] = str(retry_after_s)
    return response
