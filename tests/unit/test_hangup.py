"""When a client counts as gone."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from serving.errors import ClientGone
from serving.hangup import PATIENCE_S, check_client, watch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of it")


@pytest.fixture
def client() -> Iterator[socket.socket]:
    """The other end of a connection that is watched."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with closing(theirs), ours:
        watch(ours)
        yield theirs
        watch(None)


def test_who_waits_is_worked_for(client: socket.socket) -> None:
    check_client()
    client.sendall(b"the beginning of another request")
    check_client()


@pytest.mark.parametrize("close", [socket.socket.close, lambda client: client.shutdown(socket.SHUT_WR)])
def test_who_stops_sending_is_given_time_to_read(client: socket.socket, close: object) -> None:
    close(client)  # type: ignore[operator]
    now = [100.0]
    check_client(lambda: now[0])
    now[0] += PATIENCE_S
    check_client(lambda: now[0])
    now[0] += 0.1
    with pytest.raises(ClientGone):
        check_client(lambda: now[0])


def test_who_resets_the_connection_has_gone(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    with pytest.raises(ClientGone):
        check_client()


def test_without_a_connection_nobody_has_gone() -> None:
    watch(None)
    check_client()
