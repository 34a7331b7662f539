"""Where the services listen: as a URL on this machine, and whether that can work."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recognition.config import Settings

LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # of the addresses that mean all of a machine's own


def listens_everywhere(host: str) -> bool:
    """Tell whether a service at `host` can be reached from other machines at all of this one's addresses."""
    return host in LOOPBACK_OF


def local_url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a service that listens at `host`."""
    host = LOOPBACK_OF.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"  # RFC 3986, section 3.2.2


def embedding_url(settings: Settings, host: str, port: int) -> str:
    """Return FEATURE_EXTRACTION_URL if it is set, else where the service listens that is started beside."""
    is_set = "feature_extraction_url" in settings.model_fields_set
    return settings.feature_extraction_url if is_set else local_url(host, port)


def obstacle(host: str, port: int) -> str | None:
    """Say why a service cannot listen there, or return None.

    The port of another program is one: its answers would pass for the service's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET  # as gunicorn chooses it
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gunicorn does
        try:
            probe.bind((host, port))
        except OSError as e:
            if e.errno == errno.EADDRINUSE:
                return f"port {port} is in use"
            return f"it cannot listen at {host}, port {port}: {e.strerror}"
    return None
