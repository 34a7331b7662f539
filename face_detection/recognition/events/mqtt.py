"""Events to an MQTT broker: each visit, who is there now, and what Home Assistant shows of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recognition.events.address import Address
from recognition.events.broker import PACE, Broker
from recognition.events.delivery import Pace, Refused, Say, Waiting, line_of
from recognition.events.homeassistant import Topics, camera_entities, person_entities, state_of
from recognition.visits import Event, as_json, from_json
from serving.version import VERSION

MAX_PEOPLE = 500  # with entities of their own; whoever was not seen for the longest time loses them


class Mqtt:
    """An outlet whose broker also shows who is there now.

    Beside the events, which no broker keeps, all messages are retained. They are what is known, so after a
    restart they are read back: of people with entities, and of cameras that are not watched any more.
    """

    def __init__(
        self,
        address: Address,
        client_id: str,
        cameras: Sequence[str],
        say: Say,
        *,
        ca_file: Path | None = None,
        discovery: str | None = None,
        pace: Pace = PACE,
    ) -> None:
        """Begin to connect.

        Args:
            address, client_id, say, ca_file, pace: see Broker.
            cameras: all that are watched.
            discovery: the prefix of Home Assistant's topics; None: no discovery, pictures, people.

        Raises:
            OSError, ssl.SSLError: the file of certificates cannot be read.
        """
        self.name = address.shown
        self.with_pictures = discovery is not None
        self._shows = discovery is not None
        self._topics = Topics(address.prefix, discovery or "")
        self._lock = threading.RLock()
        self._present: dict[str, list[Event]] = {camera: [] for camera in cameras}
        self._last: dict[str, Event] = {}  # the last visit to a camera
        self._people: dict[str, dict[str, Any]] = {}  # what is shown of people, by id
        self._watcher = client_id  # whose cameras are whose, where several watch at one broker
        own = self._topics
        self._broker = Broker(
            address,
            client_id,
            say,
            ca_file=ca_file,
            status_topic=own.status,
            subscriptions=[
                f"{own.prefix}/cameras/+/present",
                *([f"{own.prefix}/cameras/+/last", f"{own.prefix}/people/+"] if self._shows else []),
            ],
            connected=self._show_all,
            received=self._learn,
            pace=pace,
        )
        self._broker.open()

    def deliver(self, waiting: Waiting) -> None:
        """Publish a visit, and show it as the last one of its camera and of its person.

        Raises:
            Refused: it is no event that this version understands; Failed.
        """
        try:
            event = from_json(json.loads(waiting.body))
        except (ValueError, LookupError, TypeError) as e:
            raise Refused("it was written by another version of this program") from e
        if self._shows:
            self._broker.wait_connected()
            with self._lock:
                self._show_last(event, waiting.picture)
        self._broker.deliver(self._topics.events, waiting.body)

    def present(self, camera: str, events: Sequence[Event]) -> None:
        """Show who is before a camera now."""
        with self._lock:
            before = self._present.get(camera, [])
            self._present[camera] = list(events)
            if list(events) == before:
                return
            self._show_camera(camera)
            for event in {each.person: each for each in [*before, *events]}.values():
                self._show_person(event)

    def events(self) -> set[str]:
        """Return the ids of the events that are shown: the last one of each camera, and of each person."""
        with self._lock:
            return {value["event"] for value in self._people.values()} | {e.id for e in self._last.values()}

    def follow(self, event_id: str, event: Event | None) -> None:
        """Show whose an event is by now; None: show nothing of it any more."""
        with self._lock:
            for camera, last in list(self._last.items()):
                if last.id != event_id:
                    continue
                if event is None:
                    del self._last[camera]
                    for what in ("last", "picture"):
                        self._broker.publish(self._topics.camera(camera, what), "")
                elif (event.person, event.name) != (last.person, last.name):
                    self._publish_last(event)
            for person, value in list(self._people.items()):
                if value["event"] != event_id:
                    continue
                if event is None or event.person != person:
                    self._forget(person)
                    if event is not None:
                        self._show_person(event)
                elif value["name"] != event.name:
                    value["name"] = event.name
                    self._publish_person(person)

    def close(self) -> None:
        """Say that we are gone, and disconnect."""
        self._broker.close()

    def _show_all(self) -> None:
        """Say everything anew, as after each connection."""
        with self._lock:
            for camera in self._present:
                self._show_camera(camera)
                if self._shows:
                    self._publish(camera_entities(self._topics, camera, VERSION))
            for person in self._people:
                self._publish_person(person)

    def _show_camera(self, camera: str) -> None:
        events = self._present[camera]
        names = [event.name for event in events]
        value = {
            "camera": camera,
            "state": state_of(names),
            "present": [as_json(event) for event in events],
            "watcher": self._watcher,
        }
        self._broker.publish(self._topics.camera(camera, "present"), line_of(value))

    def _show_last(self, event: Event, picture: bytes | None) -> None:
        self._publish_last(event)
        shown = picture if picture and event.picture else b""
        self._broker.publish(self._topics.camera(event.camera, "picture"), shown)
        if event.person is not None:
            self._show_person(event)
            self._broker.publish(self._topics.person_picture(event.person), shown)

    def _publish_last(self, event: Event) -> None:
        value = {**as_json(event), "state": state_of([event.name]), "watcher": self._watcher}
        self._last[event.camera] = event
        self._broker.publish(self._topics.camera(event.camera, "last"), line_of(value))

    def _show_person(self, event: Event) -> None:
        if event.person is None or not self._shows:
            return
        seen = (event.until or event.since).isoformat()
        known = self._people.get(event.person)
        there = [each for events in self._present.values() for each in events if each.person == event.person]
        if known is None or known["seen"] <= seen or there:
            latest = max(there, key=lambda each: each.since, default=event)
            self._people[event.person] = {
                "person": event.person,
                "name": event.name,
                "event": latest.id,
                "camera": latest.camera,
                "seen": seen if known is None else max(known["seen"], seen),
                "present": bool(there),
            }
            self._publish_person(event.person)
        if len(self._people) > MAX_PEOPLE:
            self._forget(min(self._people, key=lambda person: self._people[person]["seen"]))

    def _publish_person(self, person: str) -> None:
        value = self._people[person]
        self._publish(person_entities(self._topics, person, value["name"], VERSION))
        self._broker.publish(self._topics.person(person), line_of(value))

    def _forget(self, person: str) -> None:
        """Take back all that is shown of somebody."""
        self._people.pop(person, None)
        gone = [self._topics.person(person), self._topics.person_picture(person)]
        for camera in [camera for camera, last in self._last.items() if last.person == person]:
            del self._last[camera]
            gone += [self._topics.camera(camera, "last"), self._topics.camera(camera, "picture")]
        self._publish(dict.fromkeys([*person_entities(self._topics, person, "", VERSION), *gone], ""))
        for camera, events in self._present.items():
            if any(event.person == person for event in events):
                self._present[camera] = [event for event in events if event.person != person]
                self._show_camera(camera)

    def _learn(self, topic: str, payload: bytes, retained: bool) -> None:
        """Read back what an earlier run has left at the broker."""
        if not retained or not payload:
            return
        try:
            value = json.loads(payload)
            with self._lock:
                if topic.startswith(f"{self._topics.prefix}/people/"):
                    self._learn_person(topic, value)
                elif value["camera"] not in self._present:
                    if value["watcher"] == self._watcher:
                        self._forget_camera(topic, value["camera"])
                elif topic == self._topics.camera(value["camera"], "last"):
                    self._last.setdefault(value["camera"], from_json(value))
        except (ValueError, LookupError, TypeError):
            return  # somebody else's

    def _learn_person(self, topic: str, value: dict[str, Any]) -> None:
        person, name, camera, seen = value["person"], value["name"], value["camera"], value["seen"]
        event = value["event"]
        if topic != self._topics.person(person) or person in self._people or not isinstance(name, str):
            return
        self._people[person] = {
            "person": person,
            "name": name,
            "event": str(event),
            "camera": str(camera),
            "seen": str(seen),
            "present": False,
        }
        self._publish_person(person)

    def _forget_camera(self, topic: str, camera: str) -> None:
        """Take back all that is shown of a camera that is not watched any more."""
        gone = [self._topics.camera(camera, what) for what in ("present", "last", "picture")]
        if topic in gone:
            configs = camera_entities(self._topics, camera, VERSION) if self._shows else {}
            self._publish(dict.fromkeys([*configs, *gone], ""))

    def _publish(self, messages: dict[str, str]) -> None:
        for topic, payload in messages.items():
            self._broker.publish(topic, payload)
