"""Addresses of MQTT brokers. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PORTS = {"mqtt": 1883, "mqtts": 8883}  # IANA's
LONGEST_PREFIX = 200  # characters; topics go up to 65,535 bytes (MQTT 5.0, section 4.7.3)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, and how to get in.

    host, port: of the broker.
    tls: whether it is spoken to encrypted.
    user, password: None: without.
    prefix: of all topics, without a slash at its ends.
    """

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None = field(repr=False)
    prefix: str

    @property
    def shown(self) -> str:
        """The address without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.tls else 'mqtt'}://{host}:{self.port}/{self.prefix}"


def address_of(url: str, prefix: str, user: str | None = None, password: str | None = None) -> Address:
    """Read `mqtt://USER:PASSWORD@HOST:PORT/PREFIX`; `mqtts` means TLS.

    Args:
        url: what of user and password is not a letter or digit is percent-encoded.
        prefix, user, password: where the URL has none.

    Raises:
        ValueError: it is no such address. The text does not quote it.
    """
    parts = urlsplit(url)
    if parts.scheme not in PORTS or parts.query or parts.fragment:
        raise ValueError("An address of a broker is mqtt://HOST:PORT/PREFIX, or with TLS mqtts://...")
    try:
        port = PORTS[parts.scheme] if parts.port is None else parts.port
    except ValueError:
        port = 0
    if not parts.hostname or not port:
        raise ValueError("The address of the broker has no host, or a port that is none.")
    return Address(
        parts.hostname,
        port,
        parts.scheme == "mqtts",
        unquote(parts.username) if parts.username else user,
        unquote(parts.password) if parts.password else password,
        prefix_of(unquote(parts.path).strip("/") or prefix),
    )


def prefix_of(text: str) -> str:
    """Return what topics begin with, without slashes at its ends.

    Raises:
        ValueError: topics cannot begin so.
    """
    prefix = text.strip("/")
    if len(prefix) > LONGEST_PREFIX or not all(map(_is_level, prefix.split("/"))):
        raise ValueError("A prefix of topics has levels between slashes, and no +, # or $ in them.")
    return prefix


def _is_level(level: str) -> bool:
    return bool(level) and level.isprintable() and not set(level) & set("+#$")
