"""How long what is enrolled is kept where callers do not say: DEFAULT_EXPIRES_DAYS."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from fakes import app_of
from recognition.gallery import Gallery, transfer

DAYS = timedelta(days=30)
FAR = "2100-01-01T00:00:00+00:00"


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


IMAGE = base64.b64encode(picture()).decode("ascii")


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of(gallery, DEFAULT_EXPIRES_DAYS=str(DAYS.days)).test_client()


@pytest.fixture
def unlimited(gallery: Gallery) -> FlaskClient:
    """The same gallery through a service without the setting."""
    return app_of(gallery).test_client()


def enrol(client: FlaskClient, sample_id: str, **more: Any) -> Any:
    body = [{"id": sample_id, "name": "Ann", "image": IMAGE, **more}]
    answer = client.post("/update-samples", json=body)
    assert answer.status_code == 200 and answer.json["success"] == [sample_id], answer.json
    return shown(client, sample_id)


def shown(client: FlaskClient, sample_id: str) -> Any:
    return client.get(f"/samples/{sample_id}").json


def kept_for(stored: Any, since: str = "modified") -> timedelta | None:
    if stored["expires_at"] is None:
        return None
    return datetime.fromisoformat(stored["expires_at"]) - datetime.fromisoformat(stored[since])


@pytest.mark.parametrize(
    ("sent", "expected"),
    [({}, DAYS), ({"expires_at": None}, DAYS), ({"expires_at": "never"}, None)],
)
def test_a_sample_is_kept_as_long_as_is_said_or_set(
    client: FlaskClient, unlimited: FlaskClient, sent: dict[str, Any], expected: timedelta | None
) -> None:
    """Null means what a missing field does: what a client sends for want of a value never means for ever."""
    assert kept_for(enrol(client, "a", **sent)) == expected
    assert kept_for(enrol(unlimited, "b", **sent)) is None
    assert enrol(client, "c", expires_at=FAR)["expires_at"] == FAR


@pytest.mark.parametrize(("sent", "expected"), [({}, DAYS), ({"expires_at": "never"}, None)])
def test_so_is_one_that_is_uploaded(
    client: FlaskClient, sent: dict[str, str], expected: timedelta | None
) -> None:
    form = {"file": (io.BytesIO(picture()), "x.png"), "name": "Ann", **sent}
    (sample_id,) = client.post("/samples", data=form).json["success"]
    assert kept_for(shown(client, sample_id)) == expected


@pytest.mark.parametrize(
    ("sent", "expected"),
    [({}, DAYS), ({"expires_at": None}, DAYS), ({"expires_at": "never"}, None)],
)
def test_so_is_a_person_who_is_made(
    client: FlaskClient, unlimited: FlaskClient, sent: dict[str, Any], expected: timedelta | None
) -> None:
    assert kept_for(client.post("/persons", json={"name": "Ann", **sent}).json) == expected
    assert kept_for(unlimited.post("/persons", json={"name": "Ann", **sent}).json) is None


def test_whoever_is_enrolled_goes_with_the_last_sample_and_has_no_time_of_their_own(
    client: FlaskClient,
) -> None:
    person = enrol(client, "a")["person"]
    assert client.get(f"/persons/{person}").json["expires_at"] is None


@pytest.mark.parametrize("never", [None, "never"])
@pytest.mark.parametrize("path", ["/samples/a", "/persons/ann"])
def test_it_can_be_changed_afterwards(client: FlaskClient, path: str, never: str | None) -> None:
    client.post("/persons", json={"id": "ann", "name": "Ann"})
    enrol(client, "a")
    before = client.get(path).json["expires_at"]
    assert client.patch(path, json={"metadata": 1}).json["expires_at"] == before
    assert client.patch(path, json={"expires_at": FAR}).json["expires_at"] == FAR
    assert client.patch(path, json={"expires_at": never}).json["expires_at"] is None


def test_a_sample_that_is_sent_again_begins_anew(client: FlaskClient) -> None:
    enrol(client, "a", expires_at=FAR)
    assert kept_for(enrol(client, "a")) == DAYS


def test_what_is_stored_keeps_its_time(client: FlaskClient, unlimited: FlaskClient, gallery: Gallery) -> None:
    """The setting is for what is enrolled: imports, merges, moves and later starts change nothing."""
    for person_id in ("ann", "ben"):
        unlimited.post("/persons", json={"id": person_id, "name": person_id})
    enrol(unlimited, "a", person="ann")
    enrol(client, "b", person="ann")
    before = {sample_id: shown(client, sample_id)["expires_at"] for sample_id in "ab"}
    assert before["a"] is None and before["b"] is not None
    client.patch("/samples/b", json={"person": "ben"})
    client.post("/persons/ann/merge", json={"into": "ben"})
    exported = b"".join(transfer.export(gallery))
    gallery.clear()
    client.post("/import", data=exported, content_type="application/x-ndjson")
    assert {sample_id: shown(client, sample_id)["expires_at"] for sample_id in "ab"} == before
    assert client.get("/persons/ben").json["expires_at"] is None


@pytest.mark.parametrize("wrong", ["Never", "never ", "", "2100-01-01", 0, False, ["never"], "forever"])
def test_nothing_else_means_never(client: FlaskClient, wrong: object) -> None:
    body = {"id": "a", "name": "Ann", "image": IMAGE, "expires_at": wrong}
    for answer in (
        client.post("/update-samples", json=[body]),
        client.post("/persons", json={"name": "Ann", "expires_at": wrong}),
    ):
        assert answer.status_code == 400
        assert "expires_at: not a time in ISO 8601" in answer.json["detail"]
        assert answer.json["detail"].endswith("or `never`")
    assert client.get("/persons").json["total"] == 0


@pytest.fixture(params=["sqlite"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """What is stored is a time like any other, on either database."""
    yield request.param
