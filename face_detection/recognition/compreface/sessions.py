"""Who may make applications and services: they register once, log in, and have a session for a while.

CompreFace hands all of it to whoever comes first. Here the door is not open by surprise. Where API_KEYS are
set, nobody registers, and the password is a key with the scope `admin`, for all galleries. Without keys,
all of it answers to this machine and private networks alone, and whoever registers is the only one.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import wraps
from typing import Any

from flask import Request, g, request
from flask.typing import ResponseReturnValue
from werkzeug.security import check_password_hash, generate_password_hash

from recognition.gallery import Gallery, logins
from recognition.results import Administrator
from serving import access
from serving.errors import Failure, NotLocal, Overloaded, Unauthorized
from serving.keys import ADMIN, Key, digest, find
from serving.rate import RateLimit
from serving.request_id import caller

COOKIE = "CFSESSION"
LASTS = timedelta(seconds=2400)  # as CompreFace's, by default
TOKEN_BYTES = 32
TRIES_PER_MINUTE = 10  # of one address, to log in or to register, in one process
# OWASP's Password Storage Cheat Sheet: 32 MiB, three times over. One is computed at a time, and few may wait,
# lest those who try from many addresses take all threads.
METHOD = "scrypt:32768:8:3"
AT_ONCE = 4


class BadCredentials(Failure):
    """No such user, or another password; CompreFace does not say which."""

    code = "bad_credentials"


@dataclass(frozen=True, slots=True)
class Door:
    """What logins are held against.

    keys: of API_KEYS.
    tries: of each address.
    """

    keys: Sequence[Key]
    tries: RateLimit = field(default_factory=lambda: RateLimit(TRIES_PER_MINUTE))
    _few: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(AT_ONCE))
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def check_near(self) -> None:
        """Let in only this machine and private networks, where no keys are set.

        Raises:
            NotLocal: the request comes from elsewhere.
        """
        if not self.keys and not access.comes_from_near(request):
            raise NotLocal(
                "No keys are set, so this answers only to this machine and private networks; set API_KEYS."
            )

    def count_try(self) -> None:
        """Count a try to register or to log in.

        Raises:
            RateLimited: too many have come from this address.
        """
        self.tries.take(request.remote_addr or "")

    def kept_of(self, password: str) -> str:
        """Return what is kept of a new password.

        Raises:
            Overloaded: others log in.
        """
        with self._turn():
            return generate_password_hash(password, METHOD)

    def log_in(self, gallery: Gallery, user: str, password: str) -> str:
        """Begin a session. Returns what tells it, for the client alone.

        Tries are counted; with keys, which nobody can guess, only those that fail: behind a proxy all come
        from one address, and a stranger would keep everybody out.

        Raises:
            BadCredentials: no such user, or another password.
            RateLimited: too many have come from this address.
            Overloaded: others log in.
            GalleryUnavailable: the database cannot be reached or is locked.
            AuditUnavailable: the audit log cannot be written.
        """
        if not self.keys:
            self.count_try()
        try:
            administrator, key = self._known(gallery, user, password)
        except BadCredentials:
            if self.keys:
                self.count_try()
            with gallery.audit.outcomes() as begin:
                begin("login", [])
                raise
        _set_caller(administrator, key)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        logins.begin_session(
            gallery,
            digest(token),
            gallery.now() + LASTS,
            administrator=None if administrator is None else administrator.id,
            api_key=None if key is None else key.digest,
        )
        return token

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._few.acquire(blocking=False):
            raise Overloaded("Others are logging in; try again soon.")
        try:
            with self._one_at_a_time:
                yield
        finally:
            self._few.release()

    def _known(self, gallery: Gallery, user: str, password: str) -> tuple[Administrator | None, Key | None]:
        """Return who has this password: whoever has registered, or by any user's name one of the keys."""
        if self.keys:
            key = find(self.keys, password)
            if key is not None and _opens_all(key):
                return None, key
        elif (somebody := logins.registered(gallery)) is not None:
            administrator, kept = somebody
            with self._turn():
                matches = check_password_hash(kept, password)
            if matches and user.lower() == administrator.email:
                return administrator, None
        raise BadCredentials("Bad credentials")

    def who(self, gallery: Gallery) -> Administrator:
        """Return who has the session that the request comes with. Whose key is used is told by its name.

        Raises:
            Unauthorized: there is none, or it is over, or its key or administrator is not known any more.
            GalleryUnavailable: the database cannot be reached or is locked.
        """
        token = presented(request)
        session = logins.find_session(gallery, digest(token)) if token else None
        if session is None:
            raise Unauthorized("Full authentication is required to access this resource")
        if not self.keys and session.administrator is not None:
            _set_caller(session.administrator, None)
            return session.administrator
        for key in self.keys:
            if key.digest == session.api_key and _opens_all(key):
                _set_caller(None, key)
                return Administrator(key.name, key.name, key.name, "")
        raise Unauthorized("Full authentication is required to access this resource")


def presented(incoming: Request) -> str:
    """Return what tells the session of a request, or an empty text."""
    sent = incoming.authorization
    if sent is not None and sent.type == "bearer":
        return sent.token or ""
    return incoming.cookies.get(COOKIE, "")


def logged_in(handler: Callable[..., ResponseReturnValue]) -> Callable[..., ResponseReturnValue]:
    """Let a handler be called only for those who have logged in; looks at the headers alone.

    Raises, when it is called:
        NotLocal, Unauthorized, GalleryUnavailable: as `Door` does.
    """

    @wraps(handler)
    def checked(parts: Any, **parameters: str) -> ResponseReturnValue:
        parts.door.check_near()
        g.administrator = parts.door.who(parts.gallery)
        return handler(parts, **parameters)

    return checked


def _opens_all(key: Key) -> bool:
    return key.opens(ADMIN) and key.gallery is None


def _set_caller(administrator: Administrator | None, key: Key | None) -> None:
    g.key = key.name if key is not None else f"administrator {administrator.id if administrator else ''}"
    caller.set(g.key)
