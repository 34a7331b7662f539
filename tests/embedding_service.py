"""The embedding service with the two models of fakes.TwoModels, for what runs in a process of its own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import numpy as np

from fakes import TwoModels
from running import serving_requests


@contextmanager
def running_two_models(
    embedder: TwoModels, embedded: Callable[[int], object] = lambda crops: None
) -> Iterator[str]:
    """Run it. Gives its URL.

    embedded: is told how many crops came in a call, before it is answered.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if (name := self._name()) not in (None, *embedder.MODELS):
                return self._answer(404, b"{}")
            self._answer(200, json.dumps(asdict(embedder.model(name))).encode())

        def do_POST(self) -> None:
            crops = np.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
            embedded(len(crops))
            body = io.BytesIO()
            np.save(body, embedder.embed(crops, embedder.model(self._name())))
            self._answer(200, body.getvalue())

        def _name(self) -> str | None:
            return parse_qs(urlsplit(self.path).query).get("model", [None])[0]

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving_requests(Handler) as url:
        yield url
