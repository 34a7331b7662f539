"""Events outwards, as far as no file and no network is needed: addresses, topics, signatures, delays."""

from __future__ import annotations

import json
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recognition.events.address import address_of
from recognition.events.delivery import LONGEST_RETRY_AFTER_S, Pace, line_of
from recognition.events.frigate import sighting_of
from recognition.events.homeassistant import (
    LONGEST_STATE,
    Topics,
    camera_entities,
    person_entities,
    safe,
    state_of,
)
from recognition.events.webhooks import WrongSecret, check_url, key_of, signed


def test_an_address_says_how_to_reach_a_broker() -> None:
    plain = address_of("mqtt://broker", "recognition")
    assert (plain.host, plain.port, plain.tls, plain.prefix) == ("broker", 1883, False, "recognition")
    full = address_of("mqtts://door:p%40ss%2Fw@[::1]:9999/home/faces/", "recognition", "other", "else")
    assert (full.host, full.port, full.tls, full.prefix) == ("::1", 9999, True, "home/faces")
    assert (full.user, full.password) == ("door", "p@ss/w")
    assert full.shown == "mqtts://[::1]:9999/home/faces"
    assert "p@ss" not in repr(full)
    from_elsewhere = address_of("mqtt://broker", "p", "door", "secret")
    assert (from_elsewhere.user, from_elsewhere.password) == ("door", "secret")


@pytest.mark.parametrize(
    "url",
    [
        "broker",
        "http://broker",
        "mqtt://",
        "mqtt://broker:x/",
        "mqtt://broker:99999/",
        "mqtt://broker:0",
        "mqtt://broker/a/+/b",
        "mqtt://broker/%23",
        "mqtt://broker/$SYS",
        "mqtt://broker/a//b",
        "mqtt://broker/%00",
        "mqtt://broker/x?retain=1",
        f"mqtt://broker/{'x' * 201}",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"broker|prefix") as caught:
        address_of(url.replace("://", "://me:s3cret@"), "recognition")
    assert "s3cret" not in str(caught.value)


@given(st.text(), st.text())
def test_topics_are_safe_and_each_its_own(one: str, other: str) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{0,49}", safe(one))
    assert (safe(one) == safe(other)) == (one == other)


def test_a_name_may_be_of_any_bytes() -> None:
    name = os.fsdecode(b"door \xff")
    entities = camera_entities(Topics("p", "d"), name, "1")
    assert all(payload.encode() for payload in entities.values())
    assert json.loads(line_of({"camera": name})) == {"camera": name}


def test_names_that_need_no_change_stay_readable() -> None:
    assert safe("front_door-2") == "front_door-2"
    assert safe("Ännchen / #1").startswith("_nnchen____1-")


@given(st.lists(st.none() | st.text(min_size=1, max_size=300), max_size=5))
def test_a_state_is_as_short_as_home_assistant_has_it(names: list[str | None]) -> None:
    assert 0 < len(state_of(names)) <= LONGEST_STATE


def test_a_state_says_who_is_there() -> None:
    assert state_of([]) == "nobody"
    assert state_of([None, None]) == "somebody unknown"
    assert state_of(["Ann", None, "Ben", "Ann"]) == "Ann, somebody unknown, Ben"


REQUIRED = {
    "sensor": {"state_topic"},
    "binary_sensor": {"state_topic"},
    "image": {"image_topic"},
}


def test_entities_have_what_home_assistant_requires() -> None:
    """https://www.home-assistant.io/integrations/mqtt/#discovery-messages and the pages of the platforms."""
    topics = Topics("home/faces", "homeassistant")
    entities = camera_entities(topics, 'the "door" +#/', "1") | person_entities(topics, "ann/1", "Änn", "1")
    assert len(entities) == 8
    ids = set()
    for topic, payload in entities.items():
        prefix, component, object_id, config = topic.split("/")
        assert (prefix, config) == ("homeassistant", "config")
        assert re.fullmatch(r"[a-zA-Z0-9_-]+", object_id)
        value = json.loads(payload)
        assert REQUIRED[component] | {"name", "unique_id", "device", "origin"} <= value.keys()
        assert value["unique_id"] == object_id
        assert value["device"]["identifiers"]
        assert value["origin"]["name"]
        ids.add(object_id)
    assert len(ids) == 8


def test_a_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's own libraries."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', key, 1614265330)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert "webhook-signature" not in signed("id", b"", None, 1)


@pytest.mark.parametrize("secret", ["", "short", "whsec_", "whsec_AAAA", "whsec_not base64 at all, is it?"])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(WrongSecret, match=r"^The secret of webhooks (is no base64|has fewer)"):
        key_of(secret)


def test_a_secret_of_a_file_may_end_its_line() -> None:
    assert key_of("a secret of some length\n") == b"a secret of some length"


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://host/", "http://", "http:///path", "http://host:0/", "http://host/a b"]
)
def test_a_webhook_is_a_url(url: str) -> None:
    with pytest.raises(ValueError, match="webhook"):
        check_url(url)


@given(st.integers(1, 10_000), st.none() | st.floats(0, 1e9))
def test_delays_grow_to_a_bound(failures: int, after_s: float | None) -> None:
    delay = Pace(1, 300).delay_s(failures, after_s)
    assert 0.5 <= delay <= (300 if after_s is None else max(300, LONGEST_RETRY_AFTER_S))
    if after_s is not None:
        assert delay >= min(after_s, LONGEST_RETRY_AFTER_S)


def a_message(**after: object) -> bytes:
    fields = {"id": "1.5-abc", "label": "person", "has_snapshot": True, "frame_time": 3.0, "sub_label": None}
    return json.dumps({"type": "update", "before": {}, "after": fields | after}).encode()


def test_frigates_messages_are_read_in_all_its_versions() -> None:
    seen = sighting_of(a_message(snapshot={"frame_time": 2.5}))
    assert seen is not None
    assert (seen.id, seen.snapshot, seen.sub_label, seen.is_over) == ("1.5-abc", 2.5, None, False)
    older = sighting_of(a_message(snapshot_time=2.0, sub_label="Ann"))
    assert older is not None
    assert (older.snapshot, older.sub_label) == (2.0, "Ann")
    newer = sighting_of(a_message(sub_label=["Ann", 0.9]))
    assert newer is not None
    assert (newer.snapshot, newer.sub_label) == (3.0, "Ann")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"after": null}',
        b'{"after": []}',
        b"[" * 100_000,
        b"\xff",
        a_message(label="car"),
        a_message(has_snapshot=False),
        a_message(false_positive=True),
        a_message(frame_time="soon"),
        a_message(frame_time=None),
        a_message(name="x" * (1 << 18)),
    ],
    ids=range(14),
)
def test_what_is_about_no_person_is_passed_over(payload: bytes) -> None:
    assert sighting_of(payload) is None
