"""Visits of people whom nobody has named: each is in the group of its face, until this gets a name."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from fakes import ok
from galleries import FakeClock
from recognition.gallery import Gallery, open_gallery
from strangers import act, client_of, listed, picture, recognise, rows_there, upkeep

ANN, BEA = 0, 120  # greys of two people


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return client_of(gallery)


def visit(client: FlaskClient, clock: FakeClock, grey: int, mark: int = 0, **changes: Any) -> Any:
    """Somebody comes by, is described as a watcher does it, and told."""
    image = base64.b64encode(picture(grey, mark)).decode("ascii")
    described = ok(client.post("/embeddings", json={"image": image}))
    (face,) = described["faces"]
    body = {
        "id": str(uuid.uuid4()),
        "camera": "door",
        "since": (clock() - timedelta(seconds=9)).isoformat(),
        "until": clock().isoformat(),
        "frames": 9,
        "bbox": face["bbox"],
        "quality": face["quality"],
        "fingerprint": described["fingerprint"],
        "embeddings": [face["embedding"]],
        "picture": image,
        **changes,
    }
    return ok(client.post("/events", json=body))


def events(client: FlaskClient) -> dict[str, Any]:
    return {each["id"]: each for each in ok(client.get("/events"))["events"]}


def test_visits_of_one_stranger_are_in_one_group(client: FlaskClient, clock: FakeClock) -> None:
    first, second, other = (visit(client, clock, *who) for who in ((ANN, 1), (ANN, 2), (BEA, 3)))
    groups = {each["id"]: each["faces"] for each in listed(client)}
    assert groups == {first["unknown"]: 2, other["unknown"]: 1}
    assert second["unknown"] == first["unknown"]
    assert events(client)[first["id"]] == first
    shown = ok(client.get(f"/unknowns/{first['unknown']}"))
    assert {(face["camera"], face["picture"]) for face in shown["seen"]} == {("door", True)}


def test_a_visit_is_kept_once_and_when_it_is_over(client: FlaskClient, clock: FakeClock) -> None:
    told = visit(client, clock, ANN, until=None)
    assert told["unknown"] is None and listed(client) == []
    for _ in range(2):
        ended = visit(client, clock, ANN, id=told["id"])
    assert [each["faces"] for each in listed(client)] == [1]
    assert ended["unknown"] == listed(client)[0]["id"]


def test_who_is_named_has_the_visits_too(client: FlaskClient, clock: FakeClock) -> None:
    before, other = visit(client, clock, ANN), visit(client, clock, BEA)
    done = act(client, before["unknown"], "name", name="Ann")
    told = events(client)
    assert (told[before["id"]]["name"], told[before["id"]]["person"]) == ("Ann", done["person"])
    assert told[before["id"]]["unknown"] is None
    assert (told[other["id"]]["name"], told[other["id"]]["unknown"]) == (None, other["unknown"])
    assert visit(client, clock, ANN, 5)["person"] == done["person"]
    ok(client.delete(f"/persons/{done['person']}"))
    assert list(events(client)) == [other["id"]]


def test_groups_that_are_merged_keep_their_visits(client: FlaskClient, clock: FakeClock) -> None:
    one, other = visit(client, clock, ANN), visit(client, clock, BEA)
    act(client, one["unknown"], "merge", into=other["unknown"])
    assert {each["unknown"] for each in events(client).values()} == {other["unknown"]}


@pytest.mark.parametrize("action", ["ignore", "forget"])
def test_who_is_ignored_or_forgotten_has_no_group(client: FlaskClient, clock: FakeClock, action: str) -> None:
    told = visit(client, clock, ANN)
    act(client, told["unknown"], action)
    assert events(client)[told["id"]] == {**told, "unknown": None}


def test_a_group_that_has_expired_is_none(client: FlaskClient, clock: FakeClock, gallery: Gallery) -> None:
    other = client_of(gallery, UNKNOWN_EXPIRES_DAYS="1")
    upkeep(gallery)
    told = visit(other, clock, ANN)
    clock.now += timedelta(days=2)
    upkeep(gallery)
    assert rows_there(gallery) == (0, 0)
    assert events(client)[told["id"]]["unknown"] is None


def test_nothing_is_kept_of_known_ones_or_where_it_is_not_wanted(
    client: FlaskClient, clock: FakeClock, gallery: Gallery
) -> None:
    assert visit(client_of(gallery, KEEP_UNKNOWN="0"), clock, ANN)["unknown"] is None
    assert rows_there(gallery) == (0, 0)
    act(client, visit(client, clock, ANN)["unknown"], "name", name="Ann")
    assert visit(client, clock, ANN)["unknown"] is None
    assert rows_there(gallery) == (0, 0)
    recognise(client, BEA)
    assert visit(client, clock, BEA)["unknown"] == listed(client)[0]["id"]
