"""How long a thread waits for its client: what has come already is not waited for."""

from __future__ import annotations

import socket

import pytest

from serving.pace import Reader, Threads


def test_a_client_is_not_dropped_while_its_bytes_are_there_however_many_wait() -> None:
    threads = Threads(1)
    client, served = socket.socketpair()
    stuck, other = socket.socketpair()
    with client, served, stuck, other, threads.lingering(other):
        for waiting in range(3):
            threads.take(waiting)
        reader = Reader(served, threads)
        reader.begin(60, answered=True)
        client.sendall(b"first")
        assert reader.chunk() == b"first"
        client.sendall(b"second")
        assert reader.chunk() == b"second"
        stuck.setblocking(False)
        with pytest.raises(BlockingIOError):  # nor is the one that lingers, for it is within the half
            stuck.recv(1)


def test_of_two_that_linger_while_others_wait_the_one_that_did_nothing_for_longest_is_dropped() -> None:
    threads = Threads(2)
    first, longest = socket.socketpair()
    second, shorter = socket.socketpair()
    with first, longest, second, shorter, threads.lingering(longest), threads.lingering(shorter):
        threads.take(1)
        threads.take(2)
        second.setblocking(False)
        first.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody waits yet
            first.recv(1)
        threads.take(3)
        assert first.recv(1) == b""
        with pytest.raises(BlockingIOError):
            second.recv(1)
