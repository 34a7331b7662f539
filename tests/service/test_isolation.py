"""Whoever has a key for one gallery sees, counts and changes nothing of the others, by any call there is.

Two services are asked the same: one with other galleries full of people, one with the same galleries empty.
All answers are equal to the byte, so they tell nothing of what is in the others; and that stays as it was.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from fakes import FACE, ConstantEmbedder, shipped_background
from galleries import FakeClock, database_url
from recognition.app import create_app
from recognition.audit import Audit
from recognition.config import read
from recognition.gallery import Gallery, open_gallery
from recognition.web import routes
from serving import documentation, health, keys
from serving.routes import Route

TABLE = (*routes.ROUTES, *health.ROUTES, *documentation.ROUTES)
OTHERS = ("a", "default")  # galleries that the key for `b` must see nothing of
MARK = "aardvark"  # in all ids, names, texts and metadata of these
# What is another one each time: UUIDs, times, and checksums of these.
OTHERWISE = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    rb"|20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+\+00:00|[0-9a-f]{64}"
)
KEYS = {name: keys.new(name, "admin", name) for name in ("a", "b")} | {"root": keys.new("root", "admin")}
LATER = "2100-01-01T00:00:00+00:00"


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


PICTURE = base64.b64encode(png()).decode()


def upload(**fields: str) -> dict[str, Any]:
    """A form with a picture; made anew for each request, since it is read."""
    return {"data": {"file": (io.BytesIO(png()), "x.png"), **fields}}


@dataclass(frozen=True)
class Side:
    """One of the two services."""

    client: FlaskClient
    gallery: Gallery
    audit: Path

    def call(self, who: str, method: str, path: str, **more: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {KEYS[who][0]}", "X-Request-Id": "r", **more.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, buffered=True, **more)

    def ask(self, who: str, method: str, path: str, **more: Any) -> tuple[int, dict[str, str], bytes]:
        answer = self.call(who, method, path, **more)
        told = {name: value for name, value in answer.headers.items() if name != "Date"}
        return answer.status_code, told, OTHERWISE.sub(b"_", answer.data)

    def ok(self, who: str, method: str, path: str, **more: Any) -> Any:
        answer = self.call(who, method, path, **more)
        assert answer.status_code == 200, answer.data
        return answer.data

    def enrol(self, who: str, path: str, sample_id: str, **more: Any) -> None:
        sample = {"id": sample_id, "image": PICTURE, **more}
        assert json.loads(self.ok(who, "POST", path, json=[sample]))["fail"] == []

    def others(self) -> list[bytes]:
        """All that there is in the others."""
        paths = ("/export", "/events", f"/events/{EVENT}/picture", f"/events/{THEIR_EVENT}/picture")
        filled = [name for name in OTHERS if name in self.filled]
        return [self.ok("root", "GET", f"{path}?gallery={name}") for name in filled for path in paths]

    @property
    def filled(self) -> set[str]:
        listed = json.loads(self.ok("root", "GET", "/galleries"))["galleries"]
        return {each["name"] for each in listed if each["persons"]}


@pytest.fixture(scope="module")
def sides(
    backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Side, Side]]:
    """The service whose other galleries are full, and the one where they are empty."""
    entries = " ".join(key.entry() for _, key in KEYS.values())
    sides = []
    with ExitStack() as stack:
        # What wishes mean, and how many strangers would come as near, is of one gallery alone, too.
        stack.enter_context(shipped_background(tmp_path_factory.mktemp("background"), "fingerprint-1"))
        for full in (True, False):
            folder = tmp_path_factory.mktemp("side")
            url = stack.enter_context(database_url(backend, folder, request))
            audit = folder / "audit"
            gallery = open_gallery(url, lock_timeout_s=5, clock=FakeClock(), audit=Audit(audit))
            stack.callback(gallery.close)
            settings = read({"MIN_QUALITY": "0", "API_KEYS": entries, "AUDIT_LOG": str(audit)})
            app = create_app(
                settings, detector=lambda _: [FACE], embedder=ConstantEmbedder(), gallery=gallery
            )
            side = Side(app.test_client(), gallery, audit)
            for name in ("a", "b"):
                side.ok("root", "POST", "/galleries", json={"name": name})
            if full:
                fill_the_others(side)
            sides.append(side)
        yield sides[0], sides[1]


def fill_the_others(side: Side) -> None:
    for name in OTHERS:
        query = f"?gallery={name}"
        for person_id in ("shared", f"{MARK}-person"):
            about = {"id": person_id, "name": f"{MARK} {person_id}", "metadata": {MARK: 1}}
            side.ok("root", "POST", f"/persons{query}", json=about)
        for number in range(5):
            text = {"metadata": MARK, "action": MARK}
            side.enrol("root", f"/update-samples{query}", f"{MARK}/{number}", name=f"{MARK} {number}", **text)
        side.enrol("root", f"/update-samples{query}", "same", person="shared", metadata=MARK, action=MARK)
        for event_id in (EVENT, THEIR_EVENT):
            side.ok("root", "POST", f"/events{query}", json=visit(event_id, MARK))
        # Two of one name, so that it is ambiguous there, and there alone.
        for person_id in (f"{MARK}-1", f"{MARK}-2"):
            side.ok("root", "POST", f"/persons{query}", json={"id": person_id, "name": "Robin"})


def begin_anew(side: Side) -> None:
    """What the gallery `b` has before each call: as many ids and names of the others' as may be."""
    side.ok("b", "DELETE", "/samples")
    for person_id, name in (("shared", "Kim"), ("own", "Lee"), ("robin", "Robin")):
        side.ok("b", "POST", "/persons", json={"id": person_id, "name": name})
    side.enrol("b", "/update-samples", "same", person="shared")
    side.enrol("b", "/update-samples", "b/1", person="own")
    side.ok("b", "POST", "/events", json=visit(EVENT))


THEIRS = f"{MARK}%2F1"
IMAGE = {"image": PICTURE}
EVENT, THEIR_EVENT = (f"00000000-0000-4000-8000-00000000000{n}" for n in (1, 2))


def visit(event_id: str, camera: str = "door", **more: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "camera": camera,
        "since": "2026-01-01T00:00:00+00:00",
        "frames": 1,
        "bbox": "0, 0, 5, 5",
        "quality": 1,
        "fingerprint": "fingerprint-1",
        "embeddings": [[1, 1, 1, 1]],
        "picture": PICTURE,
        "min_distance": 1.5,
        **more,
    }


EMPTIED = {"name": "Kim", "created": "2026-01-01T00:00:00+00:00", "by_hand": True, "revision": 3}
WRONG_PLACES = ("a", "default", "nowhere")


def sample(sample_id: str, **more: Any) -> dict[str, Any]:
    return {"json": [{"id": sample_id, **IMAGE, **more}]}


# By the name of the route: what is asked of it, with the rest of the path where it has a parameter.
PROBES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "get": [("/", {})],
    "get_static_filename": [("/static/app.js", {})],
    "get_update_samples": [("/update-samples", {})],
    "get_face_recognition": [("/face-recognition", {})],
    "get_ready": [("/ready", {})],
    "post_face_recognition": [
        ("/face-recognition", {"json": {**IMAGE, "include_unknown": True, "top_k": 100, **options}})
        for options in (
            {"per": "name"},
            {"per": "sample"},
            {"max_false_match": 0.5},
            {"max_false_match": 1e-9},
        )
    ],
    "post_draw": [
        ("/draw", {"json": {**IMAGE, "include_unknown": True, **options}})
        for options in ({}, {"max_false_match": 0.5})
    ],
    "post_detect": [("/detect", {"json": IMAGE})],
    "post_embeddings": [("/embeddings", {"json": IMAGE})],
    "post_events": [
        ("/events", {"json": visit(EVENT)}),  # one that there is in each gallery
        ("/events", {"json": visit("00000000-0000-4000-8000-000000000009", max_false_match=0.5)}),
        *(("/events", {"json": visit(each, embeddings=[])}) for each in (EVENT, THEIR_EVENT)),
    ],
    "get_events": [
        ("/events", {}),
        ("/events?limit=1", {}),
        (f"/events?camera={MARK}", {}),
        (f"/events?person={MARK}-person", {}),
        ("/events?person=shared", {}),
    ],
    "get_events_event_id": [(f"/events/{each}", {}) for each in (EVENT, THEIR_EVENT)],
    "get_events_event_id_picture": [(f"/events/{each}/picture", {}) for each in (EVENT, THEIR_EVENT)],
    "delete_events_event_id": [(f"/events/{each}", {}) for each in (EVENT, THEIR_EVENT)],
    "delete_events": [(f"/events?camera={MARK}", {}), ("/events?person=shared", {}), ("/events", {})],
    "post_verify": [("/verify", {"json": {"image1": PICTURE, "image2": PICTURE}})],
    "post_update_samples": [
        ("/update-samples", sample("same", name="Kim")),
        ("/update-samples", sample(f"{MARK}/1", name="Robin")),  # one person's here, two people's there
        ("/update-samples", sample("x", person=f"{MARK}-person")),
    ],
    "get_samples": [
        ("/samples", {}),
        ("/samples?limit=1", {}),
        (f"/samples?after={MARK}/1", {}),
        (f"/samples?person={MARK}-person", {}),
        (f"/samples?name={MARK} 1", {}),
    ],
    "get_samples_count": [("/samples/count", {}), (f"/samples/count?name={MARK} 1", {})],
    "get_samples_sample_id": [("/samples/same", {}), (f"/samples/{THEIRS}", {})],
    "get_samples_sample_id_face": [("/samples/same/face", {}), (f"/samples/{THEIRS}/face", {})],
    "get_doctor": [("/doctor", {}), ("/doctor?limit=1", {})],
    "delete_samples_sample_id": [(f"/samples/{THEIRS}", {}), ("/samples/same", {})],
    "delete_samples": [
        (f"/samples?name={MARK} 1", {}),
        (f"/samples?id={MARK}/1", {}),
        ("/samples", {}),
    ],
    "get_persons": [("/persons", {}), ("/persons?limit=1", {}), (f"/persons?q={MARK}", {})],
    "post_persons": [
        ("/persons", {"json": {"id": f"{MARK}-person", "name": "Kim"}}),
        ("/persons", {"json": {"id": "shared", "name": "Kim"}}),
    ],
    "get_persons_person_id": [("/persons/shared", {}), (f"/persons/{MARK}-person", {})],
    "patch_persons_person_id": [
        (f"/persons/{MARK}-person", {"json": {"name": "Kim"}}),
        ("/persons/shared", {"json": {"name": "Robin", "expires_at": LATER}}),
    ],
    "delete_persons_person_id": [
        (f"/persons/{MARK}-person?receipt=1", {}),
        ("/persons/shared?receipt=1", {}),
    ],
    "post_persons_person_id_merge": [
        (f"/persons/{MARK}-person/merge", {"json": {"into": "own"}}),
        ("/persons/own/merge", {"json": {"into": f"{MARK}-person"}}),
        ("/persons/own/merge", {"json": {"into": "shared"}}),
    ],
    "post_persons_person_id_unmerge": [
        (f"/persons/{MARK}-person/unmerge", {"json": {**EMPTIED, "id": "new"}}),
        ("/persons/own/unmerge", {"json": {**EMPTIED, "id": f"{MARK}-1"}}),
        ("/persons/own/unmerge", {"json": {**EMPTIED, "id": "shared"}}),
    ],
    "get_persons_person_id_export": [
        (f"/persons/{MARK}-person/export", {}),
        ("/persons/shared/export", {}),
    ],
    "post_samples": [
        ("/samples", {"form": {"name": "Robin"}}),
        ("/samples", {"form": {"person": f"{MARK}-1"}}),
    ],
    "post_corrections": [
        ("/corrections", {"form": {"name": "Robin", "wrong_sample": f"{MARK}/1", "then": "remove"}}),
        ("/corrections", {"form": {"name": "Robin", "wrong_sample": f"{MARK}/1", "then": "move"}}),
        ("/corrections", {"form": {"person": f"{MARK}-1"}}),
        (
            "/corrections",
            {"form": {"id": f"{MARK}/1", "name": "Kim", "wrong_sample": "same", "then": "move"}},
        ),
    ],
    "patch_samples_sample_id": [
        (f"/samples/{THEIRS}", {"json": {"name": "Kim"}}),
        ("/samples/same", {"json": {"person": f"{MARK}-person"}}),
        ("/samples/same", {"json": {"name": "Robin"}}),
    ],
    "get_galleries": [("/galleries", {})],
    "post_galleries": [("/galleries", {"json": {"name": name}}) for name in ("a", "new")],
    "delete_galleries_gallery": [(f"/galleries/{name}", {}) for name in ("a", "b", "default", "nowhere")],
    "get_model_change": [("/model-change", {})],
    "post_model_change": [("/model-change", {"json": {"model": "a model"}})],
    "delete_model_change": [("/model-change", {})],
    "get_clear_samples": [("/clear-samples", {})],
    "post_clear_samples": [("/clear-samples", {})],
    "get_export": [("/export", {})],
    "post_import": [("/import", {"theirs": True})],
    "get_health": [("/health", {})],
    "get_metrics": [("/metrics", {})],
    "get_openapi_json": [("/openapi.json", {})],
    "get_docs": [("/docs", {})],
    "get_docs_name": [("/docs/start.js", {})],
}


def test_every_route_is_asked() -> None:
    assert set(PROBES) == {route.name for route in TABLE}


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.name)
def test_a_key_for_one_gallery_sees_and_changes_no_other(
    sides: tuple[Side, Side], route: Route, caplog: pytest.LogCaptureFixture
) -> None:
    full, empty = sides
    caplog.set_level(logging.DEBUG)
    file = full.ok("root", "GET", "/export?gallery=a")
    before = full.others()
    assert len(before) == 8 and empty.filled <= {"b"}
    for side in sides:
        begin_anew(side)
        side.audit.write_bytes(b"")
    for path, asked in PROBES[route.name]:
        for place in (None, *WRONG_PLACES):
            caplog.clear()
            where = path if place is None else f"{path}{'&' if '?' in path else '?'}gallery={place}"
            answers = [side.ask("b", route.method, where, **request_of(asked, file)) for side in sides]
            assert answers[0] == answers[1], (path, place)
            if place and route.scope != keys.OPEN and b"unknown field" not in answers[0][2]:
                assert answers[0][0] == 403
            sent = path + str(asked)
            if MARK not in sent and "theirs" not in asked:
                assert MARK.encode() not in answers[0][2]
                assert not [record for record in caplog.records if MARK in str(vars(record))]
    assert full.others() == before
    for line in full.audit.read_text().splitlines():
        told = json.loads(line)
        assert told.get("gallery") == "b" or told["who"] == "root", told


def request_of(asked: dict[str, Any], file: bytes) -> dict[str, Any]:
    """What a request takes, made anew: files can be read once."""
    request: dict[str, Any] = dict(asked)
    if "form" in request:
        request |= upload(**request.pop("form"))
    if request.pop("theirs", False):
        request |= {"data": file, "headers": {"Content-Type": "application/x-ndjson"}}
    return request


def test_places_in_lists_of_others_lead_nowhere_else(sides: tuple[Side, Side]) -> None:
    full, empty = sides
    for side in sides:
        begin_anew(side)
    for side, who in ((full, "a"), (full, "b"), (empty, "b")):  # so that there is a second page
        side.ok(who, "POST", "/events", json=visit("00000000-0000-4000-8000-000000000007", "gate"))
    for kind in ("samples", "persons", "events"):
        theirs = json.loads(full.ok("a", "GET", f"/{kind}?limit=1"))["next"]
        own = json.loads(full.ok("b", "GET", f"/{kind}?limit=1"))["next"]
        assert own == json.loads(empty.ok("b", "GET", f"/{kind}?limit=1"))["next"]
        for after in (theirs, own):
            answers = [side.ask("b", "GET", f"/{kind}", query_string={"after": after}) for side in sides]
            assert answers[0] == answers[1]
            assert MARK.encode() not in answers[0][2]


def test_nothing_is_left_of_a_gallery_for_one_with_the_same_name(sides: tuple[Side, Side]) -> None:
    """Whose key it is sees the new one; a worker has the old one's vectors in memory."""
    full, _ = sides
    for _ in range(2):
        full.ok("root", "POST", "/galleries", json={"name": "again"})
        path = "/face-recognition?gallery=again"
        assert json.loads(full.ok("root", "POST", path, json=IMAGE)) == []
        full.enrol("root", "/update-samples?gallery=again", "x", name="Kim")
        assert [face["id"] for face in json.loads(full.ok("root", "POST", path, json=IMAGE))] == ["x"]
        full.ok("root", "DELETE", "/galleries/again")
        assert full.ask("root", "POST", path, json=IMAGE)[0] == 404
