"""Names for what Frigate sees: takes its events, looks at each snapshot, and sets the sub-label.

https://docs.frigate.video/integrations/mqtt/#frigateevents and .../integrations/api
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from requests.utils import get_auth_from_url

from recognition.client import Client, ServiceError
from recognition.events.delivery import Failed, Pace, Refused, Say
from serving.credentials import without_credentials

PREFIX = "frigate"  # of its topics, unless its `topic_prefix` is another one
PERSON = "person"  # the label of what has a face
TIMEOUT_S = 15.0
MAX_PICTURE_BYTES = 1 << 24  # a snapshot of 4K has some 2 MB
MAX_MESSAGE_BYTES = 1 << 18  # `frigate/events` has some 2 KB
MAX_PENDING = 100  # events that wait for a look; the oldest go
MAX_KNOWN = 1_000  # events of which it is known what was said; the oldest are forgotten
MAX_LOOKS = 30  # at one event, however often it finds a better snapshot
MAX_TRIES = 3  # of one look, while Frigate or the service does not answer
# Answers that another try would get, too; after all others the same snapshot may get its name later.
OF_THE_PICTURE = ("invalid_image", "image_too_large", "body_too_large", "no_face")
BETTER = 0.01  # by which an answer has to be better to be said again
LONGEST_LABEL = 100  # characters: EventsSubLabelBody of Frigate's API
CHUNK_BYTES = 1 << 16
PACE = Pace(1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a message of `frigate/events` says.

    id: of Frigate's event.
    snapshot: tells one snapshot of it from the next.
    sub_label: that it has by now; None: none.
    is_over: whether this is its last message.
    """

    id: str
    snapshot: float
    sub_label: str | None
    is_over: bool


@dataclass(slots=True)
class Known:
    """What was done for an event."""

    looks: int = 0
    snapshot: float = -1.0  # the last one that was looked at
    label: str | None = None  # that we have set
    score: float = 0.0


def sighting_of(payload: bytes) -> Sighting | None:
    """Read a message; None: it is about nothing with a face, has no snapshot, or is none of Frigate's."""
    if len(payload) > MAX_MESSAGE_BYTES:
        return None
    try:
        message = json.loads(payload)
        after = message["after"]
        if after["label"] != PERSON or not after["has_snapshot"] or after.get("false_positive"):
            return None
        label = after.get("sub_label")
        # "Ann" in old versions, ["Ann", 0.9] in newer ones.
        label = label[0] if isinstance(label, list) and label else label
        return Sighting(
            str(after["id"]),
            _snapshot_time(after),
            str(label) if label else None,
            message["type"] == "end",
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _snapshot_time(after: Mapping[str, Any]) -> float:
    """Return when the best frame was: by field in new versions, in old ones, or else when the message was."""
    snapshot = after.get("snapshot")
    if isinstance(snapshot, dict) and "frame_time" in snapshot:
        return float(snapshot["frame_time"])
    return float(after.get("snapshot_time") or after["frame_time"])


class Api:
    """Frigate's HTTP API, as far as it is needed."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Open nothing yet.

        url: of Frigate, such as http://frigate:5000; a user and a password in it are sent as Basic
            authentication, which a proxy in front may ask for.
        """
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._session = requests.Session()
        user, password = get_auth_from_url(url)
        # A function even if there is nothing to add: without it `requests` takes passwords from ~/.netrc.
        self._session.auth = HTTPBasicAuth(user, password) if user else lambda request: request

    def snapshot(self, event_id: str) -> bytes:
        """Return the best picture of what an event is about, a JPEG.

        Raises:
            Failed: there is no answer; Refused: there is none, or a huge one.
        """
        # While the event is under way, `crop` cuts out the person; afterwards it is as Frigate has stored it.
        query = {"crop": "1", "bbox": "0", "timestamp": "0", "quality": "95"}
        path = f"/api/events/{quote(event_id, safe='')}/snapshot.jpg"
        try:
            with self._answer("GET", path, params=query, stream=True) as answer:
                picture = b""
                for chunk in answer.iter_content(CHUNK_BYTES):
                    picture += chunk
                    if len(picture) > MAX_PICTURE_BYTES:
                        raise Refused("its snapshot is too large")
                return picture
        except requests.RequestException as e:
            raise Failed("it broke off a snapshot") from e

    def set_sub_label(self, event_id: str, label: str, score: float) -> None:
        """Say who an event is about.

        score: how sure that is, above 0, and 1 at most.

        Raises:
            Failed: there is no answer; Refused: the event is gone, or Frigate does not want it.
        """
        body = {"subLabel": label[:LONGEST_LABEL], "subLabelScore": score}
        self._answer("POST", f"/api/events/{quote(event_id, safe='')}/sub_label", json=body).close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _answer(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(
                method, self._url + path, timeout=self._timeout_s, allow_redirects=False, **more
            )
        except (requests.RequestException, UnicodeError) as e:  # the second one for a host that is no name
            raise Failed("it does not answer") from e
        if answer.ok and not answer.is_redirect:
            return answer
        answer.close()
        reason = f"it answers with status {answer.status_code}"
        raise Failed(reason) if answer.status_code >= 500 else Refused(reason)


class Frigate:
    """Looks at the snapshots of events, one after the other, in a thread of its own.

    However many events there are, and however long they take: a bounded number waits, of each the newest
    state, and a bounded number is known. Each is looked at once for each snapshot, and a name is set once for
    each answer that is better than the one before.
    """

    def __init__(
        self,
        url: str,
        service: Client,
        say: Say,
        *,
        options: Mapping[str, Any] | None = None,
        pace: Pace = PACE,
    ) -> None:
        """Begin to wait for events.

        Args:
            url: of Frigate's API.
            service: recognises; nobody else uses it, since it is not for several threads.
            say: takes messages.
            options: of `Client.recognise`.
            pace: of tries after failures.
        """
        self._api = Api(url)
        self._service, self._say, self._options, self._pace = service, say, dict(options or {}), pace
        self._shown = f"Frigate at {without_credentials(url)}"
        self._pending: OrderedDict[str, Sighting] = OrderedDict()
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = self._failing = self._busy = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def take(self, _topic: str, payload: bytes, retained: bool) -> None:
        """Take a message of `frigate/events`, and return at once."""
        sighting = None if retained else sighting_of(payload)
        if sighting is None:
            return
        with self._changed:
            self._pending[sighting.id] = sighting
            self._pending.move_to_end(sighting.id)
            if len(self._pending) > MAX_PENDING:
                self._pending.popitem(last=False)
            self._changed.notify_all()

    def wait_until_idle(self) -> None:
        """Return when nothing waits any more, and no snapshot is looked at."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not (self._pending or self._busy))

    def close(self) -> None:
        """Finish the snapshot that is looked at, and leave the others."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(TIMEOUT_S)
        self._api.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._pending)
                if self._closed:
                    return
                _, sighting = self._pending.popitem(last=False)
                self._busy = True
            self._look_often(sighting)

    def _look_often(self, sighting: Sighting) -> None:
        for failures in range(1, MAX_TRIES + 1):
            try:
                self._look(sighting)
            except (Failed, ServiceError) as e:
                if not self._failing:
                    self._failing = True
                    who = "The service" if isinstance(e, ServiceError) else self._shown
                    self._say(f"{who}: {e}. Events of Frigate are tried {MAX_TRIES} times.")
                with self._changed:
                    if self._changed.wait_for(lambda: self._closed, self._pace.delay_s(failures)):
                        return
            else:
                if self._failing:
                    self._failing = False
                    self._say(f"{self._shown}: events get names again.")
                return

    def _look(self, sighting: Sighting) -> None:
        """Look at an event, with what was done for it before in mind.

        Raises:
            Failed, ServiceError: there is no answer.
        """
        known = self._known.setdefault(sighting.id, Known())
        self._known.move_to_end(sighting.id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        # Another name than ours: somebody else has said who it is.
        if sighting.sub_label in (None, known.label) and known.snapshot < sighting.snapshot:
            try:
                self._name(sighting, known)
            except Refused as e:
                self._say(f"{self._shown}: {e}. Event {sighting.id} gets no name.")
        if sighting.is_over:
            del self._known[sighting.id]

    def _name(self, sighting: Sighting, known: Known) -> None:
        """Look at the snapshot of an event, and say who it is, if that is a better answer."""
        if known.looks >= MAX_LOOKS:
            return
        name, score = self._best(self._api.snapshot(sighting.id))
        if name is not None and score > known.score + (BETTER if known.label else 0.0):
            self._api.set_sub_label(sighting.id, name, score)
            known.label, known.score = name[:LONGEST_LABEL], score
        known.looks += 1
        known.snapshot = sighting.snapshot

    def _best(self, picture: bytes) -> tuple[str | None, float]:
        """Return the name that the likest face in a picture has, and how alike, in (0, 1]; None: nobody's."""
        try:
            faces = self._service.recognise(picture, **self._options)
        except ServiceError as e:
            if e.code not in OF_THE_PICTURE:
                raise
            return None, 0.0
        named = [(face["similarity"] or 0.0, face["name"]) for face in faces if face["name"]]
        score, name = max(named, default=(0.0, None))
        return name, min(1.0, max(0.001, round(score, 3)))


def check_url(url: str) -> None:
    """Make sure that a URL can be Frigate's.

    Raises:
        ValueError: it is not. The text does not quote it.
    """
    parts = urlsplit(url)
    plain = url.isprintable() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError("Frigate's address is a URL, http://HOST:5000.")
