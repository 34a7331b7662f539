"""Lets in who may: finds the caller's key, holds it against the route's scope, and counts against the limit.

All of it looks at the headers alone, before anything of the body is read. Without keys, the caller's address
decides who may do what an administrator may.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from flask import Flask, Request, g, request

from serving.errors import Forbidden, NotLocal, Unauthorized
from serving.keys import ADMIN, ANY, OPEN, Key, find
from serving.rate import RateLimit
from serving.request_id import caller

# This machine, private networks (RFC 1918, RFC 4193), and what is on the same link. Not 100.64.0.0/10
# (RFC 6598): the customers of a provider share it, and are strangers to each other.
LOOPBACK = ("127.0.0.0/8", "::1/128")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
SAME_LINK = ("169.254.0.0/16", "fe80::/10")
NEAR = tuple(map(ip_network, (*LOOPBACK, *PRIVATE, *SAME_LINK)))


def register(
    app: Flask,
    scopes: Mapping[str, str],
    keys: Sequence[Key],
    *,
    whole: Collection[str],
    near: Collection[str],
    limit: RateLimit | None,
    ask: str,
) -> None:
    """Add the check to `app`.

    Args:
        app: the application.
        scopes: what each endpoint asks for; one that is not here asks for `admin`.
        keys: those that are accepted; without any, everybody may call everything, except that what asks for
            `admin` answers only to this machine and private networks.
        whole: endpoints that are about all galleries, and so refused to a key that opens one alone.
        near: further endpoints that, without keys, answer only to this machine and private networks.
        limit: how often one key, or without keys one address, may ask; None: as often as it likes.
        ask: what a caller without a valid key is asked to send.
    """

    @app.before_request
    def admit() -> None:
        # Any valid key learns that a path is unknown.
        scope = ANY if request.endpoint is None else scopes.get(request.endpoint, ADMIN)
        if scope == OPEN:
            return
        if keys:
            key = find(keys, _presented(request))
            if key is None:
                raise Unauthorized(ask)
            g.key, g.gallery = key.name, key.gallery
            caller.set(key.name)
            if not key.opens(scope):
                raise Forbidden(f"This key does not have the scope {scope}.")
            if key.gallery is not None and request.endpoint in whole:
                raise Forbidden("This key is for one gallery alone, and this call is about all of them.")
        elif (scope == ADMIN or request.endpoint in near) and not comes_from_near(request):
            raise NotLocal(
                "No keys are set, so this answers only to this machine and private networks; set API_KEYS."
            )
        if limit is not None:
            limit.take(g.get("key") or request.remote_addr or "")


def _presented(incoming: Request) -> str:
    """Return the key that came with the request, or an empty text, which matches no key."""
    own: str | None = incoming.headers.get("x-api-key")
    if own is not None:
        return own
    sent = incoming.authorization
    return (sent.token or "") if sent is not None and sent.type == "bearer" else ""


def comes_from_near(incoming: Request) -> bool:
    """Tell whether a request comes from this machine or a private network.

    Behind a proxy the peer is the proxy. X-Forwarded-For, which anybody can write, is believed only where it
    names somebody who is not.
    """
    peer = incoming.remote_addr or ""
    connection = incoming.environ.get("gunicorn.socket")
    # A Unix socket's peer has no address. Who comes from the same address as they go to is on this machine.
    own = not peer or (connection is not None and connection.getsockname()[0] == peer)
    forwarded = [address.strip() for address in incoming.headers.get("X-Forwarded-For", "").split(",")]
    return (own or is_near(peer)) and all(is_near(address) for address in forwarded if address)


def is_near(address: str) -> bool:
    """Tell whether an IP address is of this machine or of a private network; what is no address is not."""
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    return any(parsed in network for network in NEAR)
