"""One small class per failure. `code` goes into the answer; the HTTP status is the business of routes.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class RecognitionError(Exception):
    """Base of all expected failures. `detail` says what exactly, and where, in words for the caller."""

    code: ClassVar[str]
    retry_after_s: int = 2  # for those that another try may get over

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthorized(RecognitionError):
    """The request has no key, or one that nobody has."""

    code = "unauthorized"


class Forbidden(RecognitionError):
    """The key does not have the scope of the route."""

    code = "forbidden"


class RateLimited(RecognitionError):
    """The caller has sent more requests than RATE_LIMIT_PER_MINUTE."""

    code = "rate_limited"

    def __init__(self, detail: str, retry_after_s: int = 60) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class InvalidRequest(RecognitionError):
    """The body is not what the route takes."""

    code = "invalid_request"


class InvalidImage(RecognitionError):
    """The bytes are not a picture that can be read."""

    code = "invalid_image"


class ImageTooLarge(RecognitionError):
    """The picture has more pixels than MAX_IMAGE_PIXELS."""

    code = "image_too_large"


class NoFace(RecognitionError):
    """No face was found where one is needed."""

    code = "no_face"


class DamagedGallery(RecognitionError):
    """The file is not a gallery, not complete, or not what was written."""

    code = "damaged_gallery"


class NotFound(RecognitionError):
    """There is no such sample."""

    code = "not_found"


class RequestTimeout(RecognitionError):
    """The request has not arrived within REQUEST_READ_TIMEOUT_S."""

    code = "request_timeout"


class UnsupportedMediaType(RecognitionError):
    """The body is neither JSON nor multipart."""

    code = "unsupported_media_type"


class Overloaded(RecognitionError):
    """More requests are waiting than the process can take on."""

    code = "overloaded"


class EmbeddingUnavailable(RecognitionError):
    """The embedding service is down, slow past its time limit, or speaks nonsense."""

    code = "embedding_unavailable"


class GalleryUnavailable(RecognitionError):
    """The database cannot be reached, is locked past its time limit, or has no room left."""

    code = "gallery_unavailable"
    outcome_unknown = False  # True: the connection broke while a change was committed, which may be stored


class AuditUnavailable(RecognitionError):
    """The audit log cannot be written; what would have stood in it is not done."""

    code = "audit_unavailable"


class GalleryModelMismatch(RecognitionError):
    """The gallery holds vectors of another model, which cannot be compared with this one's."""

    code = "gallery_model_mismatch"


@contextmanager
def at(place: str) -> Iterator[None]:
    """Put the place in front of the detail of any expected failure that happens inside."""
    try:
        yield
    except RecognitionError as e:
        raise type(e)(f"{place}: {e.detail}") from e
