"""What a row of the table of calls is, and what handlers work with; calls.py has the rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from flask import g
from flask.typing import ResponseReturnValue

from recognition.client_keys import ClientService, Kind
from recognition.compreface.options import Options
from recognition.compreface.render import Work
from recognition.compreface.sessions import Door
from recognition.gallery import Gallery
from recognition.probing import Probing
from recognition.service import Service

API = "/api/v1"
CREATED = 201


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handlers work with.

    service, probing, gallery: the use cases, and the gallery of the client's service; of a call that no
        service's key opens, and of services that have no gallery, `default`.
    detector: its name.
    max_body_bytes: larger bodies are refused.
    door: who may set it up.
    client: whose key came with the request; None: the call asks for none.
    """

    service: Service
    probing: Probing
    gallery: Gallery
    detector: str
    max_body_bytes: int
    door: Door
    client: ClientService | None = None

    @property
    def take_all(self) -> bool:
        """Whether the client's service enrols faces however poor they are."""
        return self.client is not None and self.client.take_all

    def work(self, asked: Options) -> Work:
        """Tell what the request under way has asked for, and what it took until now."""
        took: defaultdict[str, float] = defaultdict(float)
        for stage, seconds in g.notes.seconds:
            took[stage] += seconds
        return Work(asked, self.detector, took)


@dataclass(frozen=True, slots=True)
class Call:
    """One row.

    method, path: of the call, the path as Flask writes it, without a prefix.
    handler: is called with Parts, and with the parameters of the path by their names.
    kind: of the services whose keys open it; None: it looks for no service's key.
    queued: work on pictures and vectors, which takes turns; the bodies of all others are small.
    in_path: the key is the parameter `key` of the path; one that opens nothing is told nothing.
    pages: whether pages of any other site may call it, and read what it answers.
    prefixes: what may stand in front of the path.
    """

    method: str
    path: str
    handler: Callable[..., ResponseReturnValue]
    kind: Kind | None
    queued: bool = False
    in_path: bool = False
    pages: bool = True
    prefixes: tuple[str, ...] = (API,)

    @property
    def name(self) -> str:
        """What identifies it: Flask's endpoint."""
        path = re.sub(r"<\w+:", "<", self.path)
        return re.sub(r"\W+", "_", f"{self.method.lower()}{path}").strip("_")
