"""One small class per failure. `code` goes into the answer; the HTTP status is the business of routes.py."""

from __future__ import annotations

from typing import ClassVar


class EmbeddingError(Exception):
    """Base of all expected failures. `detail` says what exactly, and where, in words for the caller."""

    code: ClassVar[str]

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthorized(EmbeddingError):
    """The request does not have EMBEDDING_SECRET."""

    code = "unauthorized"


class InvalidRequest(EmbeddingError):
    """The body is not what the route takes."""

    code = "invalid_request"


class UnsupportedMediaType(EmbeddingError):
    """The body is not of the content type that the route takes."""

    code = "unsupported_media_type"


class NotFound(EmbeddingError):
    """There is no such file."""

    code = "not_found"
