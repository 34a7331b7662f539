"""People over HTTP: listed, found, made, changed, merged, removed; and samples given to another person."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from colours import app_of, picture
from fakes import ok, refused
from galleries import NOW, FakeClock
from recognition.gallery import Gallery, open_gallery, transfer

FAR = "2100-01-01T00:00:00+00:00"
LATER = (NOW + timedelta(days=1)).isoformat()


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of(gallery).test_client()


def a_body(sample_id: str, colour: int, **more: Any) -> dict[str, Any]:
    return {"id": sample_id, "image": base64.b64encode(picture(colour)).decode("ascii"), **more}


def enrol(client: FlaskClient, *samples: dict[str, Any]) -> Any:
    answer = client.post("/update-samples", json=list(samples))
    assert answer.status_code == 200, answer.json
    return answer.json


def people_of(client: FlaskClient, **query: Any) -> list[tuple[str, int]]:
    page = ok(client.get("/persons", query_string=query))
    return [(person["name"], person["samples"]) for person in page["persons"]]


def person_of(client: FlaskClient, sample_id: str) -> str:
    return str(ok(client.get(f"/samples/{sample_id}"))["person"])


def recognised(client: FlaskClient, colour: int, **options: str) -> Any:
    data = {"file": (io.BytesIO(picture(colour)), "x.png"), **options}
    (face,) = ok(client.post("/face-recognition", data=data))
    return face


def test_enrolment_makes_one_person_of_a_name_and_answers_whose_each_sample_is(client: FlaskClient) -> None:
    answer = enrol(
        client, a_body("1", 1, name="José"), a_body("2", 2, name="JOSE\u0301"), a_body("3", 3, name="Ann")
    )
    people = {sample_id: seen["person"] for sample_id, seen in answer["samples"].items()}
    assert people["1"] == people["2"] != people["3"]
    assert people_of(client) == [("Ann", 1), ("José", 2)]
    face = recognised(client, 2, top_k="5")
    assert (face["id"], face["name"], face["person"]) == ("2", "José", people["1"])
    assert {candidate["person"] for candidate in face["candidates"]} <= set(people.values())
    unknown = recognised(client, 200, include_unknown="true", min_distance="0.001")
    assert (unknown["name"], unknown["person"]) == ("", "")
    samples = ok(client.get("/samples", query_string={"person": people["1"]}))
    assert ([sample["id"] for sample in samples["samples"]], samples["total"]) == (["1", "2"], 2)
    assert ok(client.get("/samples/count", query_string={"person": people["3"]})) == {"count": 1}


def test_a_person_is_made_shown_changed_and_removed(client: FlaskClient, gallery: Gallery) -> None:
    made = ok(
        client.post("/persons", json={"name": " Ann  Lee ", "metadata": {"consent": 1}, "expires_at": LATER})
    )
    assert made == {
        "id": made["id"],
        "name": "Ann Lee",
        "metadata": {"consent": 1},
        "samples": 0,
        "sample": None,
        "created": NOW.isoformat(),
        "modified": NOW.isoformat(),
        "expires_at": LATER,
    }
    path = f"/persons/{made['id']}"
    assert ok(client.get(path)) == made
    enrol(client, a_body("1", 1, name="ann lee"), a_body("2", 2, person=made["id"]))
    changed = ok(client.patch(path, json={"name": "Ann Smith", "expires_at": None}))
    assert changed == made | {"name": "Ann Smith", "samples": 2, "sample": "1", "expires_at": None}
    assert recognised(client, 1)["name"] == "Ann Smith"
    assert gallery.page(limit=1)[0].spelling is None
    assert ok(client.patch(path, json={})) == changed
    assert ok(client.patch(path, json={"metadata": None}))["metadata"] is None
    assert ok(client.delete(path)) == {"success": [made["id"]]}
    assert ok(client.get("/samples/count")) == {"count": 0}
    for call in (client.get, client.delete):
        refused(call(path), 404, "not_found")
    refused(client.patch(path, json={"name": "x"}), 404, "not_found")


@pytest.mark.parametrize("person_id", ["mine", "a/b", "名", " ", "a.b", "count", "'; --"])
def test_a_callers_own_id_can_be_asked_for(client: FlaskClient, person_id: str) -> None:
    path = "/persons/" + "".join(f"%{byte:02X}" for byte in person_id.encode())
    assert ok(client.post("/persons", json={"id": person_id, "name": "Ann"}))["id"] == person_id
    refused(client.post("/persons", json={"id": person_id, "name": "Ben"}), 409, "person_exists")
    assert ok(client.get(path))["name"] == "Ann"
    ok(client.post("/persons", json={"id": "other", "name": "Ben"}))
    assert ok(client.post(f"{path}/merge", json={"into": "other"}))["id"] == "other"


@pytest.mark.parametrize("person_id", ["", ".", "..", "a/merge", "x/export", "a\x00", 7, "a" * 501])
def test_an_id_that_nobody_could_ask_for_is_refused(client: FlaskClient, person_id: object) -> None:
    detail = refused(client.post("/persons", json={"id": person_id, "name": "Ann"}), 400, "invalid_request")
    assert detail.startswith("id: ")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"name": "\u200b"}, "name"),
        ({"expires_at": "yesterday"}, "expires_at"),
        ({"expires_at": (NOW - timedelta(days=1)).isoformat()}, "expires_at"),
        ({"nmae": "Ann"}, "nmae"),
        ({"id": "new"}, "id"),
        ([], "body"),
    ],
)
def test_bad_changes_change_nothing(client: FlaskClient, changes: object, field: str) -> None:
    made = ok(client.post("/persons", json={"id": "ann", "name": "Ann"}))
    detail = refused(client.patch("/persons/ann", json=changes), 400, "invalid_request")
    assert field in detail
    assert ok(client.get("/persons/ann")) == made


def test_people_are_listed_by_name_page_by_page(client: FlaskClient) -> None:
    names = ["Émile", "emil", "Zoe", "ørsted", "Łukasz", "ann", "Ann", "Özil", "名"]
    for number, name in enumerate(names):
        ok(client.post("/persons", json={"id": str(number), "name": name}))
    expected = ["ann", "Ann", "emil", "Émile", "Łukasz", "ørsted", "Özil", "Zoe", "名"]
    assert [name for name, _ in people_of(client)] == expected
    seen: list[str] = []
    after: str | None = None
    while True:
        page = ok(client.get("/persons", query_string={"limit": 2} | ({"after": after} if after else {})))
        assert page["total"] == len(names) - ("5" not in [p["id"] for p in page["persons"]] and len(seen) > 1)
        seen += [person["name"] for person in page["persons"]]
        if len(seen) == 2:
            ok(client.delete("/persons/6"))  # who came last on the page: the next one misses nobody
        if (after := page["next"]) is None:
            break
    assert seen == expected


def opaque(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    "after",
    [
        "x",
        "é",
        opaque(None),
        opaque([]),
        opaque([1, 2]),
        opaque(["a", "b"]),
        opaque(["a", 1, 2]),
        opaque(["a", "b", 1]),
        opaque(["a", "b", "soon"]),
        opaque(["a", "", LATER]),
        opaque(["\x00", "b", LATER]),
        opaque(["\ud800", "b", LATER]),
        "x" * 6001,
    ],
)
def test_a_place_that_is_none_is_refused(client: FlaskClient, after: str) -> None:
    detail = refused(client.get("/persons", query_string={"after": after}), 400, "invalid_request")
    assert detail.startswith("after: ")


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("jose", ["José Álvarez"]),
        ("JOSÉ", ["José Álvarez"]),
        ("se\u0301 alv", ["José Álvarez"]),
        ("alvarez", ["José Álvarez"]),
        ("lukas", ["Łukasz"]),
        ("STRASSE", ["Straße 50%"]),
        ("50%", ["Straße 50%"]),
        ("%", ["Straße 50%"]),
        ("_", ["a_b"]),
        ("'", ["O’Brien"]),
        ("名", ["名前"]),
        ("é", ["José Álvarez", "O’Brien", "Straße 50%"]),
        ("nobody", []),
        ("\u0301", ["a_b", "José Álvarez", "Łukasz", "O’Brien", "Straße 50%", "名前"]),
        ("", ["a_b", "José Álvarez", "Łukasz", "O’Brien", "Straße 50%", "名前"]),
    ],
)
def test_parts_of_names_are_found_whatever_their_case_and_accents(
    client: FlaskClient, q: str, found: list[str]
) -> None:
    for name in ["José Álvarez", "Łukasz", "Straße 50%", "a_b", "O’Brien", "名前"]:
        ok(client.post("/persons", json={"name": name}))
    page = ok(client.get("/persons", query_string={"q": q}))
    assert [person["name"] for person in page["persons"]] == found
    assert (page["total"], page["next"]) == (len(found), None)


def test_of_several_with_one_name_the_person_must_be_told(client: FlaskClient) -> None:
    for person_id in ("one", "two"):
        ok(client.post("/persons", json={"id": person_id, "name": "John Smith"}))
    answer = enrol(
        client,
        a_body("1", 1, name="john smith"),
        a_body("2", 2, name="John Smith", person="two"),
        a_body("3", 3, person="one"),
        a_body("4", 4, person="nobody", name="Ann"),
        a_body("5", 5, name="Ben"),
    )
    assert (answer["success"], answer["fail"]) == (["2", "3", "5"], ["1", "4"])
    assert answer["errors"]["1"]["code"] == "ambiguous_name"
    assert answer["errors"]["1"]["persons"] == ["one", "two"]
    assert "one, two" in answer["errors"]["1"]["detail"]
    assert answer["errors"]["4"]["code"] == "not_found"
    assert [person_of(client, sample_id) for sample_id in "23"] == ["two", "one"]
    assert people_of(client) == [("Ben", 1), ("John Smith", 1), ("John Smith", 1)]
    # Each of the two is a candidate of their own, whatever they are called.
    face = recognised(client, 2, top_k="3", min_distance="20")
    assert {candidate["person"] for candidate in face["candidates"]} >= {"one", "two"}
    detail = refused(client.patch("/samples/5", json={"name": "JOHN SMITH"}), 409, "ambiguous_name")
    assert "one, two" in detail
    assert ok(client.delete("/samples", query_string={"name": "John Smith"}))["deleted"] == 2


@pytest.mark.parametrize("sample", [{}, {"name": None}, {"person": None}, {"person": ""}, {"person": 7}])
def test_a_sample_of_nobody_is_refused(client: FlaskClient, sample: dict[str, Any]) -> None:
    answer = client.post("/update-samples", json=[a_body("1", 1, **sample)])
    assert refused(answer, 400, "invalid_request").startswith("[0].")


def test_a_merge_moves_all_samples_and_removes_the_emptied_one(client: FlaskClient) -> None:
    enrol(
        client, *(a_body(str(number), number, name="Ann") for number in range(3)), a_body("9", 9, name="Anne")
    )
    ann, anne = person_of(client, "0"), person_of(client, "9")
    merged = ok(client.post(f"/persons/{ann}/merge", json={"into": anne}))
    assert (merged["id"], merged["name"], merged["samples"]) == (anne, "Anne", 4)
    refused(client.get(f"/persons/{ann}"), 404, "not_found")
    assert {(sample["id"], sample["person"]) for sample in ok(client.get("/samples"))["samples"]} == {
        (sample_id, anne) for sample_id in "0129"
    }
    assert (recognised(client, 1)["name"], recognised(client, 1)["id"]) == ("Anne", "1")
    refused(client.post(f"/persons/{anne}/merge", json={"into": anne}), 400, "invalid_request")
    refused(client.post(f"/persons/{anne}/merge", json={"into": ann}), 404, "not_found")
    refused(client.post(f"/persons/{ann}/merge", json={"into": anne}), 404, "not_found")
    refused(client.post(f"/persons/{anne}/merge", json={}), 400, "invalid_request")


def test_a_sample_moves_and_whom_it_leaves_goes_unless_made_by_hand(client: FlaskClient) -> None:
    enrol(client, a_body("1", 1, name="Ann"), a_body("2", 2, name="Ben"))
    ok(client.post("/persons", json={"id": "eve", "name": "Eve"}))
    moved = ok(client.patch("/samples/1", json={"person": "eve"}))
    assert (moved["person"], moved["name"]) == ("eve", "Eve")
    assert people_of(client) == [("Ben", 1), ("Eve", 1)]
    assert ok(client.patch("/samples/1", json={"name": "ben"}))["name"] == "Ben"
    assert people_of(client) == [("Ben", 2), ("Eve", 0)]
    assert ok(client.patch("/samples/2", json={"name": "Nobody yet"}))["name"] == "Nobody yet"
    assert people_of(client) == [("Ben", 1), ("Eve", 0), ("Nobody yet", 1)]
    assert recognised(client, 1)["name"] == "Ben"


def test_a_sample_is_changed_without_a_picture(client: FlaskClient, clock: FakeClock) -> None:
    enrol(client, a_body("1", 1, name="Ann", metadata=1, action="open"))
    before = ok(client.get("/samples/1"))
    clock.now += timedelta(hours=1)
    changed = ok(
        client.patch("/samples/1", json={"metadata": {"a": [1]}, "action": None, "expires_at": LATER})
    )
    assert changed == before | {
        "metadata": {"a": [1]},
        "action": None,
        "expires_at": LATER,
        "modified": clock.now.isoformat(),
    }
    assert recognised(client, 1)["metadata"] == {"a": [1]}
    for sent in (
        {"person": "x", "name": "y"},
        {"person": None},
        {"id": "2"},
        {"expires_at": NOW.isoformat()},
    ):
        refused(client.patch("/samples/1", json=sent), 400, "invalid_request")
    refused(client.patch("/samples/1", json={"person": "x"}), 404, "not_found")
    refused(client.patch("/samples/2", json={}), 404, "not_found")
    assert ok(client.get("/samples/1")) == changed
    clock.now += timedelta(days=1)
    refused(client.patch("/samples/1", json={}), 404, "not_found")


def test_pictures_are_uploaded(client: FlaskClient) -> None:
    files = [(io.BytesIO(picture(colour)), f"{colour}.png") for colour in (1, 255, 2)]
    data = {"file": files, "name": "Ann", "metadata": '{"from": "door"}', "expires_at": FAR}
    answer = ok(client.post("/samples", data=data))
    assert (len(answer["success"]), len(answer["fail"])) == (2, 1)
    assert [answer["samples"][sample_id]["file"] for sample_id in answer["success"]] == ["1.png", "2.png"]
    (fault,) = answer["errors"].values()
    assert (fault["code"], fault["file"]) == ("no_face", "255.png")
    assert people_of(client) == [("Ann", 2)]
    sample = ok(client.get(f"/samples/{answer['success'][0]}"))
    assert (sample["metadata"], sample["expires_at"]) == ({"from": "door"}, FAR)
    person = {"file": (io.BytesIO(picture(3)), "3.png"), "person": sample["person"]}
    assert len(ok(client.post("/samples", data=person))["success"]) == 1
    assert people_of(client) == [("Ann", 3)]


@pytest.mark.parametrize(
    ("face", "enrolled"),
    [("largest", 1), ("only", 1), ('{"x": 2, "y": 2}', 1), ('{"x": 19, "y": 19}', 0)],
)
def test_which_face_of_an_upload_is_meant(client: FlaskClient, face: str, enrolled: int) -> None:
    data = {"file": (io.BytesIO(picture(1)), "1.png"), "name": "Ann", "face": face, "small_faces": "1"}
    assert len(ok(client.post("/samples", data=data))["success"]) == enrolled


@pytest.mark.parametrize(
    ("form", "detail"),
    [
        ({}, "name, person"),
        ({"name": "Ann", "person": "x"}, "name, person"),
        ({"name": " "}, "name"),
        ({"name": "Ann", "metadata": "{"}, "metadata"),
        ({"name": "Ann", "metadata": "[" * 500}, "metadata"),
        ({"name": "Ann", "nane": "Ann"}, "nane"),
        ({"name": "Ann", "face": "smallest"}, "face"),
        ({"name": "Ann", "face": '{"x": 1}'}, "face"),
        ({"name": "Ann", "face": "{"}, "face"),
        ({"name": "Ann", "file": None}, "file"),
    ],
)
def test_bad_uploads_are_refused(client: FlaskClient, form: dict[str, Any], detail: str) -> None:
    data = {"file": (io.BytesIO(picture(1)), "1.png")} | form
    sent = {name: value for name, value in data.items() if value is not None}
    answer = client.post("/samples", data=sent, content_type="multipart/form-data")
    assert detail in refused(answer, 400, "invalid_request")
    assert ok(client.get("/samples/count")) == {"count": 0}


DELETIONS: dict[str, Callable[[FlaskClient], TestResponse]] = {
    "by name": lambda client: client.delete("/samples", query_string={"name": "ann"}),
    "one by one": lambda client: client.delete("/samples/1"),
    "replaced": lambda client: client.post("/update-samples", json=[a_body("1", 1, name="Ben")]),
}


@pytest.mark.parametrize("how", DELETIONS)
def test_who_was_enrolled_goes_with_the_last_sample_and_who_was_made_stays(
    client: FlaskClient, how: str
) -> None:
    enrol(client, a_body("1", 1, name="Ann"))
    ok(DELETIONS[how](client))
    assert "Ann" not in dict(people_of(client))
    ok(client.post("/persons", json={"name": "Ann"}))
    enrol(client, a_body("1", 1, name="Ann"))
    ok(DELETIONS[how](client))
    assert dict(people_of(client))["Ann"] == 0
    ok(client.delete("/samples"))
    assert people_of(client) == []


def test_a_person_expires_with_all_samples(client: FlaskClient, clock: FakeClock, gallery: Gallery) -> None:
    enrol(client, a_body("1", 1, name="Ann"), a_body("2", 2, name="Ben"))
    ann = person_of(client, "1")
    ok(client.patch(f"/persons/{ann}", json={"expires_at": LATER}))
    ok(client.post("/persons", json={"id": "eve", "name": "Eve", "expires_at": LATER}))
    assert recognised(client, 1)["name"] == "Ann"
    clock.now += timedelta(days=1)
    assert recognised(client, 1, min_distance="20")["name"] == "Ben"
    assert people_of(client) == [("Ben", 1)]
    for path in (f"/persons/{ann}", "/persons/eve", "/samples/1"):
        refused(client.get(path), 404, "not_found")
    assert ok(client.get("/samples/count")) == {"count": 1}
    exported = b"".join(transfer.export(gallery)).splitlines()
    assert len(exported) == 4
    gallery.remove_expired()
    assert people_of(client) == [("Ben", 1)]
    assert list(transfer.faults(gallery)) == []


def test_the_receipt_says_what_was_erased(client: FlaskClient, clock: FakeClock, url: str) -> None:
    enrol(client, a_body("1", 1, name="Ann"), a_body("2", 2, name="Ann"), a_body("3", 3, name="Ben"))
    ann = person_of(client, "1")
    receipt = ok(client.delete(f"/persons/{ann}", query_string={"receipt": "1"}))["receipt"]
    assert (receipt["person"], receipt["samples"]) == (ann, ["1", "2"])
    assert receipt["erased_at"] == NOW.isoformat()
    assert receipt["database"] == url.partition(":")[0].partition("+")[0]
    assert "Ann" not in json.dumps(receipt)


def test_one_persons_data_is_a_file_that_can_be_imported(client: FlaskClient, gallery: Gallery) -> None:
    enrol(client, a_body("1", 1, name="Ann"), a_body("2", 2, name="Ben"), a_body("3", 3, name="ANN"))
    ann = person_of(client, "1")
    ok(client.patch(f"/persons/{ann}", json={"metadata": {"consent": 1}}))
    answer = client.get(f"/persons/{ann}/export")
    assert (answer.status_code, answer.mimetype) == (200, "application/x-ndjson")
    lines = [json.loads(line) for line in answer.data.splitlines()]
    assert [line.get("id") for line in lines[1:3]] == ["1", "3"]
    assert (lines[3]["person"], lines[3]["metadata"]) == (ann, {"consent": 1})
    assert (lines[4]["samples"], lines[4]["persons"]) == (2, 1)
    before = [ok(client.get(path)) for path in (f"/persons/{ann}", "/samples/1", "/samples/3")]
    ok(client.delete(f"/persons/{ann}"))
    back = client.post("/import", data=answer.data, content_type="application/x-ndjson")
    assert ok(back) == {"imported": 2, "unchanged": 0}
    assert [ok(client.get(path)) for path in (f"/persons/{ann}", "/samples/1", "/samples/3")] == before
    refused(client.get("/persons/nobody/export"), 404, "not_found")


def test_who_has_no_samples_is_exported_too(client: FlaskClient) -> None:
    made = ok(client.post("/persons", json={"id": "ann", "name": "Ann", "metadata": [1]}))
    for path in ("/export", "/persons/ann/export"):
        data = client.get(path).data
        ok(client.delete("/samples"))
        assert people_of(client) == []
        assert ok(client.post("/import", data=data, content_type="application/x-ndjson"))["imported"] == 0
        assert ok(client.get("/persons/ann")) == made


def test_an_import_tells_people_by_their_ids(client: FlaskClient) -> None:
    for person_id in ("one", "two"):
        ok(client.post("/persons", json={"id": person_id, "name": "John Smith"}))
    enrol(client, a_body("1", 1, person="one"), a_body("2", 2, person="two"))
    data = client.get("/export").data
    ok(client.delete("/samples"))
    assert ok(client.post("/import", data=data, content_type="application/x-ndjson"))["imported"] == 2
    assert [person_of(client, sample_id) for sample_id in "12"] == ["one", "two"]
    assert client.get("/export").data == data
