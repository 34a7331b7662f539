"""Wiring: builds the Flask application from its parts, and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from flask import Flask

from embedding import attributes
from embedding.attributes import Guess
from embedding.cards import CardUnfit
from embedding.config import Settings, stop
from embedding.deepface_models import ModelUnavailable
from embedding.engines import DeviceUnavailable, NetworkUnfit
from embedding.network import Network, Networks, load
from embedding.routes import ROUTES, Parts, count_requests
from embedding.service import Decode
from serving import app, pictures
from serving.intake import Intake
from serving.keys import ADMIN, Key, digest
from serving.notices import Notices
from serving.sandbox import Decoder


def create_app(
    settings: Settings,
    *,
    network: Network,
    load_other: Callable[[str], Network] | None = None,
    decode: Decode | None = None,
    guess: Guess | None = None,
    notices: Notices | None = None,
) -> Flask:
    """Build the application around a loaded network. It holds no global state.

    load_other: see Networks; None: there is no other model.
    decode: None decodes uploaded pictures in this process.
    guess: of age and gender; None: they are not told.
    notices: what /ready shows beside; None: nothing.
    """
    secret = settings.embedding_secret
    metrics = count_requests()
    metrics.use(network.model.name, network.model.fingerprint)
    in_this_process = partial(pictures.decode, max_pixels=settings.max_image_pixels)
    return app.create_app(
        "embedding",
        ROUTES,
        Parts(Networks(network, load_other), decode or in_this_process, metrics, notices or Notices(), guess),
        metrics,
        statuses={},
        max_body_bytes=settings.max_body_bytes,
        intake=Intake(settings.max_bodies_bytes, settings.max_body_bytes),
        keys=[Key("secret", frozenset({ADMIN}), digest(secret.get_secret_value()))] if secret else [],
        ask="Send Authorization: Bearer EMBEDDING_SECRET.",
        title="Feature extraction",
        samples={},
        allowed_hosts=settings.allowed_hosts,
    )


def load_network(settings: Settings) -> Network:
    """Load EMBEDDING_ONNX or EMBEDDING_MODEL, or say why it cannot be loaded and exit.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    try:
        return loader(settings)(
            settings.embedding_model, deepface_home=settings.deepface_home, onnx=settings.embedding_onnx
        )
    except (ModelUnavailable, DeviceUnavailable, CardUnfit, NetworkUnfit, OSError, KeyError) as e:
        stop(f"{settings.embedding_model} is not prepared" if isinstance(e, KeyError) else str(e))


def loader(settings: Settings) -> Callable[..., Network]:
    """Return what loads a model of the catalogue as it is set how models run."""
    return partial(
        load,
        models_dir=settings.models_dir,
        threads=settings.embedding_threads,
        engine=settings.embedding_engine,
        device=settings.embedding_device,
        batch=settings.embedding_batch,
        gather_ms=settings.embedding_gather_ms,
    )


def load_guess(settings: Settings) -> Guess | None:
    """Load what tells age and gender where ATTRIBUTES is set, or say why it cannot be loaded and exit.

    Raises:
        SystemExit: with the status at which gunicorn's master stops.
    """
    if not settings.attributes:
        return None
    try:
        return attributes.load(
            settings.models_dir,
            threads=settings.embedding_threads,
            engine=settings.embedding_engine,
            device=settings.embedding_device,
            batch=settings.embedding_batch,
        )
    except (DeviceUnavailable, NetworkUnfit, OSError, KeyError) as e:
        stop(f"ATTRIBUTES=1: {'age and gender are not prepared' if isinstance(e, KeyError) else e}")


def production_app(settings: Settings, notices: Notices) -> Flask:
    """Build the application with the real network. Called in each worker, after the fork."""
    return create_app(
        settings,
        network=load_network(settings),
        load_other=loader(settings),
        decode=load_decoder(settings),
        guess=load_guess(settings),
        notices=notices,
    )


def load_decoder(settings: Settings) -> Decode | None:
    """Make what decodes uploads in a process of its own, where that can be kept in bounds.

    One at a time, as the largest pictures need much memory; started with the first, as most never send one.
    """
    if sys.platform != "linux":
        return None
    return Decoder(
        max_pixels=settings.max_image_pixels,
        timeout_s=settings.decode_timeout_s,
        max_bytes=settings.max_body_bytes,
        limit=1,
    )
