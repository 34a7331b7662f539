"""A gunicorn worker that slow and idle clients cannot hold, and that stops without losing requests.

gunicorn's own worker waits in one of its threads for as long as a client takes to send a request or to read
the answer: pace.py bounds that. Once it has all the connections that it may have, idle ones included, it
accepts no more: here the oldest idle ones make room. What gunicorn refuses has the form of all other errors.
"""

from __future__ import annotations

import errno
import json
import logging
import resource
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from selectors import EVENT_READ
from typing import Any

from gunicorn.http import errors as refusals
from gunicorn.workers import gthread

from serving.failures import HTTP_CODE, INTERNAL, SEE_THE_LOG, Error, error_text
from serving.head import Request
from serving.pace import GRACE_S, LOOK_S, Reader, Sender, Threads, close_with_reset
from serving.request_id import request_id

log = logging.getLogger(__name__)

# Files that a worker may have open besides its clients' connections: the gallery's and the models', pipes to
# the processes that decode, connections to the other service, and uploads too large for memory.
OTHER_FILES, OTHER_FILES_OF_A_THREAD = 128, 4
CLOSED_WITHOUT_FILES = 16  # idle connections, when the process can open no more files
DISCARDED_AT_ONCE = 256 * 1024  # bytes
NONE_TO_ACCEPT = (errno.EAGAIN, errno.ECONNABORTED)  # another worker has it, or the client is gone

# What gunicorn refuses before the application sees it. Its own words quote the request.
REFUSED: Mapping[type[Exception], tuple[int, str]] = {
    refusals.LimitRequestLine: (414, "The request line is too long."),
    refusals.ExpectationFailed: (417, "The only expectation that can be met is 100-continue."),
    refusals.LimitRequestHeaders: (431, "The headers are too many, or too large."),
    refusals.UnsupportedTransferCoding: (501, "The only transfer coding that is understood is chunked."),
    refusals.ConfigurationProblem: (INTERNAL, SEE_THE_LOG),
    refusals.InvalidResponseHeader: (INTERNAL, SEE_THE_LOG),
    refusals.InvalidResponseHeaderName: (INTERNAL, SEE_THE_LOG),
    refusals.ParseException: (400, "It is not a valid HTTP request: its first line, a header or its length."),
    ssl.SSLError: (400, "It is not a valid TLS connection."),
    Exception: (INTERNAL, SEE_THE_LOG),
}


class Worker(gthread.ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's threaded worker, except for what the module's docstring says.

    limit_s: how long a request may take to arrive; server.py sets it.
    """

    limit_s: float

    def __init__(self, *args: Any, **options: Any) -> None:
        """Start like gunicorn's."""
        super().__init__(*args, **options)
        self._threads = Threads(self.cfg.threads)
        self._out_of_files = False
        self._accept_again_at = 0.0

    def init_process(self) -> None:
        """Bound the connections by the files that may be open."""
        others = OTHER_FILES + OTHER_FILES_OF_A_THREAD * self.cfg.threads
        files = _allow_files(self.cfg.worker_connections + others)
        self.worker_connections = max(min(self.cfg.worker_connections, files - others), self.cfg.threads)
        self.max_keepalived = self.worker_connections - self.cfg.threads
        super().init_process()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept connections or not; a worker that stops closes its listeners, so nobody waits in vain."""
        super().set_accept_enabled(enabled and time.monotonic() >= self._accept_again_at)
        if not self.alive:
            for listener in self.sockets:
                listener.close()
            for conn in self.pending_conns:
                conn.timeout = min(conn.timeout, time.monotonic() + GRACE_S)

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; it takes a thread when something has come."""
        try:
            client, address = listener.accept()
            conn = gthread.TConn(self.cfg, client, address, listener.getsockname())
            self.poller.register(client, EVENT_READ, partial(self.on_pending_socket_readable, conn))
        except OSError as e:
            if e.errno not in NONE_TO_ACCEPT:
                log.warning("a connection cannot be accepted: %s", e.strerror)
                self._out_of_files = True
            return
        conn.timeout = time.monotonic() + (self.cfg.keepalive or self.limit_s)
        self.pending_conns.append(conn)
        self.nr_conns += 1

    def murder_pending(self) -> None:
        """Close connections that have sent nothing for too long, and the oldest idle ones to make room.

        gunicorn calls this when it has dealt with all that has happened, so none of them is about to be.
        """
        super().murder_pending()
        while self.nr_conns >= self.worker_connections and self._most_are_idle() and self._close_oldest():
            pass
        if self._out_of_files:
            self._out_of_files = False
            if not sum(self._close_oldest() for _ in range(CLOSED_WITHOUT_FILES)):
                self._accept_again_at = time.monotonic() + LOOK_S
                self.set_accept_enabled(False)

    def _most_are_idle(self) -> bool:
        """Else those that are not will soon be gone, and the idle ones may just be about to send."""
        idle = len(self.pending_conns) + len(self.keepalived_conns)
        return idle > int(self.worker_connections) // 2

    def _close_oldest(self) -> bool:
        """Close the connection that has been idle for longest, if there is one."""
        idle = [conns for conns in (self.pending_conns, self.keepalived_conns) if conns]
        if not idle:
            return False
        conn = min(idle, key=lambda conns: conns[0].timeout).popleft()  # the oldest of each comes first
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
        return True

    def enqueue_req(self, conn: gthread.TConn) -> None:
        """Give a connection to a thread, as soon as one is free."""
        conn.waits_since = time.monotonic()
        self._threads.take(conn)
        super().enqueue_req(conn)

    def handle(self, conn: gthread.TConn) -> Any:
        """Read and answer one request, in a thread."""
        try:
            if not conn.initialized:
                conn.init()
                conn.parser.unreader = Reader(conn.sock, self._threads)
                conn.parser.mesg_class = Request
            last = conn.parser.mesg
            conn.parser.unreader.begin(self.limit_s, time.monotonic() - conn.waits_since)
            kept = super().handle(conn)
            if not kept:
                _part(conn, understood=conn.parser.mesg is not last)
            return kept
        finally:
            self._threads.leave(conn)
            request_id.set("")

    def handle_request(self, req: Any, conn: gthread.TConn) -> Any:
        """Let the application answer; it is the application that reads the body."""
        client, reader = conn.sock, conn.parser.unreader
        reader.answering = True
        conn.sock = Sender(client, self._threads, self.limit_s)
        try:
            return super().handle_request(req, conn)
        finally:
            conn.sock = client
            reader.answering = False
            reader.begin(GRACE_S, answered=True)  # for what is left of the request

    def _keepalive_after(self, conn: gthread.TConn, keepalive: bool) -> bool:
        """Keep a connection, as announced, if the rest of the body arrives in time, even beyond 64 KB."""
        try:
            return keepalive and _discard_body(conn)
        except refusals.ParseException:  # which would be a second answer
            return False

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer what is no request, and what the application fails to answer. Nothing sent is logged."""
        status, detail = next(REFUSED[kind] for kind in type(exc).__mro__ if kind in REFUSED)
        code = HTTP_CODE[status]
        named = request_id.get()
        if status == INTERNAL:
            log.error("internal error", exc_info=exc)
        ip = addr[0] if isinstance(addr, tuple) else None  # else it is a socket in the file system
        log.info("refused", extra={"fields": {"status": status, "code": code, "ip": ip}})
        answer = Error(error=error_text(status), code=code, detail=detail, request_id=named)
        body = json.dumps(answer) + "\n"
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"X-Request-Id: {named}",
        ]
        with suppress(OSError):
            client.settimeout(GRACE_S)
            client.sendall("\r\n".join([*head, "", body]).encode("ascii"))


def _allow_files(needed: int) -> int:
    """Raise this process's limit of open files, where it may be raised; return how many it may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return needed
    with suppress(OSError, ValueError):
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        return raised
    return soft


def _discard_body(conn: gthread.TConn) -> bool:
    """Read what the application has left of a body; return whether it is known where the next request begins.

    gunicorn does so in steps of 1 KiB, for each of which it copies all that has come.
    """
    body = conn.parser.mesg.body
    while not body.failed and body.read(DISCARDED_AT_ONCE):
        pass
    return not body.failed


def _part(conn: gthread.TConn, *, understood: bool) -> None:
    """Close a connection here: gunicorn would wait for the client in the thread that accepts connections.

    If unread bytes were left, closing would destroy the answer before the client has it. Only then wait for
    the client, and discard what it still sends.

    understood: where the request ends is known.
    """
    reader = conn.parser.unreader
    in_time = reader.pace.left_s() > 0
    reader.begin(0, answered=True)  # receive nothing more
    try:
        all_read = understood and _discard_body(conn)
    except (OSError, refusals.ParseException):
        all_read = False
    with suppress(OSError):
        if not all_read:
            conn.sock.shutdown(socket.SHUT_WR)
            if not (in_time and _hangs_up(reader)):
                close_with_reset(conn.sock)  # or a client that is stuck sending would not learn of it
        conn.sock.shutdown(socket.SHUT_RDWR)


def _hangs_up(reader: Reader) -> bool:
    """Discard what the client sends, for GRACE_S at most; return whether it has hung up by then."""
    reader.begin(GRACE_S, answered=True)
    try:
        while reader.chunk(DISCARDED_AT_ONCE):
            pass
    except ConnectionResetError:
        return False
    return True
