"""Wiring: builds the Flask application from its parts, and nothing else."""

from __future__ import annotations

import sys
from functools import partial

from flask import Flask

from embedding import documentation, preprocess, routes
from embedding.config import Settings, stop
from embedding.deepface_models import ModelUnavailable
from embedding.engines import DeviceUnavailable
from embedding.network import Network, load
from embedding.routes import ReadCrop
from embedding.uploads import UploadReader


def create_app(settings: Settings, *, network: Network, read_crop: ReadCrop | None = None) -> Flask:
    """Build the application around a loaded network. It holds no global state.

    read_crop: None reads uploaded pictures in this process.
    """
    app = Flask("embedding", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    secret = settings.embedding_secret.get_secret_value() if settings.embedding_secret else None
    in_this_process = partial(
        preprocess.read_crop, side=network.input_size, max_pixels=settings.max_image_pixels
    )
    routes.register(app, network, read_crop or in_this_process, secret=secret)
    documentation.register(app, secret=secret is not None)
    return app


def load_network(settings: Settings) -> Network:
    """Load EMBEDDING_MODEL, or say why it cannot be loaded and leave.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    try:
        return load(
            settings.embedding_model,
            settings.models_dir,
            threads=settings.embedding_threads,
            engine=settings.embedding_engine,
            device=settings.embedding_device,
            batch=settings.embedding_batch,
            gather_ms=settings.embedding_gather_ms,
            deepface_home=settings.deepface_home,
        )
    except (ModelUnavailable, DeviceUnavailable) as e:
        stop(str(e))


def production_app(settings: Settings) -> Flask:
    """Build the application with the real network. Called in each worker, after the fork."""
    network = load_network(settings)
    return create_app(settings, network=network, read_crop=upload_reader(settings, network.input_size))


def upload_reader(settings: Settings, side: int) -> ReadCrop | None:
    """Make what reads uploaded pictures in a process of its own, where that can be kept in bounds."""
    if sys.platform != "linux":
        return None
    return UploadReader(side=side, max_pixels=settings.max_image_pixels, timeout_s=settings.decode_timeout_s)
