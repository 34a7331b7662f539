"""Faces that are like nobody's: kept where that is wanted, grouped, named, merged, ignored and forgotten."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from PIL import Image

from fakes import ok, refused
from galleries import FakeClock, enrol, vectors_of
from recognition.audit import Audit
from recognition.gallery import (
    Gallery,
    erasures,
    faces,
    galleries,
    keep_up,
    open_gallery,
    people,
    replay,
    unknown_keeping,
    unknown_rows,
    unknowns,
)
from recognition.gallery.database import transaction
from recognition.gallery.tables import unknown_faces
from recognition.gallery.tables import unknowns as unknowns_table
from recognition.strangers import Seen
from serving.errors import NotFound
from strangers import (
    FINGERPRINT,
    LATER,
    MONTH,
    SCALE,
    WIDE,
    act,
    alike,
    client_of,
    keep,
    listed,
    picture,
    recognise,
    rows_there,
    seen,
    upkeep,
)

ANN, BEA, CID = 0, 120, 250  # greys of three people


@pytest.fixture
def audit(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


@pytest.fixture
def gallery(url: str, clock: FakeClock, audit: Path) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock, audit=Audit(audit))
    yield gallery
    gallery.close()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return client_of(gallery)


def lines(audit: Path, what: str) -> list[Any]:
    told = map(json.loads, audit.read_text().splitlines())
    return [line for line in told if line["what"] == what and line["outcome"] == "done"]


def test_nothing_is_kept_unless_it_is_wanted_and_nothing_is_asked_for_it(gallery: Gallery) -> None:
    client = client_of(gallery, KEEP_UNKNOWN="0")
    statements: list[str] = []
    sa.event.listen(gallery.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    recognise(client, ANN)
    assert statements and not any("unknown" in each.replace("unknowns_revision", "") for each in statements)
    assert rows_there(gallery) == (0, 0)
    assert ok(client.get("/unknowns")) == {"unknowns": [], "total": 0, "next": None, "keeping": False}


def test_the_answer_is_the_same_to_the_byte(gallery: Gallery, client: FlaskClient) -> None:
    answers = []
    for each in (client, client_of(gallery, KEEP_UNKNOWN="0")):
        data = {"file": (io.BytesIO(picture(ANN)), "x.png"), "include_unknown": "true"}
        answers.append(each.post("/face-recognition", data=data).data)
    assert answers[0] == answers[1]


def test_they_are_grouped_and_those_seen_most_come_first(client: FlaskClient) -> None:
    for mark, grey in enumerate([ANN, BEA, BEA + 9, CID, BEA - 9, ANN + 9]):
        recognise(client, grey, mark)
    groups = listed(client)
    assert [each["faces"] for each in groups] == [3, 2, 1]
    assert len({each["id"] for each in groups}) == 3
    shown = ok(client.get(f"/unknowns/{groups[0]['id']}"))
    assert {face["picture"] for face in shown["seen"]} == {True}
    assert [face["id"] for face in shown["seen"]] == groups[0]["best"]
    face = client.get(f"/unknowns/{groups[0]['id']}/faces/{groups[0]['best'][0]}")
    assert (face.status_code, face.mimetype) == (200, "image/jpeg")
    assert "no-store" in face.headers["Cache-Control"]
    assert abs(Image.open(io.BytesIO(face.data)).getpixel((0, 0))[0] - BEA) < 15  # type: ignore[index]
    first, rest = (ok(client.get(f"/unknowns?limit={n}")) for n in (1, 3))
    assert (first["total"], rest["next"]) == (3, None)
    assert (
        ok(client.get("/unknowns", query_string={"limit": 9, "after": first["next"]}))["unknowns"]
        == groups[1:]
    )


def test_drawing_keeps_them_too_and_detecting_does_not(gallery: Gallery, client: FlaskClient) -> None:
    client.post("/detect", data={"file": (io.BytesIO(picture(ANN)), "x.png")})
    assert rows_there(gallery) == (0, 0)
    client.post("/draw", data={"file": (io.BytesIO(picture(ANN)), "x.png")})
    assert rows_there(gallery) == (1, 1)


def test_the_same_picture_again_adds_nothing(gallery: Gallery, client: FlaskClient) -> None:
    for _ in range(3):
        recognise(client, ANN)
    assert rows_there(gallery) == (1, 1)
    before = listed(client)
    recognise(client_of(gallery), ANN)
    assert listed(client) == before


def test_known_and_poor_faces_are_not_kept(gallery: Gallery, client: FlaskClient) -> None:
    data = {"file": (io.BytesIO(picture(ANN)), "x.png"), "name": "Ann"}
    ok(client.post("/samples", data=data))
    recognise(client, ANN + 9, 1)
    recognise(client, ANN + 20, 2, min_distance="0.01")  # known, though the caller is stricter
    recognise(client_of(gallery, MIN_QUALITY="1"), BEA, 3)
    assert rows_there(gallery) == (0, 0)


def test_no_picture_is_kept_where_none_is_of_samples(gallery: Gallery) -> None:
    client = client_of(gallery, KEEP_FACES="0")
    recognise(client, ANN)
    (group,) = listed(client)
    assert (group["faces"], group["best"]) == (1, [])
    (face,) = ok(client.get(f"/unknowns/{group['id']}"))["seen"]
    assert not face["picture"]
    refused(client.get(f"/unknowns/{group['id']}/faces/{face['id']}"), 404, "not_found")
    assert len(act(client, group["id"], "name", name="Ann")["samples"]) == 1
    assert recognise(client, ANN)[0]["name"] == "Ann"


def test_who_is_named_is_known_from_then_on(gallery: Gallery, client: FlaskClient, audit: Path) -> None:
    for mark in range(14):
        recognise(client, BEA + mark, mark)
    (group,) = listed(client)
    assert group["faces"] == 14
    done = act(client, group["id"], "name", name="Bea")
    assert done["success"] == [group["id"]] and len(done["samples"]) == 10
    assert listed(client) == [] and rows_there(gallery) == (0, 0)
    (face,) = recognise(client, BEA)
    assert (face["name"], face["person"]) == ("Bea", done["person"])
    assert rows_there(gallery) == (0, 0)
    sample = done["samples"][0]
    assert client.get(f"/samples/{sample}/face").mimetype == "image/jpeg"
    (line,) = lines(audit, "name_unknown")
    assert (line["ids"], line["person"], line["unknowns"]) == (done["samples"], done["person"], [group["id"]])
    assert lines(audit, "enrol")[0]["ids"] == done["samples"]
    ok(client.delete(f"/persons/{done['person']}"))  # takes it back
    recognise(client, BEA)
    assert [each["faces"] for each in listed(client)] == [1]


def test_faces_go_to_somebody_who_is_there(client: FlaskClient) -> None:
    person = ok(client.post("/persons", json={"name": "Bea"}))["id"]
    for grey, whose in ((BEA, {"person": person}), (CID, {"name": "bea"})):
        recognise(client, grey)
        assert act(client, listed(client)[0]["id"], "name", **whose)["person"] == person
    assert ok(client.get(f"/persons/{person}"))["samples"] == 2


def test_who_cannot_be_named_stays(gallery: Gallery, client: FlaskClient) -> None:
    for _ in range(2):
        ok(client.post("/persons", json={"name": "Kim"}))
    recognise(client, BEA)
    (group,) = listed(client)
    path = f"/unknowns/{group['id']}"
    refused(client.post(path, json={"action": "name", "name": "Kim"}), 409, "ambiguous_name")
    refused(client.post(path, json={"action": "name", "person": "nobody"}), 404, "not_found")
    refused(client.post("/unknowns/nobody", json={"action": "name", "name": "A"}), 404, "not_found")
    assert listed(client) == [group] and gallery.count() == 0


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"action": "name"},
        {"action": "name", "name": "A", "person": "b"},
        {"action": "name", "name": " "},
        {"action": "name", "name": "A", "into": "b"},
        {"action": "merge"},
        {"action": "merge", "name": "A"},
        {"action": "forget", "into": "b"},
        {"action": "ignore", "name": "A"},
        {"action": "delete"},
        {"action": None},
        [],
    ],
    ids=str,
)
def test_an_action_that_is_none_does_nothing(gallery: Gallery, client: FlaskClient, sent: Any) -> None:
    recognise(client, BEA)
    (group,) = listed(client)
    refused(client.post(f"/unknowns/{group['id']}", json=sent), 400, "invalid_request")
    assert listed(client) == [group]


def test_two_groups_become_one(client: FlaskClient) -> None:
    for mark, grey in enumerate([ANN, ANN + 3, BEA]):
        recognise(client, grey, mark)
    ann, bea = listed(client)
    act(client, bea["id"], "merge", into=ann["id"])
    (group,) = listed(client)
    assert (group["id"], group["faces"]) == (ann["id"], 3)
    assert len(group["best"]) == 3
    assert client.get(f"/unknowns/{ann['id']}/faces/{bea['best'][0]}").status_code == 200
    refused(client.get(f"/unknowns/{bea['id']}"), 404, "not_found")
    path = f"/unknowns/{ann['id']}"
    for into, status in ((ann["id"], 400), (bea["id"], 404)):
        assert client.post(path, json={"action": "merge", "into": into}).status_code == status


def test_who_is_ignored_is_not_kept_again(gallery: Gallery, client: FlaskClient, audit: Path) -> None:
    recognise(client, BEA)
    (group,) = listed(client)
    act(client, group["id"], "ignore")
    assert rows_there(gallery) == (1, 0)
    for each in (client, client_of(gallery)):
        recognise(each, BEA + 5, 1)
    assert rows_there(gallery) == (1, 0)
    assert listed(client) == []
    (ignored,) = listed(client, ignored="true")
    assert (ignored["id"], ignored["ignored"]) == (group["id"], True)
    assert (ignored["faces"], ignored["best"], ignored["expires_at"]) == (0, [], None)
    for sent in ({"action": "name", "name": "A"}, {"action": "merge", "into": "x"}):
        assert client.post(f"/unknowns/{group['id']}", json=sent).status_code in (400, 404)
    recognise(client, CID)
    other = listed(client)[0]["id"]
    merged = client.post(f"/unknowns/{other}", json={"action": "merge", "into": group["id"]})
    refused(merged, 400, "invalid_request")
    act(client, group["id"], "forget")
    recognise(client, BEA + 5, 1)
    assert len(listed(client)) == 2
    assert [line["unknowns"] for line in lines(audit, "ignore_unknown")] == [[group["id"]]]


def test_who_is_forgotten_may_come_again(gallery: Gallery, client: FlaskClient, audit: Path) -> None:
    recognise(client, BEA)
    before = listed(client)[0]["id"]
    act(client, before, "forget")
    assert rows_there(gallery) == (0, 0)
    recognise(client, BEA)
    after = listed(client)[0]["id"]
    assert after != before
    assert [line["unknowns"] for line in lines(audit, "keep_unknown")] == [[before], [after]]
    assert [line["unknowns"] for line in lines(audit, "forget_unknowns")] == [[before]]


def test_all_are_forgotten(gallery: Gallery, client: FlaskClient) -> None:
    for grey in (ANN, BEA, CID):
        recognise(client, grey)
    act(client, listed(client)[0]["id"], "ignore")
    assert ok(client.delete("/unknowns?keep_ignored=1"))["deleted"] == 2
    assert rows_there(gallery) == (1, 0)
    recognise(client, BEA, 1)
    assert ok(client.delete("/unknowns"))["deleted"] in (1, 2)
    assert rows_there(gallery) == (0, 0)
    recognise(client, BEA, 1)
    assert len(listed(client)) == 1


def test_clearing_or_deleting_a_gallery_takes_them_along(gallery: Gallery, client: FlaskClient) -> None:
    galleries.make(gallery, "lobby")
    for name in ("default", "lobby"):
        data = {"file": (io.BytesIO(picture(ANN)), "x.png")}
        ok(client.post(f"/face-recognition?gallery={name}", data=data))
    act(client, listed(client)[0]["id"], "ignore")
    assert rows_there(gallery) == (2, 1)
    ok(client.delete("/samples"))
    assert rows_there(gallery) == (1, 1)
    ok(client.delete("/galleries/lobby"))
    assert rows_there(gallery) == (0, 0)
    recognise(client, ANN)
    assert rows_there(gallery) == (1, 1)


def test_enrolling_the_first_person_leaves_them(gallery: Gallery, client: FlaskClient) -> None:
    recognise(client, ANN)
    data = {"file": (io.BytesIO(picture(CID)), "x.png"), "name": "Cid"}
    ok(client.post("/samples", data=data))
    assert len(listed(client)) == 1


def test_galleries_keep_apart(gallery: Gallery, client: FlaskClient) -> None:
    galleries.make(gallery, "lobby")
    recognise(client, ANN)
    (group,) = listed(client)
    assert listed(client, gallery="lobby") == []
    query = "?gallery=lobby"
    path = f"/unknowns/{group['id']}"
    refused(client.get(path + query), 404, "not_found")
    refused(client.get(f"{path}/faces/{group['best'][0]}{query}"), 404, "not_found")
    refused(client.post(path + query, json={"action": "forget"}), 404, "not_found")
    assert ok(client.delete(f"/unknowns{query}"))["deleted"] == 0
    data = {"file": (io.BytesIO(picture(ANN)), "x.png")}
    ok(client.post(f"/face-recognition{query}", data=data))
    (other,) = listed(client, gallery="lobby")
    refused(client.post(path, json={"action": "merge", "into": other["id"]}), 404, "not_found")
    refused(client.get(f"{path}/faces/{other['best'][0]}"), 404, "not_found")
    assert listed(client) == [group]


def test_who_is_enrolled_meanwhile_is_told(client: FlaskClient) -> None:
    recognise(client, ANN)
    (group,) = listed(client)
    assert group["looks_like"] is None
    data = {"file": (io.BytesIO(picture(ANN + 9)), "x.png"), "name": "Ann", "id": "1"}
    data.pop("id")
    person = next(iter(ok(client.post("/samples", data=data))["samples"].values()))["person"]
    (group,) = listed(client)
    assert (group["looks_like"]["name"], group["looks_like"]["person"]) == ("Ann", person)
    assert 0 < group["looks_like"]["distance"] < 9
    assert ok(client.get(f"/unknowns/{group['id']}"))["looks_like"] == group["looks_like"]


def test_what_has_expired_is_hidden_at_once_and_gone_after_the_upkeep(
    gallery: Gallery, client: FlaskClient, clock: FakeClock, audit: Path
) -> None:
    upkeep(gallery)
    recognise(client, ANN)
    clock.now += timedelta(days=20)
    recognise(client, ANN + 5, 1)
    recognise(client, CID, 2)
    ann = listed(client)[0]
    assert ann["faces"] == 2
    clock.now += timedelta(days=11)
    gone = ann["best"]
    ann = listed(client)[0]
    assert (ann["faces"], len(set(gone) - set(ann["best"]))) == (1, 1)
    assert (
        client.get(f"/unknowns/{ann['id']}/faces/{(set(gone) - set(ann['best'])).pop()}").status_code == 404
    )
    assert rows_there(gallery) == (2, 3)
    upkeep(gallery)
    assert rows_there(gallery) == (2, 2)
    assert {each["faces"] for each in listed(client)} == {1}
    clock.now += timedelta(days=20)
    assert listed(client) == []
    refused(client.get(f"/unknowns/{ann['id']}"), 404, "not_found")
    upkeep(gallery)
    assert rows_there(gallery) == (0, 0)
    assert ann["id"] in lines(audit, "expire")[-1]["unknowns"]
    assert lines(audit, "expire")[-1]["who"] == "service"


def test_who_is_ignored_does_not_expire(gallery: Gallery, client: FlaskClient, clock: FakeClock) -> None:
    upkeep(gallery)
    recognise(client, ANN)
    act(client, listed(client)[0]["id"], "ignore")
    clock.now = LATER
    upkeep(gallery)
    recognise(client, ANN, 1)
    assert rows_there(gallery) == (1, 0)


def test_a_clock_that_jumps_ahead_erases_nothing(
    gallery: Gallery, client: FlaskClient, clock: FakeClock
) -> None:
    recognise(client, ANN)
    clock.set_ahead = timedelta(days=400)
    upkeep(gallery)
    assert rows_there(gallery) == (1, 1)
    clock.set_ahead = timedelta(0)
    assert len(listed(client)) == 1


def test_days_that_are_set_count(gallery: Gallery, clock: FakeClock) -> None:
    client = client_of(gallery, UNKNOWN_EXPIRES_DAYS="2")
    recognise(client, ANN)
    (group,) = listed(client)
    clock.now += timedelta(days=2)
    assert listed(client) == []
    for sent in ({"action": "name", "name": "A"}, {"action": "ignore"}, {"action": "forget"}):
        refused(client.post(f"/unknowns/{group['id']}", json=sent), 404, "not_found")


def test_the_best_faces_of_one_stay(gallery: Gallery) -> None:
    better = unknown_rows.MAX_FACES + 20
    for number in range(better):
        vectors = alike(1, number)[None]
        face = seen(number, quality=number / better, face=number % 4 == 0)
        unknown_keeping.keep(gallery, [face], vectors, FINGERPRINT, WIDE, kept_for=MONTH)
    assert rows_there(gallery) == (1, unknown_rows.MAX_FACES)
    (group,) = unknowns.page(gallery, SCALE, limit=9).unknowns
    assert min(face.quality for face in group.faces) == 20 / better
    pictured = [face for face in group.faces if face.picture]
    assert len(pictured) == unknown_rows.MAX_PICTURES
    assert group.faces[: len(pictured)] == tuple(pictured)
    before = rows_there(gallery)
    keep(gallery, 1, 5000, quality=0.01)
    assert rows_there(gallery) == before


def test_a_crowd_does_not_fill_the_disk(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown_rows, "MAX_GROUPS", 8)
    monkeypatch.setattr(unknown_rows, "GROUPS_AT_ONCE", 3)
    regular = keep(gallery, 1, 1, 2, 3)[0]
    keep(gallery, 2, 4)
    ignored = keep(gallery, 3, 5)[0]
    assert ignored is not None
    unknowns.ignore(gallery, ignored)
    for number in range(30):
        keep(gallery, 100 + number, 100 + number, face=False)
        assert rows_there(gallery)[0] <= 9
    ids = {each.id for each in unknowns.page(gallery, SCALE, limit=99).unknowns}
    assert regular in ids
    assert keep(gallery, 129, 7) != [None] and keep(gallery, 3, 8) == [None]


def test_workers_agree_who_is_who(gallery: Gallery, other: Gallery) -> None:
    """Each of two has the groups in memory, and the other changes them."""
    (first,) = keep(gallery, 1, 1)
    assert keep(other, 1, 2) == [first]
    (second,) = keep(other, 2, 3)
    assert keep(gallery, 2, 4) == [second]
    assert second is not None and first is not None
    unknowns.forget(other, second)
    (third,) = keep(gallery, 2, 5)
    assert third not in (first, second)
    unknowns.ignore(other, first)
    assert keep(gallery, 1, 6) == [None]
    unknowns.forget(other, first)
    (fourth,) = keep(other, 3, 7)
    assert keep(gallery, 3, 8) == [fourth]
    assert keep(gallery, 1, 9)[0] not in (None, first)


def test_workers_at_once_make_one_group_of_one_person(gallery: Gallery, other: Gallery) -> None:
    ids: list[str | None] = []
    failures: list[BaseException] = []

    def work(mine: Gallery, start: int) -> None:
        try:
            for number in range(start, start + 10):
                ids.extend(keep(mine, 1, number, face=False))
        except BaseException as e:
            failures.append(e)

    threads = [
        threading.Thread(target=work, args=(mine, 100 * place))
        for place, mine in enumerate((gallery, other, gallery, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(set(ids) - {None}) == 1
    assert rows_there(gallery) == (1, len([each for each in ids if each is not None]))


def test_faces_of_one_picture_that_are_alike_are_one_group(gallery: Gallery) -> None:
    ids = keep(gallery, 1, 1, 2)
    assert ids[0] == ids[1] is not None
    vectors = np.stack([alike(person, 10 + person) for person in (1, 5, 1, 6)])
    several = [seen(10 + number) for number in range(4)]
    more = unknown_keeping.keep(gallery, several, vectors, FINGERPRINT, WIDE, kept_for=MONTH)
    assert more[0] == more[2] == ids[0]
    assert len({*more}) == 3


def test_groups_that_turn_out_to_be_one_are_put_together_and_the_larger_keeps_its_id(
    gallery: Gallery, audit: Path
) -> None:
    strict = type(WIDE)(WIDE.name, WIDE.input_size, WIDE.dimension, 0.5, WIDE.distance_range, "fingerprint")

    def kept(seed: int, model: Any) -> str | None:
        (unknown_id,) = unknown_keeping.keep(
            gallery, [seen(seed)], alike(1, seed)[None], FINGERPRINT, model, kept_for=MONTH
        )
        return unknown_id

    small = kept(1, strict)
    large = kept(2, strict)
    assert small is not None and large is not None and small != large
    for number in range(3):
        vectors = alike(1, 2)[None]
        face = Seen(0.8, f"again {number}".encode())
        unknown_keeping.keep(gallery, [face], vectors, FINGERPRINT, strict, kept_for=MONTH)
    far = keep(gallery, 9, 3)[0]  # by the ordinary measure, which counts from now on
    upkeep(gallery)
    found = {each.id: len(each.faces) for each in unknowns.page(gallery, SCALE, limit=9).unknowns}
    assert found == {large: 5, far: 1}
    assert lines(audit, "merge_unknowns")[0]["unknowns"] == [small]
    upkeep(gallery)
    assert len(lines(audit, "merge_unknowns")) == 1


def test_those_of_another_model_go(gallery: Gallery) -> None:
    keep(gallery, 1, 1)
    enrol(gallery, ["a"], [7], "another-1")
    another = type(SCALE)("another-1", 128, 9.0, 0.25, 10.0)
    assert unknowns.page(gallery, another, limit=9).total == 0
    upkeep(gallery)
    assert rows_there(gallery) == (0, 0)


def test_those_of_another_model_give_way_in_a_gallery_of_nobody(gallery: Gallery) -> None:
    keep(gallery, 1, 1)
    face, vectors = [seen(2)], vectors_of(2, dimension=64)
    assert unknown_keeping.keep(gallery, face, vectors, "another-1", WIDE, kept_for=MONTH) != [None]
    assert rows_there(gallery) == (1, 1)


def test_a_full_disk_a_lock_and_a_log_that_cannot_be_written_stop_no_recognition(
    gallery: Gallery,
    client: FlaskClient,
    audit: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ExitStack() as held:
        held.enter_context(transaction(gallery.engine, write=True))
        assert len(recognise(client, ANN)) == 1
    assert "unknown faces are not kept" in caplog.text
    caplog.clear()
    if gallery.engine.dialect.name == "sqlite":
        with monkeypatch.context() as patched:
            patched.setattr(gallery, "free_bytes", lambda: 1)
            patched.setattr(type(gallery), "free_bytes", lambda self: 1)
            assert len(recognise(client, ANN)) == 1
        assert "disk_full" in caplog.text
    assert rows_there(gallery) == (0, 0)
    recognise(client, ANN)
    assert rows_there(gallery) == (1, 1)


def test_nothing_is_kept_that_the_audit_log_cannot_have(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "a folder").mkdir()
    gallery = open_gallery(url, lock_timeout_s=5, audit=Audit(tmp_path / "a folder"))
    assert keep(gallery, 1, 1) == [None]
    assert rows_there(gallery) == (0, 0)
    assert "audit_unavailable" in caplog.text
    gallery.close()


def test_reads_are_in_the_audit_log_where_they_are_wanted(url: str, audit: Path) -> None:
    gallery = open_gallery(url, lock_timeout_s=5, audit=Audit(audit, reads=True))
    client = client_of(gallery)
    recognise(client, ANN)
    (group,) = listed(client)
    ok(client.get(f"/unknowns/{group['id']}"))
    client.get(f"/unknowns/{group['id']}/faces/{group['best'][0]}")
    assert [line["unknowns"] for line in lines(audit, "list")] == [[group["id"]]]
    assert [line["unknowns"] for line in lines(audit, "show")] == [[group["id"]]] * 2
    gallery.close()


def test_what_is_no_page_is_refused(client: FlaskClient) -> None:
    for after in ("x", "e30=", "WzEsIDJd"):
        refused(client.get(f"/unknowns?after={after}"), 400, "invalid_request")
    refused(client.get("/unknowns?limit=0"), 400, "invalid_request")


def test_a_person_is_erased_as_any_other(gallery: Gallery, client: FlaskClient) -> None:
    recognise(client, ANN)
    person = act(client, listed(client)[0]["id"], "name", name="Ann")["person"]
    assert len(people.delete(gallery, person).samples) == 1
    with pytest.raises(NotFound):
        people.get(gallery, person)


def test_a_gallery_made_anew_under_its_name_has_nobody_of_the_one_before(
    gallery: Gallery, other: Gallery
) -> None:
    """Another worker has deleted it and made it again, and this one has the old one's groups in memory."""
    galleries.make(gallery, "lobby")
    mine, theirs = gallery.of("lobby"), other.of("lobby")
    old = {keep(mine, 1, seed)[0] for seed in (1, 2, 3)}
    galleries.delete(theirs)
    galleries.make(other, "lobby")
    keep(theirs, 2, 4)
    keep(theirs, 2, 5)
    (new,) = keep(mine, 1, 6)
    assert new is not None and new not in old
    assert {each.id for each in unknowns.page(mine, SCALE, limit=9).unknowns} >= {new}


def test_faces_that_are_given_up_are_given_up_of_strangers_too(gallery: Gallery) -> None:
    enrol(gallery, ["a"], [77], FINGERPRINT)
    keep(gallery, 1, 1, 2)
    assert faces.forget(gallery) == 2
    (unknown,) = unknowns.page(gallery, SCALE, limit=9).unknowns
    assert [face.picture for face in unknown.faces] == [False, False]
    assert faces.forget(gallery) == 0


def test_pictures_that_a_backup_brings_back_are_given_up_again(
    gallery: Gallery, audit: Path, clock: FakeClock
) -> None:
    """Also of somebody who is forgotten at the same time, who is not counted twice; what came later stays."""
    (forgotten,) = keep(gallery, 1, 1)
    keep(gallery, 2, 2)
    with transaction(gallery.engine) as connection:
        groups = connection.execute(sa.select(unknowns_table)).mappings().all()
        shown = connection.execute(sa.select(unknown_faces)).mappings().all()
    faces.forget(gallery)
    unknowns.forget(gallery, str(forgotten))
    with gallery.writing() as (connection, _):
        connection.execute(unknowns_table.delete())
        connection.execute(unknowns_table.insert(), [dict(row) for row in groups])
        connection.execute(unknown_faces.delete())
        connection.execute(unknown_faces.insert(), [dict(row) for row in shown])
    journal = erasures.read([audit.read_bytes().splitlines()])
    journal = replace(journal, forgotten=clock())  # whose times are of another clock than the gallery's
    clock.now += timedelta(minutes=1)
    keep(gallery, 3, 3)
    assert replay.replay(gallery, journal, dry_run=True).faces == 1
    assert replay.replay(gallery, journal).faces == 1
    there = unknowns.page(gallery, SCALE, limit=9).unknowns
    assert sorted(face.picture for each in there for face in each.faces) == [False, True]
    assert replay.replay(gallery, journal).faces == 0


def test_no_sample_gets_a_picture_where_none_is_kept_by_now(gallery: Gallery, client: FlaskClient) -> None:
    recognise(client, ANN)
    without = client_of(gallery, KEEP_FACES="0")
    (sample,) = act(without, listed(client)[0]["id"], "name", name="Ann")["samples"]
    refused(client.get(f"/samples/{sample}/face"), 404, "not_found")


def test_the_upkeep_outlives_what_nobody_has_foreseen(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    answers, called = [False, False, True], []

    def breaks(each: Gallery) -> None:
        called.append(each.name)
        raise ValueError("unforeseen")

    keep_up(gallery, lambda seconds: answers.pop(0), breaks)
    assert called == ["default", "default"]
    assert "the upkeep of the gallery failed" in caplog.text


def test_who_was_forgotten_is_forgotten_again_after_a_restore(gallery: Gallery, audit: Path) -> None:
    """A row that comes back has the id that the audit log has."""
    forgotten, ignored, stays = (str(keep(gallery, person, person)[0]) for person in (1, 2, 3))
    with transaction(gallery.engine) as connection:
        rows = connection.execute(sa.select(unknowns_table)).mappings().all()
    unknowns.forget(gallery, forgotten)
    unknowns.ignore(gallery, ignored)
    with gallery.writing() as (connection, _):
        connection.execute(unknowns_table.delete())
        connection.execute(unknowns_table.insert(), [dict(row) for row in rows])
    journal = erasures.read([audit.read_bytes().splitlines()])
    assert replay.replay(gallery, journal, dry_run=True).unknowns == sorted([forgotten, ignored])
    assert replay.replay(gallery, journal).unknowns == sorted([forgotten, ignored])
    assert [each.id for each in unknowns.page(gallery, SCALE, limit=9).unknowns] == [stays]
    assert replay.replay(gallery, journal).unknowns == []


def test_who_was_cleared_is_cleared_again(gallery: Gallery, audit: Path, clock: FakeClock) -> None:
    keep(gallery, 1, 1)
    with transaction(gallery.engine) as connection:
        rows = connection.execute(sa.select(unknowns_table)).mappings().all()
    gallery.clear()
    with gallery.writing() as (connection, _):
        connection.execute(unknowns_table.insert(), [dict(row) for row in rows])
    journal = erasures.read([audit.read_bytes().splitlines()])
    assert len(replay.replay(gallery, journal).unknowns) == 1
    assert rows_there(gallery) == (0, 0)
