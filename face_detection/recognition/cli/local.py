"""Both services in this process: what the command line works with where no running one is named."""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import requests
from flask import Flask
from numpy.typing import NDArray
from requests.adapters import BaseAdapter
from werkzeug.test import Client as WSGIClient

from embedding import config as embedding_config
from embedding.app import load_network, loader
from embedding.config import Settings as EmbeddingSettings
from embedding.network import Networks
from recognition.app import create_app, load_detector
from recognition.cli.opening import open_named_gallery, who
from recognition.cli.session import UNAVAILABLE, GalleryNeed, fail, read_settings
from recognition.client import Client
from recognition.config import Settings
from recognition.errors import ModelUnknown
from recognition.gallery import Gallery
from recognition.seeing import Detector
from serving.attributes import Attributes
from serving.errors import Failure, NotFound
from serving.model import Model
from serving.models import prepare
from serving.request_id import caller
from serving.variables import SettingsError

HOST = "http://in-process.invalid"  # a name that nobody has: RFC 2606, section 2


@dataclass(frozen=True)
class Parts:
    """What both services are made of in this process; the gallery is `default`, or none."""

    settings: Settings
    detector: Detector
    embedder: Embedder
    gallery: Gallery | None


def open_client(need: GalleryNeed) -> Client:
    """Load models, detector and, if need be, the gallery as the services do, with their settings.

    Raises:
        SystemExit: something cannot be loaded; stderr says what.
    """
    parts = load(need)
    app = create_app(
        parts.settings,
        detector=parts.detector,
        embedder=parts.embedder,
        gallery=parts.gallery or cast(Gallery, NoGallery()),
    )
    client = Client(HOST)
    adapter = WSGIAdapter(app, parts)
    for prefix in (HOST, f"{HOST}/ready"):  # the client has mounted one of its own there
        client.session.mount(prefix, adapter)
    return client


def parts_of(client: Client) -> Parts | None:
    """Return what a client works with that `open_client` has opened; None: it talks to a running service."""
    adapter = client.session.get_adapter(client.host)
    return adapter.parts if isinstance(adapter, WSGIAdapter) else None


def load(need: GalleryNeed) -> Parts:
    """Load what `open_client` loads.

    Raises:
        SystemExit: something cannot be loaded; stderr says what.
    """
    settings = read_settings()
    embedding_settings = read_embedding_settings()
    gallery = None if need == "none" else open_named_gallery(settings, create=need == "new")
    prepare(settings.models_dir)
    logging.getLogger("recognition").setLevel(logging.ERROR)  # expected failures reach the caller as errors
    return Parts(settings, load_detector(settings), load_embedder(embedding_settings), gallery)


def read_embedding_settings() -> EmbeddingSettings:
    """Read the settings of the embedding service.

    Raises:
        SystemExit: with UNAVAILABLE, where one is wrong.
    """
    try:
        return embedding_config.read()
    except SettingsError as e:
        fail(UNAVAILABLE, {"code": "settings", "detail": str(e)})


def load_embedder(settings: EmbeddingSettings) -> Embedder:
    """Load the embedding service's network into this process."""
    return Embedder(Networks(load_network(settings), loader(settings)))


@dataclass(frozen=True)
class Embedder:
    """The embedding service's networks where recognition expects the client of that service."""

    networks: Networks

    def model(self, name: str | None = None) -> Model:
        """Describe a network; None: the service's own. Raises ModelUnknown."""
        try:
            return self.networks.named(name).model
        except NotFound as e:
            raise ModelUnknown(e.detail) from e

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn uint8 (n, S, S, 3) RGB into float32 (n, d)."""
        return self.networks.named(model.name).embed(crops)

    def attributes(self, crops: NDArray[np.uint8]) -> list[Attributes | None]:
        """Guess nothing: no command shows age and gender."""
        return [None] * len(crops)


class NoGallery:
    """Stands where /detect and /verify ask for nothing but the model, which is the settings' one."""

    model_name = None

    def of_model(self, _: str | None) -> NoGallery:
        """Return itself."""
        return self

    def check_there(self) -> None:
        """Do nothing."""


class WSGIAdapter(BaseAdapter):
    """Lets `requests` call an application of this process instead of the network."""

    def __init__(self, app: Flask, parts: Parts) -> None:
        super().__init__()
        self.parts = parts
        self._client = WSGIClient(app, use_cookies=False)

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """Answer a request; its timeout and its like mean nothing here."""
        caller.set(who())  # for the audit log; the end of the request before has reset it
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
        if self.parts.gallery:
            self.parts.gallery.close()


class _Body:
    """An answer's chunks as the file that `requests` reads."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    def read(self, _size: int | None = None) -> bytes:
        try:
            return next((chunk for chunk in self._chunks if chunk), b"")
        except Failure as e:
            raise requests.exceptions.ChunkedEncodingError(e.detail) from e

    def close(self) -> None:
        pass
