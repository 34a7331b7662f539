"""Wiring: builds the Flask application from its parts, and nothing else."""

from __future__ import annotations

import warnings

from flask import Flask

from embedding import routes
from embedding.config import Settings, stop
from embedding.deepface_models import ModelUnavailable
from embedding.engines import DeviceUnavailable
from embedding.network import Network, load


def create_app(settings: Settings, *, network: Network) -> Flask:
    """Build the application around a loaded network. It holds no global state."""
    app = Flask("embedding", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["MAX_FORM_MEMORY_SIZE"] = settings.max_body_bytes
    secret = settings.embedding_secret.get_secret_value() if settings.embedding_secret else None
    routes.register(app, network, settings.max_image_pixels, secret=secret)
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
    warnings.filterwarnings("ignore", module="PIL")  # what it thinks of an upload is not for the log
    return create_app(settings, network=load_network(settings))
