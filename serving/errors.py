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


class NotLocal(Failure):
    """Without keys, this answers only to this machine and private networks."""

    code = "not_local"


class CrossOrigin(Failure):
    """A page of another origin, or a mere link or picture, asks for a change."""

    code = "cross_origin"


class Misdirected(Failure):
    """The host that was asked for is neither this service's own nor in ALLOWED_HOSTS."""

    code = "misdirected_request"


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


class ClientGone(Failure):
    """The client has hung up; nobody gets this answer, but the log has it."""

    code = "client_gone"


class UnsupportedMediaType(Failure):
    """The body is of a media type that the route does not take."""

    code = "unsupported_media_type"


class Overloaded(Failure):
    """More requests, or bytes of their bodies, have come than the process can take on."""

    code = "overloaded"


class DiskFull(Failure):
    """A disk that is needed has no room left, or hardly any."""

    code = "disk_full"


STATUS: Mapping[type[Failure], int] = {
    InvalidRequest: 400,
    InvalidImage: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotLocal: 403,
    CrossOrigin: 403,
    NotFound: 404,
    RequestTimeout: 408,
    ImageTooLarge: 413,
    UnsupportedMediaType: 415,
    Misdirected: 421,
    RateLimited: 429,
    Overloaded: 429,
    ClientGone: 499,  # nginx's number for the same, in the log and the metrics
    DiskFull: 503,
}


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put the place in front of the detail of any expected failure inside the block."""
    try:
        yield
    except Failure as e:
        raise type(e)(f"{place}: {e.detail}") from e
