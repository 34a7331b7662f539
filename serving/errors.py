"""One small class for each failure that both services know; STATUS has its HTTP status."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import ClassVar


class Failure(Exception):
    """Base of all expected failures. `detail` says what is wrong, and where, in words for the caller."""

    code: ClassVar[str]
    retry_after_s: int = 2  # for those that may pass

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthorized(Failure):
    """The request has no key, or an unknown one."""

    code = "unauthorized"


class Forbidden(Failure):
    """The key does not have the scope of the route."""

    code = "forbidden"


class RateLimited(Failure):
    """The caller has sent more requests than RATE_LIMIT_PER_MINUTE."""

    code = "rate_limited"

    def __init__(self, detail: str, retry_after_s: int = 60) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class InvalidRequest(Failure):
    """The request is not what the route takes."""

    code = "invalid_request"


class InvalidImage(Failure):
    """The bytes are not a picture that can be read."""

    code = "invalid_image"


class ImageTooLarge(Failure):
    """The picture has more pixels than MAX_IMAGE_PIXELS."""

    code = "image_too_large"


class NotFound(Failure):
    """There is no such thing."""

    code = "not_found"


class RequestTimeout(Failure):
    """The request has not arrived within REQUEST_READ_TIMEOUT_S."""

    code = "request_timeout"


class UnsupportedMediaType(Failure):
    """The body is of a media type that the route does not take."""

    code = "unsupported_media_type"


class Overloaded(Failure):
    """More requests, or bytes of their bodies, have come than the process can take on."""

    code = "overloaded"


STATUS: Mapping[type[Failure], int] = {
    InvalidRequest: 400,
    InvalidImage: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    RequestTimeout: 408,
    ImageTooLarge: 413,
    UnsupportedMediaType: 415,
    RateLimited: 429,
    Overloaded: 429,
}


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put the place in front of the detail of any expected failure inside the block."""
    try:
        yield
    except Failure as e:
        raise type(e)(f"{place}: {e.detail}") from e
