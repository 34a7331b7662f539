"""Whether the client of the request under way still waits: work for one that has gone helps nobody."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

from serving.errors import ClientGone

# Linux reports the end of what a client sends; elsewhere only a reset is seen.
CLOSED_SENDING = getattr(select, "POLLRDHUP", 0)
# A client that has gone looks like one that only closed its sending side and still reads, as simple programs
# do. Those ask for little, so only work that goes on for so many seconds after that is given up.
PATIENCE_S = 2.0


@dataclass
class _Client:
    connection: socket.socket
    closed_at: float | None = None  # when it was first seen to have closed its sending side


_client: ContextVar[_Client | None] = ContextVar("client", default=None)


def watch(connection: socket.socket | None) -> None:
    """Say over which connection the request came; None: it cannot be told."""
    _client.set(None if connection is None else _Client(connection))


def check_client(clock: Callable[[], float] = time.monotonic) -> None:
    """Stop work for a client that has hung up.

    Raises:
        ClientGone: it has reset the connection, or closed its side of it more than PATIENCE_S ago.
    """
    client = _client.get()
    if client is None:
        return
    poll = select.poll()
    try:
        poll.register(client.connection, CLOSED_SENDING)  # POLLHUP and POLLERR are reported in any case
        seen = dict(poll.poll(0)).get(client.connection.fileno(), 0)
    except (OSError, ValueError):  # it is closed
        seen = select.POLLHUP
    if seen & CLOSED_SENDING and client.closed_at is None:
        client.closed_at = clock()
    waited = client.closed_at is not None and clock() - client.closed_at > PATIENCE_S
    if seen & (select.POLLHUP | select.POLLERR | select.POLLNVAL) or waited:
        raise ClientGone("The client hung up before its answer was ready.")
