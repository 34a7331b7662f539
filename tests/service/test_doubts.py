"""Warnings that speak of whose face a new sample is, and strictness: over HTTP, on both databases."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from fakes import app_of_greys
from galleries import FakeClock, a_sample
from older_galleries import RELEASED, make_older
from recognition.gallery import Gallery, open_gallery, people

EARLIER, LATER = "2026-01-02T03:04:06+00:00", "2100-01-01T00:00:00+00:00"


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


def client_of(gallery: Gallery, faces: int = 1, **settings: str) -> FlaskClient:
    return app_of_greys(gallery, faces, **settings).test_client()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return client_of(gallery)


def picture(grey: int, side: int = 20, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (side, side), (grey, grey, grey)).save(stream, kind)
    return stream.getvalue()


def a_body(sample_id: str, data: int | bytes, **more: Any) -> dict[str, Any]:
    """A sample; the number is a grey, in a picture that is like no other's."""
    if isinstance(data, int):
        data = picture(data, side=20 + sum(map(ord, sample_id)) % 500)
    return {"id": sample_id, "image": base64.b64encode(data).decode("ascii"), **more}


def enrol(client: FlaskClient, *samples: dict[str, Any]) -> Any:
    answer = client.post("/update-samples", json=list(samples))
    assert answer.status_code == 200, answer.json
    return answer.json


def warnings_of(answer: Any) -> dict[str, list[str]]:
    return {
        sample_id: [warning["code"] for warning in seen["warnings"]]
        for sample_id, seen in answer["samples"].items()
    }


def test_somebody_else_is_near(client: FlaskClient) -> None:
    ann = enrol(client, a_body("a", 100, name="Ann"))["samples"]["a"]
    assert ann["warnings"] == []
    answer = enrol(client, a_body("b", 150, name="Ben"), a_body("c", 250, name="Cid"))
    assert warnings_of(answer) == {"b": ["looks_like"], "c": []}
    (warning,) = answer["samples"]["b"]["warnings"]
    detail = warning.pop("detail")
    assert "Ann" in detail and "5.00" in detail
    assert warning == {
        "code": "looks_like",
        "sample": "a",
        "person": ann["person"],
        "name": "Ann",
        "distance": 5.0,
    }


def test_the_threshold_is_exclusive(client: FlaskClient) -> None:
    enrol(client, a_body("a", 0, name="Ann"))
    answer = enrol(client, a_body("b", 90, name="Ben"))
    assert warnings_of(answer) == {"b": []}


def test_far_from_the_persons_others(client: FlaskClient) -> None:
    enrol(client, a_body("1", 0, name="Ann"), a_body("2", 50, name="Ann"))
    answer = enrol(client, a_body("3", 250, name="ANN"))
    (warning,) = answer["samples"]["3"]["warnings"]
    assert (warning["code"], warning["distance"]) == ("unlike_own", 20.0)
    # Near to one of them is near enough, and so is the one that was just warned of.
    assert warnings_of(enrol(client, a_body("4", 130, name="Ann"), a_body("5", 240, name="Ann"))) == {
        "4": [],
        "5": [],
    }


@pytest.mark.parametrize("same", [picture(100, 30), picture(100, 30, "BMP")], ids=["bytes", "pixels"])
def test_the_same_picture(client: FlaskClient, same: bytes) -> None:
    ann = enrol(client, a_body("a", picture(100, 30), name="Ann"))["samples"]["a"]["person"]
    answer = enrol(client, a_body("b", same, name="Ben"), a_body("c", picture(100, 31), name="Ann"))
    assert warnings_of(answer) == {"b": ["same_picture", "looks_like"], "c": ["looks_like"]}
    warning = answer["samples"]["b"]["warnings"][0]
    assert (warning["sample"], warning["person"], warning["name"]) == ("a", ann, "Ann")
    # Whoever sends a sample again replaces it.
    assert "same_picture" not in warnings_of(enrol(client, a_body("c", picture(100, 31), name="Ann")))["c"]


def test_pictures_of_one_request_are_compared_with_those_before_them(client: FlaskClient) -> None:
    answer = enrol(
        client,
        a_body("a", picture(0), name="Ann"),
        a_body("b", picture(0), name="Ben"),
        a_body("c", 200, name="ann"),
        a_body("d", 201, person="nobody"),
    )
    assert warnings_of(answer) == {"a": [], "b": ["same_picture", "looks_like"], "c": ["unlike_own"]}
    assert answer["errors"]["d"]["code"] == "not_found"
    for warning in answer["samples"]["b"]["warnings"]:
        assert (warning["sample"], warning["person"]) == ("a", answer["samples"]["a"]["person"])


def test_a_request_of_several_warns_as_several_requests_do(client: FlaskClient, gallery: Gallery) -> None:
    random = np.random.default_rng(3)
    samples = [
        a_body(str(number), int(grey), name=f"n{who}")
        for number, (grey, who) in enumerate(
            zip(random.integers(0, 255, 60), random.integers(0, 9, 60), strict=True)
        )
    ]

    def told(answer: Any) -> dict[str, Any]:
        return {
            sample_id: [
                (warning["code"], warning.get("name"), round(warning["distance"], 6))
                for warning in seen["warnings"]
            ]
            for sample_id, seen in answer["samples"].items()
        }

    together = told(enrol(client, *samples))
    gallery.clear()
    assert together == {key: some for sample in samples for key, some in told(enrol(client, sample)).items()}
    assert any(together.values())


def test_what_is_replaced_does_not_count(client: FlaskClient) -> None:
    enrol(client, a_body("a", 0, name="Ann"), a_body("b", 250, name="Ben"))
    answer = enrol(client, a_body("a", 250, name="Ann"), a_body("b", 0, name="Ben"))
    assert warnings_of(answer) == {"a": [], "b": []}


def test_somebody_else_is_found_behind_many_of_the_same_person(client: FlaskClient, gallery: Gallery) -> None:
    enrol(client, a_body("b", 200, name="Ben"))
    vectors = np.ones((150, 4), np.float32)
    vectors[:, 0] = 12.5
    with gallery.reading() as (_, current):
        fingerprint = str(current.fingerprint)
    gallery.upsert([a_sample(f"a{n}", name="Ann") for n in range(150)], vectors, fingerprint)
    answer = enrol(client, a_body("new", 125, name="Ann"))
    (warning,) = answer["samples"]["new"]["warnings"]
    assert (warning["code"], warning["sample"], warning["distance"]) == ("looks_like", "b", 7.5)


def test_who_has_expired_is_like_nobody(client: FlaskClient, clock: FakeClock) -> None:
    enrol(
        client, a_body("a", 100, name="Ann", expires_at=EARLIER), a_body("x", 0, name="Xi", expires_at=LATER)
    )
    clock.now = clock.now.replace(second=30)
    assert warnings_of(enrol(client, a_body("b", 140, name="Ben"))) == {"b": []}


def test_strictly_nothing_is_stored_that_has_a_warning(client: FlaskClient) -> None:
    enrol(client, a_body("a", picture(0), name="Ann"))
    answer = enrol(
        client,
        a_body("b", picture(0), name="Ben", strict=True),
        a_body("c", 60, name="Cid", strict=True),
        a_body("d", 250, name="Ann", strict=True),
        a_body("e", 240, name="Eve", strict=True),
        a_body("f", 10, name="Flo"),
    )
    assert (answer["success"], answer["fail"]) == (["e", "f"], ["b", "c", "d"])
    codes = {sample_id: error["code"] for sample_id, error in answer["errors"].items()}
    assert codes == {"b": "same_picture", "c": "looks_like", "d": "unlike_own"}
    same, alike = answer["errors"]["b"]["warnings"]
    assert (same["sample"], alike["name"]) == ("a", "Ann")
    assert answer["errors"]["b"]["detail"] == same["detail"]
    assert warnings_of(answer) == {"e": [], "f": ["looks_like"]}
    assert client.get("/samples/count").json == {"count": 3}
    assert [person["name"] for person in client.get("/persons").json["persons"]] == ["Ann", "Eve", "Flo"]  # type: ignore[index]


def test_strictly_a_sample_that_is_refused_leaves_the_one_of_its_id(client: FlaskClient) -> None:
    enrol(client, a_body("a", 0, name="Ann"), a_body("b", 250, name="Ben"))
    before = client.get("/samples/b").json
    assert enrol(client, a_body("b", 10, name="Ben", strict=True))["fail"] == ["b"]
    assert client.get("/samples/b").json == before


def test_strictly_several_faces_and_poor_ones_are_refused(gallery: Gallery) -> None:
    several = client_of(gallery, faces=2)
    assert warnings_of(enrol(several, a_body("a", 0, name="Ann"))) == {"a": ["several_faces"]}
    answer = enrol(several, a_body("a", 0, name="Ann", strict=True))
    assert answer["errors"]["a"]["code"] == "several_faces"
    poor = client_of(gallery, MIN_QUALITY="0.9")
    accepted = a_body("b", 200, name="Ben", accept_low_quality=True)
    assert warnings_of(enrol(poor, accepted)) == {"b": ["low_quality"]}
    assert enrol(poor, accepted | {"strict": True})["errors"]["b"]["code"] == "low_quality"


def test_an_upload_may_be_strict(client: FlaskClient) -> None:
    def upload(grey: int, **fields: str) -> Any:
        data = {"file": (io.BytesIO(picture(grey)), "x.png"), **fields}
        return client.post("/samples", data=data).json

    upload(0, name="Ann")
    refused = upload(0, name="Ben", strict="true")
    ((_, error),) = refused["errors"].items()
    assert (refused["success"], error["code"], error["file"]) == ([], "same_picture", "x.png")
    assert len(upload(0, name="Ben", strict="false")["success"]) == 1
    assert upload(0, name="Ben", strict="perhaps")["code"] == "invalid_request"


def test_samples_tell_the_quality_of_their_faces(client: FlaskClient) -> None:
    seen = enrol(client, a_body("a", 0, name="Ann"))["samples"]["a"]
    assert client.get("/samples/a").json["quality"] == seen["quality"]  # type: ignore[index]
    moved = client.patch("/samples/a", json={"name": "Ben"}).json
    assert moved is not None and moved["quality"] == seen["quality"]


def test_the_quality_of_older_samples_is_not_known(url: str) -> None:
    make_older(url, RELEASED, [("a", "Ann"), ("b", "Ben")], dimension=4)
    gallery = open_gallery(url, lock_timeout_s=5)
    answer = client_of(gallery).get("/samples").json
    assert answer is not None and [sample["quality"] for sample in answer["samples"]] == [None, None]
    gallery.close()


def test_quality_and_picture_go_along_when_a_gallery_moves(client: FlaskClient, tmp_path: Path) -> None:
    enrol(client, a_body("a", picture(0), name="Ann"))
    before = client.get("/samples/a").json
    file = client.get("/export").data
    other = open_gallery(f"sqlite:///{tmp_path / 'other.sqlite3'}", lock_timeout_s=5, key=bytes(32))
    moved = client_of(other)
    assert moved.post("/import", data=file, content_type="application/x-ndjson").json == {
        "imported": 1,
        "unchanged": 0,
    }
    assert moved.get("/samples/a").json == before
    assert moved.get("/export").data == file
    assert warnings_of(enrol(moved, a_body("b", picture(0), name="Ben"))) == {
        "b": ["same_picture", "looks_like"]
    }
    other.close()


def test_an_empty_gallery_of_another_model_takes_any(client: FlaskClient, gallery: Gallery) -> None:
    gallery.upsert([a_sample("old")], np.ones((1, 8), np.float32), "another")
    refused = client.post("/update-samples", json=[a_body("a", 0, name="Ann")])
    assert refused.json is not None
    assert (refused.status_code, refused.json["code"]) == (409, "gallery_model_mismatch")
    gallery.delete("old")
    assert warnings_of(enrol(client, a_body("a", 0, name="Ann"), a_body("b", 9, name="Ben"))) == {
        "a": [],
        "b": ["looks_like"],
    }


def test_a_merged_person_is_not_somebody_else(client: FlaskClient, gallery: Gallery) -> None:
    ids = [
        enrol(client, a_body(name, grey, name=name))["samples"][name]["person"]
        for name, grey in (("Ann", 0), ("Ben", 50))
    ]
    people.merge(gallery, *ids)
    assert warnings_of(enrol(client, a_body("c", 20, person=ids[1]))) == {"c": []}
