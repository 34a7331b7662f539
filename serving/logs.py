"""How the log looks: one line a record, gunicorn's too, as text for people or as JSON for programs."""

from __future__ import annotations

import json
import logging
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from serving.credentials import without_credentials
from serving.request_id import request_id


@dataclass(frozen=True, slots=True)
class Lines:
    """A formatter. A record's `fields`, a dictionary, stand in its line, in JSON its traceback as well."""

    as_json: bool

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, Any] = {"request_id": request_id.get() or None, **getattr(record, "fields", {})}
        # Libraries quote the URLs that they are given, passwords and all.
        raised = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else None
        trace = without_credentials(raised) if raised else None
        message = without_credentials(record.getMessage())
        if self.as_json:
            line = {"time": when, "level": record.levelname, "logger": record.name, "message": message}
            return json.dumps(line | fields | ({"traceback": trace} if trace else {}), ensure_ascii=False)
        pairs = [f"{name}={value}" for name, value in fields.items() if value is not None]
        return " ".join([when, record.levelname, message, *pairs]) + (f"\n{trace.rstrip()}" if trace else "")


def config(*, as_json: bool) -> dict[str, Any]:
    """Return gunicorn's `logconfig_dict`: everything to stderr; our line a request replaces gunicorn's."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": Lines, "as_json": as_json}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "lines",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": "INFO", "handlers": ["stderr"]},
        "loggers": {
            "gunicorn.error": {"handlers": [], "propagate": True},
            "gunicorn.access": {"handlers": [], "propagate": False, "level": "CRITICAL"},
        },
    }
