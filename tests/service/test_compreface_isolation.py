"""In CompreFace's dialect, too, the key of one service sees and changes nothing of another's, by any call.

As in test_isolation.py, two are asked the same: one beside a service full of people, one beside an empty one.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from galleries import FakeClock, database_url
from recognition.audit import Audit
from recognition.compreface.calls import CALLS
from recognition.compreface.table import Call
from recognition.gallery import Gallery, open_gallery
from squares import KEYS, ONE, Caller, Square, app_of_squares, entry, png, unit, uploaded

OWN, THEIRS = "3e8f0e5a-77aa-4c0b-9d39-08c1f1a3a00b", "3e8f0e5a-77aa-4c0b-9d39-08c1f1a3a00a"
MARK = "aardvark"  # in all names of theirs
SERVICES = " ".join(
    [
        entry("own", "recognition", OWN),
        entry("theirs", "recognition", THEIRS),
        *(entry(kind, kind, KEYS[kind]) for kind in ("detection", "verification")),
    ]
)
# What is another one each time: ids of examples and of requests, and how long work took.
OTHERWISE = re.compile(
    rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|\"execution_time\": ?\{[^}]*\}"
)


@dataclass(frozen=True)
class Side:
    """One of the two, who has a key of its own and knows the other one's ids."""

    caller: Caller
    gallery: Gallery
    audit: Path
    theirs: tuple[str, ...] = ()

    @property
    def them(self) -> Caller:
        return replace(self.caller, key=THEIRS)

    def ask(self, key: str | None, method: str, path: str, **sent: Any) -> tuple[int, dict[str, str], bytes]:
        answer = replace(self.caller, key=key).ask(method, path, headers={"X-Request-Id": "r"}, **sent)
        told = {
            name: value for name, value in answer.headers.items() if name not in ("Date", "Content-Length")
        }
        return answer.status_code, told, OTHERWISE.sub(b"_", answer.data)

    def begin_anew(self) -> str:
        """What the own service has before each call, partly under names of the other one: an example's id."""
        self.caller.ok("DELETE", "/recognition/subjects")
        self.caller.ok("POST", "/recognition/subjects", 201, json={"subject": "Robin"})
        self.caller.add("Kim", Square(200))
        self.audit.write_bytes(b"")
        return self.caller.add("Kim", Square(210))

    def everything_of_theirs(self) -> list[Any]:
        shown = [self.them.ask("GET", f"/recognition/faces/{image_id}/img").data for image_id in self.theirs]
        return [
            self.them.ok("GET", "/recognition/subjects"),
            self.them.ok("GET", "/recognition/faces?size=100&sort=id"),
            *shown,
        ]


@pytest.fixture(scope="module")
def sides(
    backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Side, Side]]:
    with ExitStack() as stack:
        made = []
        for full in (True, False):
            folder = tmp_path_factory.mktemp("side")
            url = stack.enter_context(database_url(backend, folder, request))
            audit = folder / "audit"
            gallery = stack.enter_context(
                closing(open_gallery(url, lock_timeout_s=5, clock=FakeClock(), audit=Audit(audit)))
            )
            app = app_of_squares(gallery, COMPREFACE_SERVICES=SERVICES, AUDIT_LOG=str(audit))
            side = Side(Caller(app.test_client(), OWN), gallery, audit)
            if full:
                names = (f"{MARK} 1", f"{MARK} 2", "Kim", "Robin", "Robin")
                side.them.ok("POST", "/recognition/subjects", 201, json={"subject": f"{MARK} empty"})
                ids = tuple(side.them.add(name, Square(red)) for red, name in enumerate(names, 50))
                side = replace(side, theirs=ids)
            made.append(side)
        yield made[0], replace(made[1], theirs=made[0].theirs)  # who asks for the same ids


FORM, BASE64 = {"file": ONE}, {"json": {"file": base64.b64encode(ONE).decode()}}


def probes(name: str, own: str, theirs: str) -> list[tuple[str, dict[str, Any]]]:
    """What is asked of a call, by its name; own, theirs: the id of an example of each."""
    recognition, pictures = "/recognition", {"form": {"source_image": ONE, "target_image": ONE}}
    vectors = {"json": {"embeddings": [unit(50)]}}
    asked: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "get_config": [("/config", {})],
        "post_recognition_recognize": [
            (f"{recognition}/recognize?prediction_count=100&status=true&face_plugins=calculator", sent)
            for sent in (FORM, BASE64, {"file": png(Square(51), Square(200, 30))})
        ],
        "post_recognition_faces": [
            (f"{recognition}/faces?subject={subject}", FORM) for subject in (f"{MARK} 1", "Robin", "New", "")
        ],
        "get_recognition_faces": [
            (f"{recognition}/faces{query}", {})
            for query in (
                "",
                "?size=1",
                "?page=1&size=1",
                f"?subject={MARK} 1",
                "?subject=Robin",
                "?subject=Kim",
            )
        ],
        "delete_recognition_faces": [
            (f"{recognition}/faces{query}", {}) for query in (f"?subject={MARK} 1", "?subject=Robin", "")
        ],
        "delete_recognition_faces_id": [(f"{recognition}/faces/{each}", {}) for each in (theirs, own)],
        "post_recognition_faces_delete": [(f"{recognition}/faces/delete", {"json": [theirs, own]})],
        "post_recognition_faces_id_verify": [
            (f"{recognition}/faces/{each}/verify", sent) for each in (theirs, own) for sent in (FORM, BASE64)
        ],
        "get_recognition_faces_id_img": [(f"{recognition}/faces/{each}/img", {}) for each in (theirs, own)],
        "get_static_key_images_id": [(f"/static/{OWN}/images/{each}", {}) for each in (theirs, own)],
        "get_recognition_subjects": [(f"{recognition}/subjects", {})],
        "post_recognition_subjects": [
            (f"{recognition}/subjects", {"json": {"subject": subject}})
            for subject in (f"{MARK} 1", "Robin", "x")
        ],
        "delete_recognition_subjects": [(f"{recognition}/subjects", {})],
        "put_recognition_subjects_name": [
            (f"{recognition}/subjects/{subject}", {"json": {"subject": new}})
            for subject, new in (
                (f"{MARK} 1", "x"),
                ("Robin", f"{MARK} 2"),
                ("Kim", f"{MARK} 2"),
                ("Kim", "KIM"),
            )
        ],
        "delete_recognition_subjects_name": [
            (f"{recognition}/subjects/{subject}", {})
            for subject in (f"{MARK} 1", f"{MARK} empty", "Robin", "Kim")
        ],
        "post_recognition_embeddings_recognize": [
            (f"{recognition}/embeddings/recognize?prediction_count=100", vectors)
        ],
        "post_recognition_embeddings_faces_id_verify": [
            (f"{recognition}/embeddings/faces/{each}/verify", vectors) for each in (theirs, own)
        ],
        "post_detection_detect": [
            ("/detection/detect?face_plugins=calculator", sent) for sent in (FORM, BASE64)
        ],
        "post_verification_verify": [("/verification/verify", pictures)],
        "post_verification_embeddings_verify": [
            ("/verification/embeddings/verify", {"json": {"source": unit(1), "targets": [unit(2)]}})
        ],
    }
    return asked[name]


def name_of(call: Call) -> str:
    """A call's method and path, whatever its parameters are called there."""
    path = re.sub(r"(faces|images)/<[^>]*>", r"\1/id", call.path)
    path = re.sub(r"subjects/<[^>]*>", "subjects/name", path)
    path = re.sub(r"static/<[^>]*>", "static/key", path)
    return re.sub(r"\W+", "_", f"{call.method.lower()}{path}").strip("_")


# What no service's key opens and no service's content is in, is of others' tests.
OF_SERVICES = [
    call
    for call in CALLS
    if "/admin" not in "".join(call.prefixes) + call.path
    and "/core" not in "".join(call.prefixes) + call.path
]


def test_nearly_every_call_is_asked() -> None:
    assert len({name_of(call) for call in OF_SERVICES}) == len(OF_SERVICES) >= 20


@pytest.mark.parametrize("call", OF_SERVICES, ids=name_of)
def test_a_key_of_one_service_sees_and_changes_nothing_of_another(
    sides: tuple[Side, Side], call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    full, empty = sides
    caplog.set_level(logging.DEBUG)
    before = full.everything_of_theirs()
    assert MARK in str(before) and empty.them.ok("GET", "/recognition/subjects") == {"subjects": []}
    own = [side.begin_anew() for side in sides]
    keys = [OWN, None, *(KEYS[kind] for kind in ("detection", "verification"))]
    for theirs in full.theirs[:2]:
        asked = [probes(name_of(call), each, theirs) for each in own]
        for (path, sent), (other_path, other_sent) in zip(*asked, strict=True):
            for key in keys:
                caplog.clear()
                answers = [
                    full.ask(key, call.method, path, **made_anew(sent)),
                    empty.ask(key, call.method, other_path, **made_anew(other_sent)),
                ]
                assert answers[0] == answers[1], path
                if MARK not in path + str(sent):
                    assert MARK.encode() not in answers[0][2]
                    assert not [record for record in caplog.records if MARK in str(vars(record))]
    assert full.everything_of_theirs() == before
    for line in full.audit.read_text().splitlines():
        told = json.loads(line)
        assert told.get("gallery") == "own" or told["who"] == "theirs" or not told["ids"], told


def made_anew(sent: dict[str, Any]) -> dict[str, Any]:
    """Files can be read once."""
    if "form" in sent:
        return {"form": {name: uploaded(data) for name, data in sent["form"].items()}}
    return sent
