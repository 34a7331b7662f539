"""Events as signed requests to other programs, as Standard Webhooks 1.0 has it (standardwebhooks.com)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from recognition.events.delivery import Failed, Refused, Waiting
from serving.credentials import without_credentials
from serving.version import VERSION

TIMEOUT_S = 15.0  # Standard Webhooks, "Timeout": 15 to 30 seconds
SECRET_PREFIX = "whsec_"
LEAST_SECRET_BYTES = 16  # of a text; Standard Webhooks: 24 to 64 random bytes
GONE: Final = 410  # Standard Webhooks, "Deliverability": whoever answers this wants no more
OF_THE_MESSAGE: Final = (400, 413, 422)  # refusals that are hardly the address's or the secret's fault
MAX_REFUSALS = 5  # of one message in a row, before the next one gets its turn


class WrongSecret(Exception):
    """A secret is too short, or not the base64 that it says it is. The text says which."""


class Webhook:
    """One address, which gets a POST for each event.

    2xx takes the event. 410 means no, and 400, 413 and 422 do if they are repeated; all others mean later: a
    secret or an address is mended sooner or later. Redirects are not followed: they would carry names where
    nobody has sent them.
    """

    with_pictures = False

    def __init__(
        self,
        url: str,
        key: bytes | None,
        *,
        name: str | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open nothing yet.

        url: http or https; a user and a password in it are sent as Basic authentication.
        key: that requests are signed with; None: they are not.
        name: None: the URL's, without its secrets.
        timeout_s: for connecting, and for the longest silence.
        clock: seconds since 1970.
        """
        self._url, self._key, self._timeout_s, self._clock = url, key, timeout_s, clock
        self.name = name or f"webhook {without_credentials(url)}"
        self._refused: tuple[str, int] = ("", 0)  # the last message that was refused, and how often
        self._session = requests.Session()
        user, password = get_auth_from_url(url)
        # A function even if there is nothing to add: without it `requests` takes passwords from ~/.netrc.
        self._session.auth = HTTPBasicAuth(user, password) if user else lambda request: request

    def deliver(self, waiting: Waiting) -> None:
        """Send the event once.

        Raises:
            Failed: there is no answer, or one that asks for another try.
            Refused: by the answer.
        """
        body = waiting.body.encode()
        headers = {"Content-Type": "application/json", "User-Agent": f"face-recognition-service/{VERSION}"}
        message = _message_id(waiting)
        headers |= signed(message, body, self._key, int(self._clock()))
        try:
            with self._session.post(
                self._url,
                data=body,
                headers=headers,
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,  # nobody reads the answer's body, however long
            ) as answer:
                status, after = answer.status_code, answer.headers.get("Retry-After")
        except requests.Timeout as e:
            raise Failed("there was no answer in time") from e
        except requests.exceptions.SSLError as e:
            raise Failed("its certificate is not trusted, or its TLS is another one") from e
        except (requests.RequestException, UnicodeError) as e:  # the second one for a host that is no name
            raise Failed("it cannot be reached, or broke the connection off") from e
        if 200 <= status < 300:
            return
        reason = f"it answers with status {status}"
        if status in OF_THE_MESSAGE:
            last, refusals = self._refused
            self._refused = message, refusals + 1 if last == message else 1
        if status == GONE or self._refused == (message, MAX_REFUSALS):
            raise Refused(reason)
        raise Failed(reason, _seconds(after, self._clock()))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def check_url(url: str) -> None:
    """Make sure that a URL is one that can be posted to.

    Raises:
        ValueError: it is not. The text does not quote it.
    """
    parts = urlsplit(url)
    plain = url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0 or not plain:
        raise ValueError("A webhook is a URL, http://HOST/PATH or https://HOST/PATH.")


def key_of(secret: str) -> bytes:
    """Return the key that a secret stands for: what its base64 says after `whsec_`, or else its own bytes.

    Raises:
        WrongSecret.
    """
    secret = secret.strip()
    try:
        key = (
            base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
            if secret.startswith(SECRET_PREFIX)
            else secret.encode()
        )
    except binascii.Error as e:
        raise WrongSecret(f"The secret of webhooks is no base64 after {SECRET_PREFIX}.") from e
    if len(key) < LEAST_SECRET_BYTES:
        raise WrongSecret(f"The secret of webhooks has fewer than {LEAST_SECRET_BYTES} bytes.")
    return key


def signed(message_id: str, body: bytes, key: bytes | None, at: int) -> dict[str, str]:
    """Return the headers that say which message it is, when it was sent, and that we have sent it.

    at: seconds since 1970. key: None leaves the signature out.
    """
    headers = {"webhook-id": message_id, "webhook-timestamp": str(at)}
    if key is not None:
        code = hmac.new(key, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(code).decode('ascii')}"
    return headers


def _message_id(waiting: Waiting) -> str:
    """Return what a receiver tells repetitions by: while a visit lasts, each change is another message."""
    if json.loads(waiting.body)["until"] is not None:
        return waiting.id
    return f"{waiting.id}-{hashlib.sha256(waiting.body.encode()).hexdigest()[:16]}"


def _seconds(retry_after: str | None, now: float) -> float | None:
    """Read a Retry-After, which is in seconds or a date (RFC 9110, section 10.2.3)."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
