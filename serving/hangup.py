"""Whether the client of the request under way still waits: work for one that has gone helps nobody."""

from __future__ import annotations

import select
import socket
from contextvars import ContextVar

from serving.errors import ClientGone

# Linux reports the end of what a client sends; elsewhere only a reset is seen.
GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR

_connection: ContextVar[socket.socket | None] = ContextVar("connection", default=None)


def watch(connection: socket.socket | None) -> None:
    """Say over which connection the request came; None: it cannot be told."""
    _connection.set(connection)


def check_client() -> None:
    """Stop work for a client that has hung up.

    One that only closes its sending side, which no usual client does before the answer, counts as gone.

    Raises:
        ClientGone: it has.
    """
    connection = _connection.get()
    if connection is None:
        return
    poll = select.poll()
    try:
        poll.register(connection, GONE)
        gone = bool(poll.poll(0))
    except (OSError, ValueError):  # it is closed
        gone = True
    if gone:
        raise ClientGone("The client hung up before its answer was ready.")
