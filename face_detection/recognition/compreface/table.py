"""What a row of the table of calls is, and what handlers work with; calls.py has the rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from flask.typing import ResponseReturnValue

from recognition.gallery import Gallery
from recognition.results import ClientService, Kind
from recognition.service import Service

API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handlers work with.

    service, gallery: the use cases, and the gallery of the client's service; of a call that no service's key
        opens, and of services that have no gallery, `default`.
    client: whose key came with the request; None: the call asks for none.
    max_body_bytes: larger bodies are refused.
    """

    service: Service
    gallery: Gallery
    max_body_bytes: int
    client: ClientService | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One row.

    method, path: of the call, the path as Flask writes it, without a prefix.
    handler: is called with Parts, and with the parameters of the path by their names.
    kind: of the services whose keys open it; None: it looks for no service's key.
    queued: work on pictures and vectors, which takes turns; the bodies of all others are small.
    pages: whether pages of any other site may call it, and read what it answers.
    prefixes: what may stand in front of the path.
    """

    method: str
    path: str
    handler: Callable[..., ResponseReturnValue]
    kind: Kind | None
    queued: bool = False
    pages: bool = True
    prefixes: tuple[str, ...] = (API,)

    @property
    def name(self) -> str:
        """What identifies it: Flask's endpoint."""
        path = re.sub(r"<\w+:", "<", self.path)
        return re.sub(r"\W+", "_", f"{self.method.lower()}{path}").strip("_")
