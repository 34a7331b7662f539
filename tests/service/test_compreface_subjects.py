"""Subjects and their examples in CompreFace's dialect, on both databases."""

from __future__ import annotations

import base64
import io
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from galleries import database_url
from recognition.gallery import Gallery, open_gallery
from squares import ONE, RECOGNITION, SERVICES, UNKNOWN, Caller, Square, app_of_squares, entry, png

FACES, SUBJECTS, RECOGNISE = "/recognition/faces", "/recognition/subjects", "/recognition/recognize"
OTHER = "3e8f0e5a-77aa-4c0b-9d39-08c1f1a3a004"  # of a second recognition service
NOBODY = "00000000-0000-4000-8000-000000000000"
ODD = [
    "José María",
    "Jose\u0301",
    "Ω 李小龍 🦊",
    "a/b",
    "a;b",
    "a\\b",
    "..",
    "50% off",
    "a+b&c=d?e#f",
    'O\'Neil "Q"',
    "200 letters " + 188 * "x",
    "null",
    "0",
]


@pytest.fixture(scope="module")
def service(
    backend: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[tuple[Caller, Gallery]]:
    with database_url(backend, tmp_path_factory.mktemp("subjects"), request) as url:
        gallery = open_gallery(url, lock_timeout_s=5)
        services = f"{SERVICES} {entry('other', 'recognition', OTHER)}"
        app = app_of_squares(gallery, COMPREFACE_SERVICES=services)
        yield Caller(app.test_client()), gallery
        gallery.close()


@pytest.fixture
def caller(service: tuple[Caller, Gallery]) -> Caller:
    """A recognition service without subjects, as its other one is."""
    for key in (RECOGNITION, OTHER):
        Caller(service[0].client, key).ok("DELETE", SUBJECTS)
    return service[0]


def subjects(caller: Caller) -> list[str]:
    answer = caller.ok("GET", SUBJECTS)
    assert set(answer) == {"subjects"}
    return sorted(answer["subjects"])


def faces(caller: Caller, **query: Any) -> list[tuple[str, str]]:
    answer = caller.ok("GET", FACES, query_string={"size": 1000, **query})
    assert [set(face) for face in answer["faces"]] == len(answer["faces"]) * [{"image_id", "subject"}]
    return [(face["image_id"], face["subject"]) for face in answer["faces"]]


def recognised(caller: Caller, red: int = 50, count: int = 1) -> list[str]:
    answer = caller.ok("POST", RECOGNISE, file=png(Square(red)), query_string={"prediction_count": count})
    return [found["subject"] for found in answer["result"][0]["subjects"]]


# --- subjects


def test_subjects_are_made_listed_and_deleted(caller: Caller) -> None:
    assert subjects(caller) == []
    assert caller.ok("POST", SUBJECTS, 201, json={"subject": "Ann"}) == {"subject": "Ann"}
    assert caller.ok("POST", SUBJECTS, 201, json={"subject": "Bob", "x": 1}) == {"subject": "Bob"}
    assert subjects(caller) == ["Ann", "Bob"]
    assert faces(caller) == []
    assert caller.ok("DELETE", f"{SUBJECTS}/Ann") == {"subject": "Ann"}
    assert subjects(caller) == ["Bob"]
    caller.add("Cid")
    assert caller.ok("DELETE", SUBJECTS) == {"deleted": 2}
    assert subjects(caller) == [] and faces(caller) == []
    assert caller.ok("DELETE", SUBJECTS) == {"deleted": 0}


def test_deleting_a_subject_deletes_its_examples(caller: Caller) -> None:
    caller.add("Ann", Square(50))
    caller.add("Bob", Square(200))
    assert recognised(caller, 50) == ["Ann"]
    assert caller.ok("DELETE", f"{SUBJECTS}/ann") == {"subject": "Ann"}
    assert recognised(caller, 50) == ["Bob"]
    assert [name for _, name in faces(caller)] == ["Bob"]


def test_fifty_characters_are_enough_for_a_new_subject(caller: Caller) -> None:
    for name in (50 * "x", 50 * "ä"):
        assert caller.ok("POST", SUBJECTS, 201, json={"subject": name}) == {"subject": name}


def test_names_are_the_same_in_any_case(caller: Caller) -> None:
    first = caller.add("Ann")
    added = caller.ok("POST", FACES, 201, file=png(Square(60)), query_string={"subject": "ANN"})
    assert added["subject"] == "ANN"  # as sent
    assert subjects(caller) == ["Ann"]
    assert caller.ask("POST", SUBJECTS, json={"subject": "aNN"}).json["code"] == 43  # type: ignore[index]
    assert sorted(faces(caller)) == sorted([(first, "Ann"), (added["image_id"], "Ann")])
    # but not where examples are listed
    assert len(faces(caller, subject="Ann")) == 2
    assert faces(caller, subject="ANN") == faces(caller, subject="ann") == []
    assert caller.ok("DELETE", FACES, query_string={"subject": "aNn"}) == {"deleted": 2}


def test_a_renamed_subject_keeps_its_examples(caller: Caller) -> None:
    ids = {caller.add("Ann", Square(50)), caller.add("Ann", Square(60))}
    assert caller.ok("PUT", f"{SUBJECTS}/ANN", json={"subject": "Eve"}) == {"updated": True}
    assert subjects(caller) == ["Eve"]
    assert {image_id for image_id, name in faces(caller) if name == "Eve"} == ids
    assert recognised(caller, 50) == ["Eve"]


def test_renaming_to_the_identical_name_updates_nothing_and_to_other_letters_does(caller: Caller) -> None:
    caller.add("Ann")
    assert caller.ok("PUT", f"{SUBJECTS}/Ann", json={"subject": "Ann"}) == {"updated": False}
    assert subjects(caller) == ["Ann"]
    assert caller.ok("PUT", f"{SUBJECTS}/Ann", json={"subject": "ANN"}) == {"updated": True}
    assert subjects(caller) == ["ANN"]


def test_renaming_onto_another_subject_merges_them(caller: Caller) -> None:
    moved, stayed = caller.add("Ann", Square(50)), caller.add("Bob", Square(90))
    assert caller.ok("PUT", f"{SUBJECTS}/Ann", json={"subject": "BOB"}) == {"updated": True}
    assert subjects(caller) == ["Bob"]
    assert sorted(faces(caller)) == sorted([(moved, "Bob"), (stayed, "Bob")])
    assert recognised(caller, 50, 2) == ["Bob", "Bob"]
    for name in ("Eve", "Fay"):  # neither has examples
        caller.ok("POST", SUBJECTS, 201, json={"subject": name})
    assert caller.ok("PUT", f"{SUBJECTS}/Eve", json={"subject": "Fay"}) == {"updated": True}
    assert subjects(caller) == ["Bob", "Fay"]


def test_a_refused_name_renames_nothing(caller: Caller) -> None:
    caller.add("Ann")
    for name in (" ", 51 * "x", "a/b"):
        assert caller.ask("PUT", f"{SUBJECTS}/Ann", json={"subject": name}).status_code == 400
    assert subjects(caller) == ["Ann"]


@pytest.mark.parametrize("name", ODD)
def test_examples_may_have_odd_names(caller: Caller, name: str) -> None:
    """Whatever a subject is called, it can be found, shown and deleted under its name."""
    image_id = caller.add(name)
    ((found, shown),) = faces(caller)
    assert found == image_id
    assert subjects(caller) == [shown] == recognised(caller)
    assert faces(caller, subject=shown) == [(image_id, shown)]
    assert caller.ok("DELETE", FACES, query_string={"subject": name}) == {"deleted": 1}
    assert subjects(caller) == []
    caller.add(name)
    answer = caller.ok("PUT", f"{SUBJECTS}/{quote(name, safe='')}", json={"subject": "Plain"})
    assert answer == {"updated": True}
    assert subjects(caller) == ["Plain"]


def test_a_name_as_no_utf_8_is_no_crash(caller: Caller) -> None:
    for name in ("%E9", "%FF%FE", "%ED%A0%80", "%00", "%F0%9F"):
        answer = caller.ask("POST", f"{FACES}?subject={name}", file=ONE)
        assert answer.status_code in (201, 400)
        assert set(answer.json or {}) in ({"image_id", "subject"}, {"message", "code"}, set())


def test_a_plus_is_a_space_in_a_query(caller: Caller) -> None:
    assert caller.ok("POST", f"{FACES}?subject=Ann+Lee", 201, file=ONE)["subject"] == "Ann Lee"
    assert subjects(caller) == ["Ann Lee"]


def test_the_subject_may_be_a_field_of_the_form(caller: Caller) -> None:
    assert caller.ok("POST", FACES, 201, file=ONE, form={"subject": "Zoë"})["subject"] == "Zoë"
    assert subjects(caller) == ["Zoë"]


# --- examples


def test_an_example_is_added_from_base64_too(caller: Caller) -> None:
    sent = {"file": base64.b64encode(ONE).decode()}
    added = caller.ok("POST", FACES, 201, json=sent, query_string={"subject": "Ann"})
    assert set(added) == {"image_id", "subject"}
    assert str(uuid.UUID(added["image_id"])) == added["image_id"]
    assert faces(caller) == [(added["image_id"], "Ann")]


def test_of_faces_that_are_not_sure_enough_none_is_in_the_way(caller: Caller) -> None:
    squares = (Square(50, 60), Square(90, 40, confidence=0.7))
    caller.add("Ann", *squares)
    refused = caller.ask("POST", f"{FACES}?subject=Ann&det_prob_threshold=0.6", file=png(*squares))
    assert refused.json["code"] == 31  # type: ignore[index]
    assert len(faces(caller)) == 1


def test_the_same_picture_again_is_another_example(caller: Caller) -> None:
    assert caller.add("Ann") != caller.add("Ann") != caller.add("Bob")
    assert sorted(name for _, name in faces(caller)) == ["Ann", "Ann", "Bob"]


def test_a_refused_example_leaves_no_subject(caller: Caller) -> None:
    assert caller.ask("POST", f"{FACES}?subject=Ann", file=png()).status_code == 400
    assert subjects(caller) == []


def test_pages_have_every_example_once_and_its_place(caller: Caller) -> None:
    empty = {"faces": [], "page_number": 0, "page_size": 20, "total_pages": 0, "total_elements": 0}
    assert caller.ok("GET", FACES) == empty
    ids = [caller.add(name, Square(red)) for red, name in enumerate(5 * ["Ann"] + 2 * ["Bob"])]
    for size in (1, 2, 3, 7, 8):
        pages = -(-len(ids) // size)
        seen = []
        for number in range(pages + 2):
            query = {"page": number, "size": size, "sort": "id"}
            page = caller.ok("GET", FACES, query_string=query)
            seen += [face["image_id"] for face in page.pop("faces")]
            place = {"page_number": number, "page_size": size}
            assert page == place | {"total_pages": pages, "total_elements": 7}
        assert sorted(seen) == sorted(ids)
    page = caller.ok("GET", FACES, query_string={"subject": "Bob", "size": 1})
    assert (page["total_pages"], page["total_elements"], len(page["faces"])) == (2, 2, 1)
    page = caller.ok("GET", FACES, query_string={"page": "", "size": ""})
    assert (page["page_number"], page["page_size"], len(page["faces"])) == (0, 20, 7)
    unknown = caller.ok("GET", FACES, query_string={"subject": "Nobody"})
    assert unknown == empty


def test_far_pages_and_large_ones_are_no_crash(caller: Caller) -> None:
    caller.add("Ann")
    for query in (
        "page=999999999",
        "page=-1",
        "size=0",
        "size=-5",
        "size=999999999",
        "page=x",
        "page=9" + 30 * "9",
    ):
        answer = caller.ask("GET", f"{FACES}?{query}")
        assert answer.status_code in (200, 400), query


def test_an_example_is_deleted_by_its_id_and_its_subject_stays(caller: Caller) -> None:
    first, second = caller.add("Ann", Square(50)), caller.add("Ann", Square(60))
    assert caller.ok("DELETE", f"{FACES}/{first}") == {"image_id": first, "subject": "Ann"}
    assert faces(caller) == [(second, "Ann")]
    assert caller.ask("DELETE", f"{FACES}/{first}").json["code"] == 44  # type: ignore[index]
    assert caller.ok("DELETE", f"{FACES}/{second.upper()}")["subject"] == "Ann"
    assert faces(caller) == [] and subjects(caller) == ["Ann"]
    assert recognised(caller) == []
    third = caller.add("Ann")
    assert faces(caller) == [(third, "Ann")]


def test_several_examples_are_deleted_and_unknown_ones_passed_over(caller: Caller) -> None:
    ids = [caller.add(name, Square(50 + red)) for red, name in enumerate(("Ann", "Ann", "Bob"))]
    wanted = [ids[2], NOBODY, ids[0], ids[0]]
    deleted = caller.ok("POST", f"{FACES}/delete", json=wanted)
    assert deleted == [{"image_id": ids[2], "subject": "Bob"}, {"image_id": ids[0], "subject": "Ann"}]
    assert faces(caller) == [(ids[1], "Ann")]
    assert subjects(caller) == ["Ann", "Bob"]
    assert caller.ok("POST", f"{FACES}/delete", json=[NOBODY]) == []
    assert caller.ok("POST", f"{FACES}/delete", json=[]) == []


def test_deleting_all_examples_of_a_subject_deletes_the_subject(caller: Caller) -> None:
    for name in ("Ann", "Ann", "Bob"):
        caller.add(name)
    caller.ok("POST", SUBJECTS, 201, json={"subject": "Cid"})
    assert caller.ok("DELETE", FACES, query_string={"subject": "Nobody"}) == {"deleted": 0}
    assert caller.ok("DELETE", FACES, query_string={"subject": "ann"}) == {"deleted": 2}
    assert subjects(caller) == ["Bob", "Cid"]
    assert caller.ok("DELETE", FACES, query_string={"subject": "Cid"}) == {"deleted": 0}
    assert subjects(caller) == ["Bob"]


def test_deleting_the_examples_of_a_blank_subject_does_not_delete_all(caller: Caller) -> None:
    """A script whose variable is empty does not mean everybody."""
    caller.add("Ann")
    for blank in ("", "%20"):
        answer = caller.ask("DELETE", f"{FACES}?subject={blank}")
        assert answer.json == {"message": "Subject name is empty; ", "code": 26}
    assert len(faces(caller)) == 1
    assert caller.ok("DELETE", FACES) == {"deleted": 1}
    assert subjects(caller) == []


# --- pictures of examples


def test_the_face_of_an_example_is_shown_with_a_key_in_its_header_or_path(caller: Caller) -> None:
    image_id = caller.add("Ann", Square(50, 200), Square(confidence=0.1))
    keyless = Caller(caller.client, None)
    paths = (f"{FACES}/{image_id}/img", f"/static/{RECOGNITION}/images/{image_id}")
    shown = [caller.ask("GET", paths[0]), keyless.ask("GET", paths[1])]
    assert shown[0].data == shown[1].data
    for answer in shown:
        assert answer.status_code == 200
        with Image.open(io.BytesIO(answer.data)) as face:
            assert face.format == "JPEG" and max(face.size) <= 256


def test_a_picture_that_is_not_there_is_empty(caller: Caller) -> None:
    image_id = caller.add("Ann")
    keyless = Caller(caller.client, None)
    for shown in (
        caller.ask("GET", f"{FACES}/{NOBODY}/img"),
        Caller(caller.client, OTHER).ask("GET", f"{FACES}/{image_id}/img"),
        keyless.ask("GET", f"/static/{RECOGNITION}/images/{NOBODY}"),
        keyless.ask("GET", f"/static/{OTHER}/images/{image_id}"),
        keyless.ask("GET", f"/static/{UNKNOWN}/images/{image_id}"),
    ):
        assert (shown.status_code, shown.data) == (200, b"")


# --- beside the native service


def test_what_is_added_here_is_seen_there_and_the_other_way_round(service: tuple[Caller, Gallery]) -> None:
    caller, _ = service
    caller.ok("DELETE", SUBJECTS)
    image_id = caller.add("Ann", Square(50))
    query = {"gallery": "recognition"}
    (sample,) = caller.client.get("/samples", query_string=query).json["samples"]  # type: ignore[index]
    assert (sample["id"], sample["name"]) == (image_id, "Ann")
    own = str(uuid.uuid4())
    body = [{"id": own, "name": "Bob", "image": base64.b64encode(png(Square(200))).decode()}]
    enrolled = caller.client.post("/update-samples", query_string=query, json=body)
    assert json.loads(enrolled.data)["success"] == [own]
    assert sorted(faces(caller)) == sorted([(image_id, "Ann"), (own, "Bob")])
    assert recognised(caller, 200) == ["Bob"]
    assert caller.client.get("/samples").json["samples"] == []  # type: ignore[index]


def test_examples_whose_ids_are_no_uuids_are_listed_and_deleted_like_others(
    service: tuple[Caller, Gallery],
) -> None:
    """Enrolled natively, under ids of the caller's own."""
    caller, _ = service
    caller.ok("DELETE", SUBJECTS)
    body = [{"id": "door/1", "name": "Bob", "image": base64.b64encode(ONE).decode()}]
    caller.client.post("/update-samples?gallery=recognition", json=body)
    assert recognised(caller) == ["Bob"]
    assert subjects(caller) == ["Bob"]
    assert caller.ok("GET", FACES)["total_elements"] == 1
    assert caller.ok("DELETE", FACES, query_string={"subject": "Bob"}) == {"deleted": 1}


def test_two_people_of_one_name_are_one_subject(service: tuple[Caller, Gallery]) -> None:
    """The native service may have them."""
    caller, _ = service
    caller.ok("DELETE", SUBJECTS)
    for person in ("p1", "p2"):
        made = caller.client.post("/persons?gallery=recognition", json={"id": person, "name": "Robin"})
        assert made.status_code == 200
        body = [{"id": str(uuid.uuid4()), "person": person, "image": base64.b64encode(ONE).decode()}]
        assert caller.client.post("/update-samples?gallery=recognition", json=body).json["fail"] == []  # type: ignore[index]
    assert subjects(caller) == ["Robin"]
    answer = caller.ask("POST", f"{FACES}?subject=Robin", file=ONE)
    assert answer.status_code == 201, answer.data
    assert caller.ok("DELETE", FACES, query_string={"subject": "Robin"}) == {"deleted": 3}
    assert subjects(caller) == []


# --- quality


def test_a_poor_example_is_refused_with_a_reason_and_a_poor_probe_has_its_nearest(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with database_url(backend, tmp_path, request) as url:
        gallery = open_gallery(url, lock_timeout_s=5)
        try:
            taking_all = Caller(app_of_squares(gallery).test_client())
            taking_all.add("Ann")
            caller = Caller(app_of_squares(gallery, MIN_QUALITY="0.25").test_client())
            answer = caller.ask("POST", f"{FACES}?subject=Bob", file=ONE)
            assert answer.status_code == 400
            assert set(answer.json or {}) == {"message", "code"}
            assert answer.json["code"] == 28  # type: ignore[index]
            assert answer.json["message"] != "No face is found in the given image"  # type: ignore[index]
            assert recognised(caller) == ["Ann"]
            assert subjects(caller) == ["Ann"]
        finally:
            gallery.close()
