"""Events as JSON, which HTTP, webhooks, MQTT and JSON lines have alike."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from recognition.faces import Box
from recognition.visits import Event, EventJson, as_json, from_json

SINCE = datetime(2026, 11, 27, 8, 30, tzinfo=UTC)
EVENT = Event(
    "9f0f6f2e-6a8e-4f2b-8f4e-0d1c2b3a4d5e",
    "front door",
    SINCE,
    SINCE + timedelta(seconds=12.5),
    31,
    "Ada",
    "ada",
    "ada/1",
    5.25,
    0.001,
    Box(12, 34, 56, 78),
    0.75,
    None,
    True,
)
STRANGER = replace(EVENT, name=None, person=None, sample=None, until=None, false_match=None, unknown="u7")


def test_an_event_is_plain_json() -> None:
    assert as_json(EVENT) == {
        "id": EVENT.id,
        "camera": "front door",
        "since": "2026-11-27T08:30:00+00:00",
        "until": "2026-11-27T08:30:12.500000+00:00",
        "frames": 31,
        "name": "Ada",
        "person": "ada",
        "sample": "ada/1",
        "distance": 5.25,
        "false_match": 0.001,
        "bbox": "12, 34, 56, 78",
        "quality": 0.75,
        "unknown": None,
        "picture": True,
    }
    assert as_json(STRANGER)["until"] is None
    assert set(as_json(EVENT)) == set(EventJson.__annotations__)


@pytest.mark.parametrize("event", [EVENT, STRANGER])
def test_what_is_rendered_can_be_read_back(event: Event) -> None:
    assert from_json(json.loads(json.dumps(as_json(event)))) == event


def test_times_become_utc_and_what_is_not_known_is_passed_over() -> None:
    there = SINCE.astimezone(timezone(timedelta(hours=5))).isoformat()
    read = from_json({**as_json(EVENT), "since": there, "of_a_newer_service": 1})
    assert read == EVENT
    assert read.since.tzinfo is UTC


def test_what_is_no_event_is_refused() -> None:
    for broken in ({}, {**as_json(EVENT), "bbox": "1, 2"}, {**as_json(EVENT), "since": "yesterday"}):
        with pytest.raises((KeyError, ValueError)):
            from_json(broken)
