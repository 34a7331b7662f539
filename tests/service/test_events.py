"""Visits to cameras over HTTP: vectors of a frame, who a visit was of, lists of events, and pictures."""

from __future__ import annotations

import base64
import io
import json
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import simplejpeg
import sqlalchemy as sa
from flask.testing import FlaskClient
from PIL import Image

from fakes import EmbedderOfAngles, angle, app_of_angles, ok, refused, shipped_background
from galleries import NOW, FakeClock
from pictures import png_that_claims
from recognition.gallery import Gallery, open_gallery
from recognition.visits import from_json

FINGERPRINT = "fingerprint-1"
STRANGER = 3.0  # radians: whoever is enrolled is near 0
ONE, TWO = (f"{number:08d}-0000-4000-8000-000000000000" for number in (1, 2))


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of_angles(gallery).test_client()


def png(grey: int = 0, side: tuple[int, int] = (20, 20)) -> bytes:
    stream = io.BytesIO()
    Image.new("L", side, grey).save(stream, "PNG")
    return stream.getvalue()


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode("ascii")


def enrol(client: FlaskClient, sample_id: str = "ada/1", grey: int = 0, **more: Any) -> str:
    """Returns the id of the person."""
    body = {"id": sample_id, "name": "Ada", "image": text(png(grey)), **more}
    seen = ok(client.post("/update-samples", json=[body]))["samples"]
    return str(seen[sample_id]["person"])


def at(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def a_visit(turn: float = 0.0, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "camera": "front door",
        "since": at(0),
        "until": at(12.5),
        "frames": 31,
        "bbox": "12, 34, 56, 78",
        "quality": 0.75,
        "fingerprint": FINGERPRINT,
        "embeddings": [angle(turn).tolist()],
        "picture": text(png()),
        **changes,
    }


def post(client: FlaskClient, turn: float = 0.0, **changes: Any) -> Any:
    return ok(client.post("/events", json=a_visit(turn, **changes)))


def ids(client: FlaskClient, **query: Any) -> list[str]:
    return [event["id"] for event in ok(client.get("/events", query_string=query))["events"]]


# --- the faces of a frame, and their vectors


def test_faces_come_with_their_vectors_and_what_made_them(gallery: Gallery) -> None:
    client = app_of_angles(gallery, faces=2).test_client()
    answers = [
        ok(client.post("/embeddings", json={"image": text(png(255))})),
        ok(client.post("/embeddings", data={"file": (io.BytesIO(png(255)), "x.png")})),
    ]
    assert answers[0] == answers[1]
    assert (answers[0]["model"], answers[0]["fingerprint"]) == ("a model", FINGERPRINT)
    assert len(answers[0]["faces"]) == 2
    (face, _), (detected, _) = (
        answers[0]["faces"],
        ok(client.post("/detect", json={"image": text(png(255))})),
    )
    np.testing.assert_array_equal(np.float32(face.pop("embedding")), angle(np.pi / 4))
    assert face == detected
    some = client.post("/embeddings", json={"image": text(png()), "limit": 1})
    assert (len(ok(some)["faces"]), some.headers.get("X-Faces-Left-Out")) == (1, None)


def test_a_frame_without_faces_has_an_empty_list_and_says_the_model(gallery: Gallery) -> None:
    client = app_of_angles(gallery, faces=0).test_client()
    answer = ok(client.post("/embeddings", json={"image": text(png())}))
    assert answer == {"model": "a model", "fingerprint": FINGERPRINT, "faces": []}


def test_faces_beyond_max_faces_are_counted(gallery: Gallery) -> None:
    client = app_of_angles(gallery, faces=3, MAX_FACES="2").test_client()
    answer = client.post("/embeddings", json={"image": text(png())})
    assert (len(ok(answer)["faces"]), answer.headers["X-Faces-Left-Out"]) == (2, "1")


def test_what_is_no_picture_has_no_vectors(client: FlaskClient) -> None:
    refused(client.post("/embeddings", json={"image": "bm9uZQ=="}), 400, "invalid_image")
    claims = text(png_that_claims(30_000, 30_000))
    refused(client.post("/embeddings", json={"image": claims}), 413, "image_too_large")
    refused(client.post("/embeddings", json={"image": text(png()), "limit": -1}), 400, "invalid_request")
    refused(client.post("/embeddings?gallery=nowhere", json={"image": text(png())}), 404, "not_found")


# --- who a visit was of


def test_a_visit_becomes_an_event_of_whoever_is_near(client: FlaskClient) -> None:
    person = enrol(client)
    event = post(client, 0.1, id=ONE)
    assert event == {
        "id": ONE,
        "camera": "front door",
        "since": "2026-01-02T03:04:05.678901+00:00",
        "until": "2026-01-02T03:04:18.178901+00:00",
        "frames": 31,
        "name": "Ada",
        "person": person,
        "sample": "ada/1",
        "distance": 1.0,  # 20 * sin(0.05), to two decimals
        "false_match": None,
        "bbox": "12, 34, 56, 78",
        "quality": 0.75,
        "unknown": None,
        "picture": True,
    }
    page = ok(client.get("/events"))
    assert page["events"] == [event]
    assert (page["total"], page["next"], page["cameras"]) == (1, None, ["front door"])
    assert from_json(event).name == "Ada"


def test_it_decides_as_recognition_does(client: FlaskClient) -> None:
    enrol(client)
    grey = 200
    form = {"file": (io.BytesIO(png(grey)), "x.png")}
    (face,) = ok(client.post("/face-recognition", data=form))
    frame = ok(client.post("/embeddings", json={"image": text(png(grey))}))
    event = post(client, embeddings=[frame["faces"][0]["embedding"]], fingerprint=frame["fingerprint"])
    assert event["distance"] == pytest.approx(face["distance"], abs=0.005)
    assert (event["name"], event["person"], event["sample"], event["false_match"]) == (
        face["name"],
        face["person"],
        face["id"],
        face["false_match"],
    )


def test_the_mean_of_all_vectors_decides_however_long_each_is(client: FlaskClient) -> None:
    enrol(client)
    around = [(angle(0.4) * 3).tolist(), (angle(-0.4) * 0.01).tolist()]
    assert post(client, embeddings=around)["distance"] == 0
    many = [angle(0.01 * number).tolist() for number in range(32)]
    assert post(client, embeddings=many)["distance"] == round(20 * np.sin(0.155 / 2), 2)


def test_a_stranger_has_no_name_and_no_picture(client: FlaskClient) -> None:
    enrol(client)
    event = post(client, STRANGER, id=ONE)
    assert (event["name"], event["person"], event["sample"], event["picture"]) == (None, None, None, False)
    assert (event["distance"], event["false_match"]) == (None, None)
    assert refused(client.get(f"/events/{ONE}/picture"), 404, "not_found").startswith("No picture is kept")


def test_an_empty_gallery_knows_nobody(client: FlaskClient) -> None:
    event = post(client)
    assert (event["name"], event["distance"], event["false_match"]) == (None, None, None)


def test_min_distance_and_max_false_match_decide(client: FlaskClient, tmp_path: Any) -> None:
    with shipped_background(tmp_path, FINGERPRINT):
        enrol(client)
        assert post(client, 0.1, min_distance=0.5)["name"] is None
        assert post(client, 0.1, min_distance=5)["name"] == "Ada"
        wish = post(client, 0.1, max_false_match=0.5)
        assert (wish["name"], wish["false_match"] is None) == ("Ada", False)
        assert wish["false_match"] == float(f"{wish['false_match']:.2g}")
        stranger = post(client, STRANGER, max_false_match=1e-9)
        assert (stranger["name"], stranger["distance"], stranger["false_match"]) == (None, None, None)
        assert post(client, 0.9, max_false_match=1e-9)["name"] is None
        both = a_visit(min_distance=5, max_false_match=0.5)
        refused(client.post("/events", json=both), 400, "invalid_request")


def test_a_wish_needs_somebody_to_compare_with(client: FlaskClient) -> None:
    enrol(client)
    refused(client.post("/events", json=a_visit(max_false_match=0.01)), 409, "not_calibrated")


def test_a_face_that_is_too_poor_is_given_no_name(gallery: Gallery) -> None:
    client = app_of_angles(gallery, MIN_QUALITY="0.5").test_client()
    enrol(client, accept_low_quality=True)
    assert post(client, quality=0.49)["name"] is None
    assert post(client, quality=0.5)["name"] == "Ada"


def test_vectors_of_another_model_are_refused(client: FlaskClient) -> None:
    enrol(client)
    answer = client.post("/events", json=a_visit(fingerprint="another-1"))
    assert "make them anew" in refused(answer, 409, "model_changed")
    assert ids(client) == []


@pytest.mark.parametrize(
    ("embeddings", "said"),
    [
        ([[1.0, 0, 0, 0]] * 33, "embeddings"),
        ([[1.0, 0, 0]], "4 values"),
        ([[1.0, 0, 0, 0], [1.0, 0, 0]], "same length"),
        ([[]], "embeddings[0]"),
        ([[0.0, 0, 0, 0]], "no direction"),
        ([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]], "no direction"),
        ([[1e16, 0, 0, 0]], "embeddings[0][0]"),
        ([["1", 0, 0, 0]], "embeddings[0][0]"),
        ([[None, 0, 0, 0]], "embeddings[0][0]"),
        ("AAAA", "embeddings"),
    ],
)
def test_what_cannot_be_vectors_of_a_face_is_refused(client: FlaskClient, embeddings: Any, said: str) -> None:
    enrol(client)
    assert said in refused(
        client.post("/events", json=a_visit(embeddings=embeddings)), 400, "invalid_request"
    )
    assert ids(client) == []


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(client: FlaskClient, number: str) -> None:
    body = json.dumps(a_visit(embeddings=[[1, 1, 1, 77777]])).replace("77777", number)
    answer = client.post("/events", data=body, content_type="application/json")
    refused(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": "1"},
        {"id": 1},
        {"camera": ""},
        {"camera": "\u200b"},
        {"camera": "x" * 101},
        {"camera": "a\x00b"},
        {"since": "2026-01-02T03:04:05"},
        {"since": 5},
        {"since": None},
        {"until": "soon"},
        {"frames": 0},
        {"frames": 2**31},
        {"frames": 1.5},
        {"bbox": [1, 2, 3, 4]},
        {"bbox": "1, 2, 3"},
        {"bbox": "1, 2, 0, 4"},
        {"bbox": "-1, 2, 3, 4"},
        {"bbox": "1, 2, 3, 9999999"},
        {"quality": 1.1},
        {"quality": None},
        {"fingerprint": ""},
        {"picture": 5},
        {"min_distance": 0},
        {"max_false_match": 0.6},
        {"name": "Ada"},
    ],
)
def test_what_is_no_visit_is_refused(client: FlaskClient, wrong: dict[str, Any]) -> None:
    answer = client.post("/events", json=a_visit(**wrong))
    assert next(iter(wrong)) in refused(answer, 400, "invalid_request")


def test_times_must_make_sense(client: FlaskClient) -> None:
    assert "until: before since" in refused(
        client.post("/events", json=a_visit(since=at(1), until=at(0))), 400, "invalid_request"
    )
    day = 24 * 3600
    ahead = post(client, id=ONE, since=at(day - 1), until=None)  # a clock that is not set
    assert ahead["since"] > at(0)
    for wrong in ({"since": at(day + 1), "until": None}, {"until": at(day + 1)}):
        detail = refused(client.post("/events", json=a_visit(**wrong)), 400, "invalid_request")
        assert "more than a day from now" in detail
    old = post(client, since="1970-01-01T00:00:00-05:00", until="1970-01-01T05:00:00+00:00")
    assert (old["since"], old["until"]) == ("1970-01-01T05:00:00+00:00",) * 2


def test_names_of_cameras_are_as_names_are(client: FlaskClient) -> None:
    odd = "  Küche\u200b <b>\"'&;--\t\U0001f6aa "
    event = post(client, camera=odd)
    assert event["camera"] == "Küche <b>\"'&;-- \U0001f6aa"
    assert ids(client, camera=odd) == [event["id"]]
    assert ids(client, camera="küche") == []
    assert len(post(client, camera="x" * 100)["camera"]) == 100


# --- the same visit again


def test_a_visit_that_is_sent_again_is_replaced(client: FlaskClient, other: Gallery) -> None:
    enrol(client)
    post(client, STRANGER, id=ONE, until=None, frames=3)
    assert ok(client.get("/events"))["events"][0]["until"] is None
    elsewhere = app_of_angles(other).test_client()  # another worker
    event = post(elsewhere, 0.1, id=ONE.upper(), until=at(20), frames=40)
    assert (event["id"], event["frames"], event["name"]) == (ONE, 40, "Ada")
    assert ok(client.get("/events"))["events"] == [event]
    again = post(client, 0.1, id=ONE, until=at(20), frames=40)
    assert again == event
    assert post(client, 0.1, id=ONE, picture=None)["picture"] is False
    refused(client.get(f"/events/{ONE}/picture"), 404, "not_found")


def test_the_same_id_in_another_gallery_is_another_event(client: FlaskClient) -> None:
    ok(client.post("/galleries", json={"name": "lobby"}))
    enrol(client)
    post(client, id=ONE)
    there = ok(client.post("/events?gallery=lobby", json=a_visit(id=ONE)))
    assert there["name"] is None
    assert ok(client.delete(f"/events/{ONE}?gallery=lobby")) == {"success": [ONE]}
    assert ids(client) == [ONE]
    assert ids(client, gallery="lobby") == []


def test_a_visit_goes_on_and_ends_without_vectors(client: FlaskClient) -> None:
    enrol(client)
    begun = post(client, 0.1, id=ONE, until=None, frames=3)
    picture = client.get(f"/events/{ONE}/picture").data
    for until, frames in ((None, 40), (at(20), 41)):
        later = {"embeddings": [], "fingerprint": "another-1", "until": until, "frames": frames}
        others = {"camera": "elsewhere", "bbox": "0, 0, 9, 9", "quality": 0, "picture": None}
        event = post(client, id=ONE.upper(), since=at(-1), **later, **others)
        assert event == {**begun, "since": at(-1), "until": until, "frames": frames}
        assert ok(client.get(f"/events/{ONE}")) == event
    assert client.get(f"/events/{ONE}/picture").data == picture


def test_only_what_is_there_goes_on(client: FlaskClient, gallery: Gallery, clock: FakeClock) -> None:
    ok(client.post("/galleries", json={"name": "lobby"}))
    post(client, id=ONE)
    going_on = a_visit(id=ONE, embeddings=[])
    refused(client.post("/events", json={**going_on, "id": TWO}), 404, "not_found")
    refused(client.post("/events?gallery=lobby", json=going_on), 404, "not_found")
    ahead = {**going_on, "until": at(2 * 24 * 3600)}
    refused(client.post("/events", json=ahead), 400, "invalid_request")
    clock.now += timedelta(days=29)
    post(client, **{**going_on, "since": at(0), "until": at(1)})
    clock.now += timedelta(days=29)  # from when the service was told last
    assert ok(client.get(f"/events/{ONE}"))["until"] == at(1)
    clock.now += timedelta(days=1)
    refused(client.post("/events", json=going_on), 404, "not_found")


def test_one_event_is_shown(client: FlaskClient, clock: FakeClock) -> None:
    enrol(client)
    posted = [post(client, turn, id=each) for each, turn in ((ONE, 0.1), (TWO, STRANGER))]
    assert [ok(client.get(f"/events/{each}")) for each in (ONE.upper(), TWO)] == posted
    ok(client.delete(f"/events/{TWO}"))
    for gone in (TWO, "x", "%00", f"{ONE}x"):
        refused(client.get(f"/events/{gone}"), 404, "not_found")
    clock.now += timedelta(days=30)
    refused(client.get(f"/events/{ONE}"), 404, "not_found")


# --- pictures


def picture_of(client: FlaskClient, event_id: str) -> np.ndarray:
    answer = client.get(f"/events/{event_id}/picture")
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    return np.asarray(simplejpeg.decode_jpeg(answer.data))


def test_a_picture_is_made_small_and_nothing_else_of_it_is_kept(client: FlaskClient) -> None:
    enrol(client)
    stream = io.BytesIO()
    photograph = Image.new("RGB", (1200, 400), (200, 30, 30))
    exif = photograph.getexif()
    exif[0x010E] = "where I live"
    photograph.save(stream, "JPEG", exif=exif, quality=95)
    polyglot = stream.getvalue() + b"<script>alert(1)</script>"
    post(client, id=ONE, picture=text(polyglot))
    pixels = picture_of(client, ONE)
    assert pixels.shape == (85, 256, 3)
    assert pixels.mean(axis=(0, 1)) == pytest.approx((200, 30, 30), abs=3)
    data = client.get(f"/events/{ONE}/picture").data
    assert b"where I live" not in data and b"<script>" not in data
    assert data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")
    post(client, id=TWO, picture=text(png(90, (1, 1))))
    assert picture_of(client, TWO).shape == (1, 1, 3)


def test_a_picture_is_asked_for_once(client: FlaskClient) -> None:
    enrol(client)
    post(client, id=ONE)
    first = client.get(f"/events/{ONE}/picture")
    again = client.get(f"/events/{ONE}/picture", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    ("picture", "status", "code"),
    [
        ("", 400, "invalid_image"),
        ("not base64!", 400, "invalid_image"),
        (text(b"GIF89a"), 400, "invalid_image"),
        (text(b"\xff\xd8\xff" + b"x" * 100 + b"\xff\xd9"), 400, "invalid_image"),
        (text(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 400, "invalid_image"),
        (text(png_that_claims(30_000, 30_000)), 413, "image_too_large"),
    ],
)
def test_what_is_no_picture_is_refused_and_nothing_recorded(
    client: FlaskClient, picture: str, status: int, code: str
) -> None:
    for turn in (0.0, STRANGER):
        refused(client.post("/events", json=a_visit(turn, picture=picture)), status, code)
    assert ids(client) == []


@pytest.mark.parametrize(
    ("settings", "known", "unknown"),
    [
        ({}, True, False),
        ({"KEEP_FACES": "0"}, False, False),
        ({"KEEP_UNKNOWN": "1"}, True, True),
        ({"KEEP_FACES": "0", "KEEP_UNKNOWN": "1"}, False, True),
    ],
)
def test_whose_pictures_are_kept_is_a_setting(
    gallery: Gallery, settings: dict[str, str], known: bool, unknown: bool
) -> None:
    client = app_of_angles(gallery, **settings).test_client()
    enrol(client)
    assert post(client)["picture"] is known
    assert post(client, STRANGER)["picture"] is unknown


# --- lists


def test_the_newest_come_first_and_pages_join_without_gaps(client: FlaskClient) -> None:
    enrol(client)
    begun = [0, 7, 7, 7, 3, 100, 50]
    posted = [post(client, since=at(seconds), until=None) for seconds in begun]
    expected = [
        event["id"] for event in sorted(posted, key=lambda event: (event["since"], event["id"]), reverse=True)
    ]
    assert ids(client) == expected
    pages: list[list[str]] = []
    after = None
    while True:
        page = ok(client.get("/events", query_string={"limit": 2, **({"after": after} if after else {})}))
        assert page["total"] == len(begun)
        pages.append([event["id"] for event in page["events"]])
        after = page["next"]
        if after is None:
            break
        if len(pages) == 1:  # what comes and goes meanwhile moves nothing
            ok(client.delete(f"/events/{pages[0][-1]}"))
            newest = post(client, since=at(200), until=None)
            ok(client.delete(f"/events/{newest['id']}"))
            begun.pop()
    assert [event for page_ids in pages for event in page_ids] == expected
    assert [len(each) for each in pages] == [2, 2, 2, 1]


def test_events_are_found_by_camera_person_and_time(client: FlaskClient) -> None:
    ada, eve = enrol(client), enrol(client, "eve/1", 255, name="Eve")
    turns = {"ada": 0.0, "eve": np.pi / 4, "nobody": STRANGER}
    posted = {
        (camera, who): post(client, turn, camera=camera, since=at(number), until=None)["id"]
        for number, (camera, who, turn) in enumerate(
            (camera, who, turn) for camera in ("garden", "door") for who, turn in turns.items()
        )
    }
    assert ids(client, camera="door") == [posted["door", who] for who in ("nobody", "eve", "ada")]
    assert ids(client, person=ada) == [posted["door", "ada"], posted["garden", "ada"]]
    assert ids(client, person=eve, camera="garden") == [posted["garden", "eve"]]
    assert ids(client, since=at(1), until=at(3)) == [posted["garden", "nobody"], posted["garden", "eve"]]
    assert ids(client, since=at(5), camera="garden") == []
    assert ids(client, person="nobody") == []
    page = ok(client.get("/events", query_string={"camera": "door", "limit": 1}))
    assert (page["total"], page["cameras"]) == (3, ["door", "garden"])
    assert ok(client.get("/events?camera=nowhere"))["cameras"] == ["door", "garden"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "after=x",
        "after=W10=",
        "since=today",
        "until=5",
        "camera=",
        "person=",
        "per=x",
    ],
)
def test_what_is_no_question_is_refused(client: FlaskClient, query: str) -> None:
    refused(client.get(f"/events?{query}"), 400, "invalid_request")


def test_the_list_is_read_from_an_index(client: FlaskClient, gallery: Gallery, backend: str) -> None:
    """Of hundreds of thousands of events, as a few cameras make in a month."""
    if backend != "sqlite":
        pytest.skip("PostgreSQL plans by how many rows there are")
    post(client)
    asked: list[tuple[str, Any]] = []

    @sa.event.listens_for(gallery.engine, "before_cursor_execute")
    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    person = enrol(client)
    for query in ({}, {"camera": "front door"}, {"person": person}, {"since": at(0)}):
        asked.clear()
        ids(client, **query)
        selects = [each for each in asked if "FROM events" in each[0] and "WITH" not in each[0]]
        assert len(selects) == 3
        for statement, parameters in selects:
            with gallery.engine.connect() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            details = " ".join(row[3] for row in plan)
            assert "SEARCH events USING" in details, details
            assert "TEMP B-TREE" not in details, details


# --- removal


def test_one_event_is_removed(client: FlaskClient) -> None:
    post(client, id=ONE)
    assert ok(client.delete(f"/events/{ONE.upper()}")) == {"success": [ONE]}
    refused(client.delete(f"/events/{ONE}"), 404, "not_found")
    refused(client.get(f"/events/{ONE}/picture"), 404, "not_found")
    for odd in ("x", "%00", ONE + "x", "..%2F" + ONE):
        refused(client.delete(f"/events/{odd}"), 404, "not_found")
        refused(client.get(f"/events/{odd}/picture"), 404, "not_found")


def test_some_events_are_removed_or_all(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recognition.gallery.events.ROWS_AT_ONCE", 2)
    ada = enrol(client)
    for camera in ("a", "b"):
        for number in range(3):
            post(client, camera=camera, since=at(number), until=None)
    stranger = post(client, STRANGER, camera="b", since=at(9), until=None)
    assert ok(client.delete("/events", query_string={"camera": "a", "until": at(1)}))["deleted"] == 1
    assert ok(client.delete("/events", query_string={"camera": "nowhere"}))["deleted"] == 0
    assert ok(client.delete("/events", query_string={"person": ada}))["deleted"] == 5
    assert ids(client) == [stranger["id"]]
    removed = ok(client.delete("/events"))
    assert removed == {"success": "Events have been removed successfully", "deleted": 1}
    assert ok(client.get("/events")) == {"events": [], "total": 0, "next": None, "cameras": []}


def test_the_oldest_give_way_where_there_are_too_many(
    client: FlaskClient, gallery: Gallery, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.gallery.events.MAX_EVENTS", 5)
    monkeypatch.setattr("recognition.gallery.events.GIVE_WAY", 2)
    ok(client.post("/galleries", json={"name": "lobby"}))
    ok(client.post("/events?gallery=lobby", json=a_visit()))
    posted = []
    for _ in range(5):
        clock.now += timedelta(seconds=1)
        posted.append(post(client, since=at(0))["id"])
    clock.now += timedelta(seconds=1)
    post(client, id=posted[0])  # told again: not old any more
    assert set(ids(client)) == set(posted)
    newest = post(client)["id"]
    assert set(ids(client)) == {posted[0], *posted[3:], newest}
    assert len(ids(client, gallery="lobby")) == 1


def test_no_more_names_of_cameras_are_told_than_may_be(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.gallery.events.MAX_CAMERAS", 2)
    for camera in "badc":
        post(client, camera=camera)
    assert ok(client.get("/events"))["cameras"] == ["a", "b"]


def test_nothing_is_recorded_where_the_disk_is_nearly_full(
    client: FlaskClient, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if backend != "sqlite":
        pytest.skip("how full the disk of another server is, is not known here")
    post(client, id=ONE, until=None)
    monkeypatch.setattr("recognition.gallery.store.LEAST_FREE_BYTES", 2**80)
    refused(client.post("/events", json=a_visit()), 503, "disk_full")
    assert post(client, id=ONE, embeddings=[], until=at(1))["until"] == at(1)
    assert ids(client) == [ONE]


def test_whoever_sends_a_visit_does_not_wait_for_all_that_is_old(
    gallery: Gallery, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.gallery.events.ROWS_AT_ONCE", 2)
    client = app_of_angles(gallery).test_client()
    for _ in range(5):
        post(client)
    clock.now += timedelta(days=2)
    shorter = app_of_angles(gallery, EVENTS_EXPIRE_DAYS="1").test_client()
    for left in (4, 3, 3):
        newest = post(shorter)
        assert ok(client.get("/events"))["total"] == left
    assert newest["id"] in ids(shorter)


def test_the_vectors_of_a_frame_are_the_embedders(client: FlaskClient) -> None:
    expected = EmbedderOfAngles().embed(np.full((1, 8, 8, 3), 51, np.uint8), EmbedderOfAngles().model())
    (face,) = ok(client.post("/embeddings", json={"image": text(png(51))}))["faces"]
    np.testing.assert_array_equal(np.float32(face["embedding"]), expected[0])


def test_times_of_an_event_are_those_that_were_sent(client: FlaskClient) -> None:
    event = post(client, since="2026-01-02T05:00:00.25+02:00", until="2026-01-02T03:00:00.75Z")
    assert datetime.fromisoformat(event["until"]) - datetime.fromisoformat(event["since"]) == timedelta(
        seconds=0.5
    )
