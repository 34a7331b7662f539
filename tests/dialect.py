"""Clients of CompreFace's dialect: a service of each kind over a gallery, and their keys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from flask.testing import FlaskClient

from fakes import app_of_greys
from recognition import client_keys
from recognition.gallery import Gallery

KEYS = {name: str(uuid.UUID(int=number, version=4)) for number, name in enumerate("RDVS", 0x1234)}
KINDS = {"R": "recognition", "S": "recognition", "D": "detection", "V": "verification"}
SERVICES = " ".join(client_keys.entry(name, KINDS[name], key) for name, key in KEYS.items())  # type: ignore[arg-type]


def header(name: str) -> Mapping[str, str]:
    """Carry the key of a service: R and S recognise, each in a gallery of its own; D detects, V verifies."""
    return {"x-api-key": KEYS[name]}


def client_of(gallery: Gallery, **more: Any) -> FlaskClient:
    """The service whose faces are as grey as the first pixel of their picture; see `fakes.app_of_greys`."""
    return app_of_greys(gallery, COMPREFACE_SERVICES=SERVICES, **more).test_client()
