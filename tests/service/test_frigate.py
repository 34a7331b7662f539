"""Frigate: its messages through a real broker, and a small server with the part of its API that is used."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from paho.mqtt.publish import single

from brokers import AT_ONCE, LIMIT_S, needs_mosquitto, running_mosquitto
from frigate_api import Api, message, running_api
from recognition.client import Client, ServiceError
from recognition.events import frigate as frigates
from recognition.events.address import address_of
from recognition.events.broker import Broker
from recognition.events.frigate import Frigate


@pytest.fixture
def api() -> Iterator[Api]:
    with running_api() as api:
        yield api


class Service:
    """Recognises pictures that are JSON: the faces that are in them."""

    def __init__(self) -> None:
        self.errors: list[ServiceError] = []

    def recognise(self, picture: bytes, **_: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return json.loads(picture)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def frigate(api: Api, service: Service, said: list[str]) -> Iterator[Frigate]:
    frigate = Frigate(api.url, cast(Client, service), said.append, pace=AT_ONCE)
    yield frigate
    frigate.close()


def faces(*named: tuple[str, float]) -> bytes:
    return json.dumps([{"name": name, "similarity": similarity} for name, similarity in named]).encode()


def take(frigate: Frigate, *messages: bytes) -> None:
    for each in messages:
        frigate.take("frigate/events", each, False)
        frigate.wait_until_idle()


def test_a_name_is_set_once_for_each_better_answer(frigate: Frigate, api: Api) -> None:
    api.pictures["1.5-a b"] = faces(("", 0.2))
    take(frigate, message("1.5-a b", 1, "new"))
    assert api.labels == []
    api.pictures["1.5-a b"] = faces(("Ann", 0.8), ("Ben", 0.7))
    take(frigate, message("1.5-a b", 1), message("1.5-a b", 2), message("1.5-a b", 2))
    api.pictures["1.5-a b"] = faces(("Ben", 0.79))
    take(frigate, message("1.5-a b", 3, sub_label=["Ann", 0.8]))
    api.pictures["1.5-a b"] = faces(("Ann", 0.95))
    take(frigate, message("1.5-a b", 4), message("1.5-a b", 4, "end"))
    assert api.labels == [("1.5-a b", "Ann", 0.8), ("1.5-a b", "Ann", 0.95)]
    assert len(api.asked) == 4
    assert not frigate._known


def test_what_somebody_else_has_named_is_left_alone(frigate: Frigate, api: Api) -> None:
    api.pictures["a"] = faces(("Ann", 0.8))
    take(frigate, message("a", 1, sub_label="postman"), message("a", 2, sub_label=["postman", 0.9]))
    assert api.labels == api.asked == []


def test_a_long_name_is_cut(frigate: Frigate, api: Api) -> None:
    api.pictures["a"] = faces(("Ä" * 300, 1.0))
    take(frigate, message("a", 1), message("a", 2, sub_label="Ä" * 100))
    assert [label for _, label, _ in api.labels] == ["Ä" * 100]


def test_a_frigate_that_fails_is_asked_again(frigate: Frigate, api: Api, said: list[str]) -> None:
    api.pictures["a"] = faces(("Ann", 0.8))
    api.failing = [500, 502]
    take(frigate, message("a", 1))
    assert api.labels == [("a", "Ann", 0.8)]
    assert "status 500" in said[0]
    assert "again" in said[1]


def test_a_snapshot_that_is_gone_is_said_and_the_next_one_comes(
    frigate: Frigate, api: Api, said: list[str]
) -> None:
    api.pictures["b"] = faces(("Ann", 0.8))
    take(frigate, message("a", 1), message("b", 1))
    assert api.labels == [("b", "Ann", 0.8)]
    assert said == [f"Frigate at {api.url}: it answers with status 404. Event a gets no name."]


def test_a_service_that_fails_is_asked_again_and_a_broken_picture_is_not(
    frigate: Frigate, api: Api, service: Service, said: list[str]
) -> None:
    api.pictures["a"] = faces(("Ann", 0.8))
    service.errors = [ServiceError("unreachable", "Nothing answers.")]
    take(frigate, message("a", 1))
    assert api.labels == [("a", "Ann", 0.8)]
    service.errors = [ServiceError("invalid_image", "Not a picture.")]
    take(frigate, message("a", 2))
    assert len(said) == 2


@pytest.mark.parametrize(
    "code", ["overloaded", "rate_limited", "unauthorized", "forbidden", "internal_error"]
)
def test_whatever_is_not_the_pictures_fault_is_said_and_tried_again(
    frigate: Frigate, api: Api, service: Service, said: list[str], code: str
) -> None:
    api.pictures["a"] = faces(("Ann", 0.8))
    service.errors = [ServiceError(code, "It is so.")]
    take(frigate, message("a", 1))
    assert api.labels == [("a", "Ann", 0.8)]
    assert said[0].startswith("The service: It is so.")


def test_a_huge_snapshot_is_not_read(
    frigate: Frigate, api: Api, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frigates, "MAX_PICTURE_BYTES", 1000)
    api.pictures["a"] = bytes(2000)
    take(frigate, message("a", 1))
    assert "too large" in said[0]


def test_work_and_memory_are_bounded(frigate: Frigate, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frigates, "MAX_KNOWN", 10)
    monkeypatch.setattr(frigates, "MAX_LOOKS", 5)
    api.pictures["endless"] = faces(("", 0.1))
    take(frigate, *(message("endless", time) for time in range(20)))
    assert len(api.asked) == 5
    for number in range(30):
        api.pictures[f"never over {number}"] = faces(("Ann", 0.9))
        take(frigate, message(f"never over {number}", 1))
    assert len(frigate._known) == 10


def test_the_newest_state_of_an_event_waits_and_not_too_many(
    frigate: Frigate, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frigates, "MAX_PENDING", 10)
    with frigate._changed:  # nothing is looked at meanwhile
        for number in range(50):
            api.pictures[str(number % 25)] = faces(("Ann", 0.9))
            frigate.take("frigate/events", message(str(number % 25), number), False)
        assert list(frigate._pending) == [str(number) for number in range(15, 25)]
    frigate.wait_until_idle()
    assert [event for event, _, _ in api.labels] == [str(number) for number in range(15, 25)]


@needs_mosquitto
def test_messages_come_from_a_broker(frigate: Frigate, api: Api, tmp_path: Path, said: list[str]) -> None:
    api.pictures["a"] = faces(("Ann", 0.8))
    subscribed = threading.Event()
    with running_mosquitto(tmp_path / "broker") as mosquitto:
        broker = Broker(
            address_of(f"{mosquitto.url}/my/frigate", "frigate"),
            "recognition-frigate",
            said.append,
            subscriptions=["my/frigate/events"],
            connected=subscribed.set,
            received=frigate.take,
            pace=AT_ONCE,
        )
        broker.open()
        assert subscribed.wait(LIMIT_S)
        single("my/frigate/events", message("a", 1), hostname="127.0.0.1", port=mosquitto.port, qos=1)
        with api.changed:
            assert api.changed.wait_for(lambda: api.labels, LIMIT_S)
        broker.close()
    assert said == []
