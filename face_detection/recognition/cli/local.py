"""Both services in this process: what the command line works with where no running one is named."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from flask import Flask
from numpy.typing import NDArray
from requests.adapters import BaseAdapter
from werkzeug.test import Client as WSGIClient

from embedding import config as embedding_config  # needs the path above
from embedding.app import load_network
from embedding.network import Network
from recognition import config
from recognition.app import create_app, load_detector, load_gallery
from recognition.client import Client
from recognition.errors import RecognitionError
from serving.model import Model
from serving.models import prepare

__all__ = ["embedding_config", "open_client"]

HOST = "http://in-process.invalid"  # a name that nobody has: RFC 2606, section 2

# Whoever reads the database and the models needs no key, and waits for nobody.
NOT_ASKED_FOR = ("api_keys", "api_keys_file", "rate_limit_per_minute")


def open_client() -> Client:
    """Load models, detector and gallery as the services do, with their settings.

    Raises:
        SystemExit: something cannot be loaded; it has said what, on the terminal.
    """
    try:
        settings = config.read(without=NOT_ASKED_FOR)
    except config.SettingsError as e:
        config.stop(str(e))
    prepare(settings.models_dir)
    logging.getLogger("recognition").setLevel(logging.ERROR)  # what is expected is told to the caller
    gallery = load_gallery(settings)
    network = load_network(embedding_config.from_environment())
    app = create_app(settings, detector=load_detector(settings), embedder=Embedder(network), gallery=gallery)
    client = Client(HOST)
    client.session.mount(HOST, WSGIAdapter(app, gallery))
    return client


@dataclass(frozen=True)
class Embedder:
    """The embedding service's network where recognition expects the client of that service."""

    network: Network

    def model(self) -> Model:
        """Describe the network."""
        return self.network.model

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn uint8 (n, S, S, 3) RGB into float32 (n, d)."""
        return self.network.embed(crops)


class WSGIAdapter(BaseAdapter):
    """Lets `requests` call an application of this process instead of the network."""

    def __init__(self, app: Flask, gallery: Any) -> None:
        super().__init__()
        self._client = WSGIClient(app, use_cookies=False)
        self._gallery = gallery

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Answer a request; its timeout and its like mean nothing here."""
        body: Any = request.body or b""
        answer = self._client.open(
            request.path_url,
            method=request.method,
            headers=list(request.headers.items()),
            input_stream=body if hasattr(body, "read") else io.BytesIO(body),
        )
        response = requests.Response()
        response.status_code = answer.status_code
        response.headers.update(answer.headers)
        response.raw = _Body(answer.iter_encoded())
        response.request = request
        response.url = str(request.url)
        return response

    def close(self) -> None:
        """Close the gallery."""
        self._gallery.close()


class _Body:
    """An answer's chunks as the file that `requests` reads."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    def read(self, _size: int | None = None) -> bytes:
        try:
            return next((chunk for chunk in self._chunks if chunk), b"")
        except RecognitionError as e:
            raise requests.exceptions.ChunkedEncodingError(e.detail) from e

    def close(self) -> None:
        pass
