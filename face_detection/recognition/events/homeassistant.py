"""What Home Assistant is told to show: its MQTT discovery, one retained message for each entity. Pure.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recognition.events.delivery import line_of

LONGEST_STATE = 255  # characters; longer states are refused
LONGEST_ID = 40
UNSAFE = re.compile(r"[^a-zA-Z0-9_-]")  # what object ids may not have, nor topics
ORIGIN = "face-recognition-service"
NOBODY, SOMEBODY = "nobody", "somebody unknown"


@dataclass(frozen=True, slots=True)
class Topics:
    """Where things are: the topics of our own, and those of discovery.

    prefix: of our own topics.
    discovery: prefix of Home Assistant's.
    """

    prefix: str
    discovery: str

    @property
    def status(self) -> str:
        """Says `online` or `offline`."""
        return f"{self.prefix}/status"

    @property
    def events(self) -> str:
        """Gets every visit."""
        return f"{self.prefix}/events"

    def camera(self, camera: str, what: str) -> str:
        """Return a topic of a camera: `present`, `last` or `picture`."""
        return f"{self.prefix}/cameras/{safe(camera)}/{what}"

    def person(self, person: str) -> str:
        """Return the topic of where somebody was seen."""
        return f"{self.prefix}/people/{safe(person)}"

    def person_picture(self, person: str) -> str:
        """Return the topic of somebody's picture."""
        return f"{self.person(person)}/picture"


def safe(text: str) -> str:
    """Return an id of letters, digits, _ and - for a name or an id, another one for each."""
    plain = UNSAFE.sub("_", text)[:LONGEST_ID]
    if plain == text:
        return plain
    return f"{plain}-{hashlib.sha256(text.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"


def state_of(names: list[str | None]) -> str:
    """Say who is there in one line; None stands for somebody unknown."""
    if not names:
        return NOBODY
    line = ", ".join(name or SOMEBODY for name in dict.fromkeys(names))
    return line if len(line) <= LONGEST_STATE else f"{line[: LONGEST_STATE - 1]}…"


def camera_entities(topics: Topics, camera: str, version: str) -> dict[str, str]:
    """Return what makes the entities of a camera, by topic of discovery; empty payloads remove them."""
    node = f"{safe(topics.prefix)}-camera-{safe(camera)}"
    present, last = topics.camera(camera, "present"), topics.camera(camera, "last")
    entities: dict[str, tuple[str, Mapping[str, Any]]] = {
        "present": (
            "sensor",
            {
                "name": "Who is there",
                "icon": "mdi:account-eye",
                "state_topic": present,
                "value_template": "{{ value_json.state }}",
                "json_attributes_topic": present,
            },
        ),
        "occupancy": (
            "binary_sensor",
            {
                "name": "Somebody there",
                "device_class": "occupancy",
                "state_topic": present,
                "value_template": "{{ 'ON' if value_json.present else 'OFF' }}",
            },
        ),
        "last": (
            "sensor",
            {
                "name": "Last visitor",
                "icon": "mdi:account-clock",
                "state_topic": last,
                "value_template": "{{ value_json.state }}",
                "json_attributes_topic": last,
            },
        ),
        "picture": (
            "image",
            {
                "name": "Last visitor's face",
                "image_topic": topics.camera(camera, "picture"),
                "content_type": "image/jpeg",
            },
        ),
    }
    return _configs(topics, node, {"name": camera, "model": "Camera"}, entities, version)


def person_entities(topics: Topics, person: str, name: str, version: str) -> dict[str, str]:
    """Return what makes the entities of a person, by topic of discovery."""
    node = f"{safe(topics.prefix)}-person-{safe(person)}"
    seen = topics.person(person)
    entities: dict[str, tuple[str, Mapping[str, Any]]] = {
        "present": (
            "binary_sensor",
            {
                "name": "There",
                "device_class": "occupancy",
                "state_topic": seen,
                "value_template": "{{ 'ON' if value_json.present else 'OFF' }}",
                "json_attributes_topic": seen,
            },
        ),
        "camera": (
            "sensor",
            {
                "name": "Camera",
                "icon": "mdi:cctv",
                "state_topic": seen,
                "value_template": "{{ value_json.camera }}",
            },
        ),
        "seen": (
            "sensor",
            {
                "name": "Last seen",
                "device_class": "timestamp",
                "state_topic": seen,
                "value_template": "{{ value_json.seen }}",
            },
        ),
        "picture": (
            "image",
            {
                "name": "Face",
                "image_topic": topics.person_picture(person),
                "content_type": "image/jpeg",
            },
        ),
    }
    return _configs(topics, node, {"name": name, "model": "Person"}, entities, version)


def _configs(
    topics: Topics,
    node: str,
    device: Mapping[str, str],
    entities: Mapping[str, tuple[str, Mapping[str, Any]]],
    version: str,
) -> dict[str, str]:
    shared = {
        "availability_topic": topics.status,
        "device": {"identifiers": [node], "manufacturer": ORIGIN, "sw_version": version, **device},
        "origin": {"name": ORIGIN, "sw_version": version},
    }
    configs = {}
    for key, (component, entity) in entities.items():
        unique = f"{node}-{key}"
        config = {**entity, "unique_id": unique, **shared}
        configs[f"{topics.discovery}/{component}/{unique}/config"] = line_of(config)
    return configs
