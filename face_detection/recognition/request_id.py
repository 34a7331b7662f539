"""The id of the request under way: set at the edge, sent on to the embedding service."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
