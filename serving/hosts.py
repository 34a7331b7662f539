"""Which hosts a service answers to.

A page of evil.example can have this name lead to our machine once the page is loaded: DNS rebinding. The
browser then takes the service for evil.example, and lets the page read everything. The name gives it away.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection

from flask import Flask, request

from serving.errors import Misdirected

HOST = re.compile(r"\[([0-9a-f:.]+)\](?::\d*)?|([a-z0-9._-]+)(?::\d*)?")  # an address in brackets, or a name
# Names that public DNS never has: RFC 6761, and ICANN's Board on 29 July 2024.
PRIVATE = (".localhost", ".internal")
SHOWN = 100  # characters of a host that was refused


def register(app: Flask, allowed: Collection[str]) -> None:
    """Refuse requests for other hosts.

    allowed: names that `app` answers to besides this machine's own; see `answers_to`. No name is looked up.
    """
    machine = socket.gethostname().lower()
    names = (*PRIVATE, machine, f"{machine.partition('.')[0]}.local", *allowed)

    @app.before_request
    def check_host() -> None:
        host = request.environ.get("HTTP_HOST", "")
        # Every browser says for which host a request is; some health checks do not.
        if host and not answers_to(host, names):
            raise Misdirected(f"ALLOWED_HOSTS does not name this host: {host[:SHOWN]}")


def answers_to(host: str, names: Collection[str]) -> bool:
    """Tell whether a Host header, with or without a port, is for this service.

    names: in small letters; one with a dot in front stands for itself without it and for its subdomains.
    """
    matched = HOST.fullmatch(host.lower())
    if matched is None:
        return False
    asked = matched[1] or matched[2]
    # Rebinding needs a name for which the attacker's DNS answers. An address needs no DNS, and behind NAT, as
    # in a container, we do not know our own: any will do. So will a name without a dot, such as that of a
    # Compose service: public DNS has none, only the local network does.
    if "." not in asked or _is_address(asked):
        return True
    asked = asked.removesuffix(".")
    return any(asked == name.removeprefix(".") or _is_below(asked, name) for name in names)


def _is_below(asked: str, name: str) -> bool:
    return name.startswith(".") and asked.endswith(name)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
