"""The request under way: its id, which travels to the other service, and who sent it."""

from __future__ import annotations

from contextvars import ContextVar

ANYBODY = "anonymous"

request_id: ContextVar[str] = ContextVar("request_id", default="")
caller: ContextVar[str] = ContextVar("caller", default=ANYBODY)
