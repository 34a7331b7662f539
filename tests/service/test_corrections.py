"""Mistakes put right over HTTP: faces taken for somebody else's, and people merged who are two."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from colours import CROWD, WHITE, app_of, picture
from fakes import ok, refused
from galleries import NOW, FakeClock
from recognition.gallery import Gallery, open_gallery, transfer

LATER = (NOW + timedelta(days=1)).isoformat()


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    assert list(transfer.faults(gallery)) == []
    gallery.close()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of(gallery).test_client()


def enrol(client: FlaskClient, **names: str) -> dict[str, str]:
    """Enrol samples by id, each of a name and in a grey of its own; returns whose they are."""
    body = [
        {"id": sample_id, "name": name, "image": base64.b64encode(picture(number)).decode("ascii")}
        for number, (sample_id, name) in enumerate(names.items(), 1)
    ]
    answer = ok(client.post("/update-samples", json=body))
    assert answer["fail"] == []
    return {sample_id: seen["person"] for sample_id, seen in answer["samples"].items()}


def people_of(client: FlaskClient) -> dict[str, int]:
    return {person["name"]: person["samples"] for person in ok(client.get("/persons"))["persons"]}


def samples_of(client: FlaskClient) -> dict[str, str]:
    return {sample["id"]: sample["name"] for sample in ok(client.get("/samples"))["samples"]}


def corrected(client: FlaskClient, colour: int = 9, **form: Any) -> TestResponse:
    return client.post("/corrections", data={"file": (io.BytesIO(picture(colour)), "x.png"), **form})


# --- a face that was taken for somebody else's


def test_a_face_becomes_a_sample_of_whose_it_is(client: FlaskClient) -> None:
    whose = enrol(client, a="Ann", b="Bea")
    answer = ok(corrected(client, person=whose["b"], face='{"x": 2, "y": 2}', metadata='{"path": "x"}'))
    assert (answer["person"], answer["faces"], answer["moved"], answer["removed"]) == (whose["b"], 1, [], [])
    assert people_of(client) == {"Ann": 1, "Bea": 2}
    stored = ok(client.get(f"/samples/{answer['id']}"))
    assert (stored["name"], stored["metadata"]) == ("Bea", {"path": "x"})
    ok(corrected(client, 8, name="Cleo", wrong_sample="a"))  # keep is the default
    assert people_of(client) == {"Ann": 1, "Bea": 2, "Cleo": 1}


@pytest.mark.parametrize("told", ["person", "name"])
def test_the_wrong_sample_moves_along(client: FlaskClient, told: str) -> None:
    whose = enrol(client, a="Ann", b="Bea", c="Ann")
    to = {"person": whose["b"]} if told == "person" else {"name": "BEA"}
    answer = ok(corrected(client, **to, id="new", wrong_sample="a", wrong_person=whose["a"], then="move"))
    assert (answer["id"], answer["moved"], answer["removed"]) == ("new", ["a"], [])
    assert samples_of(client) == {"a": "Bea", "b": "Bea", "c": "Ann", "new": "Bea"}
    again = corrected(client, **to, id="new", wrong_sample="a", wrong_person=whose["a"], then="move")
    assert ok(again)["moved"] == ["a"]  # as a client that has heard nothing sends it
    assert samples_of(client) == {"a": "Bea", "b": "Bea", "c": "Ann", "new": "Bea"}


def test_the_wrong_sample_is_removed_and_so_is_who_had_no_other(client: FlaskClient) -> None:
    enrol(client, a="Ann")
    answer = ok(corrected(client, name="Bea", wrong_sample="a", then="remove"))
    assert answer["removed"] == ["a"]
    assert people_of(client) == {"Bea": 1}


def test_what_moves_to_somebody_new_is_of_one_person_with_the_face(client: FlaskClient) -> None:
    enrol(client, a="Ann")
    ok(corrected(client, name="Bea", wrong_sample="a", then="move"))
    assert people_of(client) == {"Bea": 2}


@pytest.mark.parametrize("then", ["move", "remove"])
def test_a_sample_that_is_anothers_by_now_is_left_alone(client: FlaskClient, then: str) -> None:
    whose = enrol(client, a="Ann", b="Bea", c="Ann")
    ok(client.patch("/samples/a", json={"name": "Cleo"}))
    before = samples_of(client)
    answer = corrected(client, name="Bea", wrong_sample="a", wrong_person=whose["a"], then=then)
    refused(answer, 409, "changed_meanwhile")
    assert samples_of(client) == before
    assert people_of(client) == {"Ann": 1, "Bea": 1, "Cleo": 1}


@pytest.mark.parametrize(
    ("colour", "form", "status", "code"),
    [
        (WHITE, {"name": "Bea"}, 400, "no_face"),
        (9, {"name": "Bea", "face": '{"x": 19, "y": 19}'}, 400, "no_face"),
        (CROWD, {"name": "Bea", "face": "only"}, 400, "several_faces"),
        (9, {"person": "nobody"}, 404, "not_found"),
        (9, {"name": "Bea", "wrong_sample": "z", "then": "remove"}, 404, "not_found"),
        (9, {"name": "Bea", "wrong_sample": "z", "then": "move"}, 404, "not_found"),
        (9, {"name": "Dan"}, 409, "ambiguous_name"),
        (9, {"name": "Bea", "expires_at": (NOW - timedelta(days=1)).isoformat()}, 400, "invalid_request"),
        (9, {}, 400, "invalid_request"),
        (9, {"name": "Bea", "person": "dan"}, 400, "invalid_request"),
        (9, {"name": "Bea", "then": "move"}, 400, "invalid_request"),
        (9, {"name": "Bea", "wrong_person": "dan"}, 400, "invalid_request"),
        (9, {"name": "Bea", "wrong_sample": "a", "then": "hide"}, 400, "invalid_request"),
        (9, {"name": "Bea", "wrong_sample": "a", "id": "a", "then": "move"}, 400, "invalid_request"),
        (9, {"name": "Bea", "wrong_sampel": "a"}, 400, "invalid_request"),
        (9, {"name": "Bea", "id": ".."}, 400, "invalid_request"),
    ],
)
def test_all_is_done_or_nothing(
    client: FlaskClient, colour: int, form: dict[str, Any], status: int, code: str
) -> None:
    enrol(client, a="Ann")
    for person_id in ("dan", "dan too"):
        ok(client.post("/persons", json={"id": person_id, "name": "Dan"}))
    sent = (
        {"wrong_sample": "a", "then": "remove"}
        if set(form) < {"name", "person", "face", "expires_at"}
        else {}
    )
    refused(corrected(client, colour, **{**sent, **form}), status, code)
    assert samples_of(client) == {"a": "Ann"}
    assert set(people_of(client)) == {"Ann", "Dan"}


def test_a_correction_is_an_upload_of_one_picture(client: FlaskClient) -> None:
    refused(client.post("/corrections", json={"name": "Bea"}), 415, "unsupported_media_type")
    refused(client.post("/corrections", data={"name": "Bea"}), 415, "unsupported_media_type")
    files = [(io.BytesIO(picture(1)), "1.png"), (io.BytesIO(picture(2)), "2.png")]
    answer = client.post("/corrections", data={"name": "Bea", "file": files})
    refused(answer, 400, "invalid_request")
    assert people_of(client) == {}


# --- a merge taken back


def test_a_merge_is_taken_back_as_if_it_had_never_been(client: FlaskClient, clock: FakeClock) -> None:
    whose = enrol(client, a="Ann", b="Bea", c="ann", d="Bea")
    notes = {"metadata": {"consent": "signed"}, "expires_at": LATER}
    ann = ok(client.patch(f"/persons/{whose['a']}", json=notes))
    bea = ok(client.get(f"/persons/{whose['b']}"))
    clock.now += timedelta(hours=1)
    merged = ok(client.post(f"/persons/{whose['a']}/merge", json={"into": whose["b"]}))
    assert merged["merged"] == {
        "id": whose["a"],
        "name": "Ann",
        **notes,
        "samples": 2,
        "created": ann["created"],
        "by_hand": False,
        "revision": merged["merged"]["revision"],
    }
    back = ok(client.post(f"/persons/{whose['b']}/unmerge", json=merged["merged"]))
    assert back == ann | {"modified": clock.now.isoformat(), "left": 0}
    assert ok(client.get(f"/persons/{whose['b']}")) == bea | {"modified": clock.now.isoformat()}
    assert samples_of(client) == {"a": "Ann", "b": "Bea", "c": "Ann", "d": "Bea"}
    again = client.post(f"/persons/{whose['b']}/unmerge", json=merged["merged"])
    refused(again, 409, "person_exists")


def merge(client: FlaskClient, person: str, into: str) -> Any:
    return ok(client.post(f"/persons/{person}/merge", json={"into": into}))["merged"]


def test_what_somebody_has_changed_since_is_not_taken_back(client: FlaskClient) -> None:
    whose = enrol(client, a="Ann", b="Bea", c="Ann", d="Ann", e="Ann", f="Ann")
    merged = merge(client, whose["a"], whose["b"])
    ok(client.patch("/samples/a", json={"name": "Cleo"}))  # moved on
    ok(client.delete("/samples/c"))
    enrol(client, d="Bea")  # with a picture of hers
    ok(client.patch("/samples/e", json={"metadata": "hers"}))
    ok(client.patch(f"/persons/{whose['b']}", json={"name": "Beatrix"}))
    back = ok(client.post(f"/persons/{whose['b']}/unmerge", json=merged))
    assert (back["samples"], back["left"]) == (1, 4)
    assert samples_of(client) == {"a": "Cleo", "b": "Beatrix", "d": "Beatrix", "e": "Beatrix", "f": "Ann"}


def test_people_made_by_hand_are_there_again_without_samples(client: FlaskClient) -> None:
    for person_id in ("one", "two"):
        ok(client.post("/persons", json={"id": person_id, "name": "John Smith"}))
    merged = merge(client, "one", "two")
    assert (merged["by_hand"], merged["samples"]) == (True, 0)
    assert ok(client.post("/persons/two/unmerge", json=merged))["id"] == "one"
    assert ok(client.get("/persons"))["total"] == 2


def test_who_only_had_what_was_merged_goes_with_it(client: FlaskClient) -> None:
    whose = enrol(client, a="Ann", b="Bea")
    merged = merge(client, whose["a"], whose["b"])
    ok(client.delete("/samples/b"))
    ok(client.post(f"/persons/{whose['b']}/unmerge", json=merged))
    assert people_of(client) == {"Ann": 1}


def test_a_merge_that_cannot_be_taken_back_changes_nothing(client: FlaskClient, clock: FakeClock) -> None:
    whose = enrol(client, a="Ann", b="Bea")
    ok(client.patch(f"/persons/{whose['a']}", json={"expires_at": LATER}))
    merged = merge(client, whose["a"], whose["b"])
    path = f"/persons/{whose['b']}/unmerge"
    for wrong in ({**merged, "id": None}, {**merged, "ids": []}, {}, [], {**merged, "revision": -1}):
        refused(client.post(path, json=wrong), 400, "invalid_request")
    refused(client.post("/persons/nobody/unmerge", json=merged), 404, "not_found")
    refused(client.post(path, json=merged | {"revision": 10**6}), 409, "changed_meanwhile")
    clock.now += timedelta(days=1)
    assert "expires_at" in refused(client.post(path, json=merged), 400, "invalid_request")
    ok(client.delete(f"/persons/{whose['b']}"))
    refused(client.post(path, json=merged | {"expires_at": None}), 404, "not_found")
    assert people_of(client) == {}


def test_of_two_merges_the_later_one_is_taken_back_first(client: FlaskClient) -> None:
    whose = enrol(client, a="Ann", b="Bea", c="Cleo")
    first = merge(client, whose["a"], whose["b"])
    second = merge(client, whose["b"], whose["c"])
    refused(client.post(f"/persons/{whose['b']}/unmerge", json=first), 404, "not_found")
    assert ok(client.post(f"/persons/{whose['c']}/unmerge", json=second))["samples"] == 2
    assert people_of(client) == {"Bea": 2, "Cleo": 1}


def test_the_list_names_a_sample_that_shows_each_person(client: FlaskClient) -> None:
    enrol(client, z="Ann", a="Ann", b="Bea")
    ok(client.post("/persons", json={"name": "Eve"}))
    shown = {person["name"]: person["sample"] for person in ok(client.get("/persons"))["persons"]}
    assert shown == {"Ann": "z", "Bea": "b", "Eve": None}
    ok(client.delete("/samples/z"))
    assert ok(client.get("/persons", query_string={"q": "ann"}))["persons"][0]["sample"] == "a"
