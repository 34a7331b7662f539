"""What becomes of events: they expire, go with their people, follow their samples, and leave nothing."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from fakes import angle, app_of_angles, ok, refused
from galleries import MODEL, NOW, FakeClock, a_kept_face, a_sample, vectors_of
from recognition import gallery as gallery_package
from recognition.audit import Audit
from recognition.errors import DamagedGallery, GalleryUnavailable
from recognition.faces import Box, Match, Mistaken
from recognition.gallery import (
    Gallery,
    backup,
    events,
    faces,
    galleries,
    open_gallery,
    people,
    portable,
    subjects,
    transfer,
    unmerging,
)
from recognition.gallery.database import transaction
from recognition.gallery.erasures import read
from recognition.gallery.replay import replay
from recognition.gallery.tables import events as table
from recognition.visits import Event, Visit
from serving.errors import NotFound

MONTH = timedelta(days=30)
KEY = bytes(range(32))
JPEG = a_kept_face(1).jpeg


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture
def gallery(url: str, clock: FakeClock, log: Path) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock, audit=Audit(log, clock))
    yield gallery
    gallery.close()


def enrol(gallery: Gallery, *ids: str, **more: Any) -> dict[str, str]:
    """Returns the people by the ids of the samples, of which each has its own."""
    stored = gallery.upsert([a_sample(each, **more) for each in ids], vectors_of(*range(len(ids))), MODEL)
    return stored.people


def uuid(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def see(gallery: Gallery, number: int, sample_id: str | None = None, **changes: Any) -> Event:
    """Record a visit; of whoever has the sample, or of a stranger."""
    sample = None if sample_id is None else gallery.get(sample_id)
    assert sample_id is None or sample is not None
    visit = a_visit(gallery, number, **changes)
    match = None if sample is None else Match(sample, 1.0)
    return events.record(gallery, visit, match, 1.0, None, keep_known=True, keep_unknown=True)


def a_visit(gallery: Gallery, number: int, **changes: Any) -> Visit:
    return Visit(
        **{
            "id": uuid(number),
            "camera": "door",
            "since": gallery.now(),
            "until": None,
            "frames": 1,
            "box": Box(1, 2, 3, 4),
            "quality": 1.0,
            "vectors": vectors_of(1),
            "picture": JPEG,
            **changes,
        }
    )


def seen(gallery: Gallery, kept_for: timedelta = MONTH, **which: Any) -> dict[int, tuple[str | None, ...]]:
    """The name and the sample of each event, by its number."""
    page = events.page(gallery, events.Which(**which), kept_for, limit=100)
    assert page.total == len(page.events)
    return {int(event.id[:8]): (event.name, event.sample) for event in page.events}


def there(gallery: Gallery) -> int:
    with transaction(gallery.engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


# --- how long they stay


def test_they_expire_by_when_the_service_was_told(gallery: Gallery, clock: FakeClock) -> None:
    see(gallery, 1, since=datetime(1970, 1, 1, tzinfo=UTC))
    see(gallery, 2, since=NOW + timedelta(days=1))
    assert set(seen(gallery)) == {1, 2}
    clock.now += timedelta(days=10)
    see(gallery, 2)
    see(gallery, 3)
    clock.now += timedelta(days=20)
    assert set(seen(gallery)) == {2, 3}
    for gone in (uuid(1), uuid(9)):
        with pytest.raises(NotFound):
            events.picture(gallery, gone, MONTH)
        with pytest.raises(NotFound):
            events.get(gallery, gone, MONTH)
    assert there(gallery) == 3
    events.remove_expired(gallery, MONTH)
    assert there(gallery) == 2
    assert set(seen(gallery, timedelta(days=20))) == set()


def test_a_clock_that_jumps_hides_them_and_erases_nothing(gallery: Gallery, clock: FakeClock) -> None:
    see(gallery, 1)
    gallery.remove_expired()
    visit = a_visit(gallery, 1)
    clock.set_ahead = timedelta(days=400)
    assert seen(gallery) == {}
    with pytest.raises(NotFound):
        events.go_on(gallery, visit, MONTH)
    gallery.load()
    events.remove_expired(gallery, MONTH)
    assert there(gallery) == 1
    clock.set_ahead = timedelta(0)
    gallery.load()
    assert set(seen(gallery)) == {1}


def test_a_clock_that_nobody_has_looked_at_since_it_jumped_erases_nothing(
    gallery: Gallery, clock: FakeClock
) -> None:
    see(gallery, 1)
    gallery.remove_expired()
    clock.set_ahead = timedelta(days=400)
    events.remove_expired(gallery, MONTH)
    assert there(gallery) == 1


def test_a_process_that_watches_cameras_removes_them_itself(gallery: Gallery, clock: FakeClock) -> None:
    client = app_of_angles(gallery, EVENTS_EXPIRE_DAYS="2").test_client()
    see(gallery, 1)
    clock.now += timedelta(days=2)
    assert ok(client.get("/events"))["total"] == 0
    assert there(gallery) == 1
    visit = {"camera": "x", "since": clock().isoformat(), "frames": 1, "bbox": "1, 2, 3, 4", "quality": 1}
    made = {"fingerprint": "fingerprint-1", "embeddings": [angle(0).tolist()]}
    ok(client.post("/events", json={"id": uuid(2), **visit, **made}))
    assert there(gallery) == 1


def test_many_expire_in_steps(gallery: Gallery, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recognition.gallery.events.ROWS_AT_ONCE", 2)
    for number in range(5):
        see(gallery, number)
    clock.now += MONTH
    events.remove_expired(gallery, MONTH)
    assert there(gallery) == 0


def test_ages_that_no_time_can_have_are_none(gallery: Gallery) -> None:
    see(gallery, 1)
    for days in (36_500, 800_000, 10**8):
        assert set(seen(gallery, timedelta(days=days))) == {1}


# --- whose they are


def test_they_go_with_their_person_and_a_receipt_counts_them(gallery: Gallery) -> None:
    whose = enrol(gallery, "a", "b")
    for number, sample_id in enumerate(("a", "a", "b", None)):
        see(gallery, number, sample_id)
    erasure = people.delete(gallery, whose["a"])
    assert (erasure.samples, erasure.events) == (["a"], 2)
    assert seen(gallery) == {2: ("name of b", "b"), 3: (None, None)}
    assert there(gallery) == 2


def test_they_go_with_the_last_sample_and_not_with_another(gallery: Gallery) -> None:
    enrol(gallery, "a", "b", name="Ada")
    see(gallery, 1, "a")
    gallery.delete("a")
    assert seen(gallery) == {1: ("Ada", None)}
    gallery.delete("b")
    assert there(gallery) == 0


def test_they_are_hidden_with_who_has_expired(gallery: Gallery, clock: FakeClock) -> None:
    soon = NOW + timedelta(hours=1)
    enrol(gallery, "a", expires_at=soon)
    enrol(gallery, "b", "c", name="Ben")
    people.change_sample(gallery, "b", {"expires_at": soon})
    ada = people.make(gallery, "Ada", person_id="ada", expires_at=soon)
    enrol(gallery, "d", person=ada.id)
    for number, sample_id in enumerate(("a", "b", "d", None)):
        see(gallery, number, sample_id)
    clock.now = soon
    assert seen(gallery) == {1: ("Ben", None), 3: (None, None)}
    assert seen(gallery, person="ada") == {}
    for number in (0, 2):
        with pytest.raises(NotFound):
            events.picture(gallery, uuid(number), MONTH)
        with pytest.raises(NotFound):
            events.get(gallery, uuid(number), MONTH)
    assert there(gallery) == 4
    gallery.remove_expired()
    assert there(gallery) == 2
    assert seen(gallery) == {1: ("Ben", None), 3: (None, None)}


def test_names_follow_and_merges_move_them_there_and_back(gallery: Gallery) -> None:
    whose = enrol(gallery, "a", "b")
    see(gallery, 1, "a")
    see(gallery, 2, "b")
    people.change(gallery, whose["a"], {"name": "Ada"})
    assert seen(gallery)[1] == ("Ada", "a")
    merged = people.merge(gallery, whose["a"], whose["b"])
    assert seen(gallery) == {1: ("name of b", "a"), 2: ("name of b", "b")}
    assert set(seen(gallery, person=whose["b"])) == {1, 2}
    unmerging.unmerge(gallery, whose["b"], merged.emptied, merged.revision)
    assert seen(gallery) == {1: ("Ada", "a"), 2: ("name of b", "b")}


def test_they_stay_where_a_merge_has_left_them_once_their_sample_is_gone(gallery: Gallery) -> None:
    """Nothing tells any more whose they were before it."""
    whose = enrol(gallery, "a", "b", "c")
    people.change_sample(gallery, "c", {"person": whose["a"]})
    see(gallery, 1, "a")
    see(gallery, 2, "c")
    gallery.delete("c")
    merged = people.merge(gallery, whose["a"], whose["b"])
    unmerging.unmerge(gallery, whose["b"], merged.emptied, merged.revision)
    assert seen(gallery) == {1: ("name of a", "a"), 2: ("name of b", None)}


def test_they_go_to_whoever_gets_the_samples_by_a_name(gallery: Gallery) -> None:
    """As clients of CompreFace merge people."""
    enrol(gallery, "a", "b", "c")
    for number, sample_id in enumerate(("a", "a", "b", "c")):
        see(gallery, number, sample_id)
    assert subjects.rename(gallery, "name of a", "NAME OF B")
    assert seen(gallery) == {
        **dict.fromkeys((0, 1), ("name of b", "a")),
        2: ("name of b", "b"),
        3: ("name of c", "c"),
    }


def test_whatever_gives_samples_to_somebody_gives_them_the_events() -> None:
    """Whose samples move, and who goes thereafter, would take the events along."""
    moving = []
    for file in sorted(Path(gallery_package.__file__).parent.rglob("*.py")):
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            text = ast.unparse(function) if isinstance(function, ast.FunctionDef) else ""
            if "samples.update()" in text and re.search(r"'person':|values\(person=", text):
                moving.append(function.name)
                assert re.search(r"event_rows\.(follow|merge)\(", text), f"{file.name}: {function.name}"
    assert {"rename", "merge", "unmerge", "change_sample", "put_right"} <= set(moving)


def test_they_follow_a_sample_that_moves(gallery: Gallery) -> None:
    whose = enrol(gallery, "a", "b", "c")
    see(gallery, 1, "a")
    people.change_sample(gallery, "a", {"person": whose["b"]})
    assert seen(gallery) == {1: ("name of b", "a")}
    people.change_sample(gallery, "a", {"name": "Zoe"})
    assert seen(gallery) == {1: ("Zoe", "a")}
    people.change_sample(gallery, "a", {"action": "open"})
    assert seen(gallery) == {1: ("Zoe", "a")}


def test_they_follow_a_sample_that_was_mistaken(gallery: Gallery) -> None:
    enrol(gallery, "a", "b")
    see(gallery, 1, "a")
    see(gallery, 2, "b")
    new = a_sample("c", name="Eve")
    gallery.upsert([new], vectors_of(9), MODEL, mistaken=Mistaken("a", "move"))
    assert seen(gallery) == {1: ("Eve", "a"), 2: ("name of b", "b")}
    gallery.upsert([a_sample("d", name="name of b")], vectors_of(8), MODEL, mistaken=Mistaken("b", "remove"))
    assert seen(gallery) == {1: ("Eve", "a"), 2: ("name of b", None)}


def test_a_sample_that_is_enrolled_anew_is_another_face(gallery: Gallery) -> None:
    enrol(gallery, "a", "b", name="Ada")
    see(gallery, 1, "a")
    gallery.upsert([a_sample("a", name="Eve")], vectors_of(9), MODEL)
    assert seen(gallery) == {1: ("Ada", None)}


def test_whoever_has_gone_since_they_were_recognised_is_nobody(gallery: Gallery) -> None:
    whose = enrol(gallery, "a", "b", "c")
    found = {each: gallery.get(each) for each in "abc"}
    people.delete(gallery, whose["a"])
    people.merge(gallery, whose["b"], whose["c"])

    class Late:
        """What was found before all that."""

        engine, writing, now = gallery.engine, gallery.writing, gallery.now
        get = staticmethod(found.get)

    for number, sample_id in enumerate("abc"):
        see(Late, number, sample_id)  # type: ignore[arg-type]
    assert seen(gallery) == {0: (None, None), 1: ("name of c", "b"), 2: ("name of c", "c")}


# --- removal of everything


def test_an_emptied_gallery_has_none_and_others_keep_theirs(gallery: Gallery) -> None:
    galleries.make(gallery, "lobby")
    lobby = gallery.of("lobby")
    enrol(gallery, "a")
    enrol(lobby, "a")
    for number, of in enumerate((gallery, lobby)):
        see(of, number, "a")
        see(of, 10 + number)
    gallery.clear()
    assert seen(gallery) == {}
    assert set(seen(lobby)) == {1, 11}
    lobby.clear()  # where nobody else has anything, PostgreSQL truncates
    assert there(gallery) == 0
    see(gallery, 1)
    lobby.clear()
    assert set(seen(gallery)) == {1}
    enrol(gallery, "b")
    gallery.clear()
    see(lobby, 2)
    galleries.delete(lobby)
    assert there(gallery) == 0
    assert list(transfer.faults(gallery)) == []


def test_a_new_model_in_an_empty_gallery_takes_none_away(gallery: Gallery) -> None:
    enrol(gallery, "a")
    see(gallery, 1)
    gallery.delete("a")
    gallery.upsert([a_sample("b")], vectors_of(1, dimension=64), "another model")
    assert seen(gallery) == {1: (None, None)}


# --- at rest


def test_pictures_are_encrypted_and_bound_to_their_event(bare_url: str, backend: str) -> None:
    with closing(open_gallery(bare_url, lock_timeout_s=5, key=KEY)) as gallery:
        see(gallery, 1)
        see(gallery, 2, picture=a_kept_face(2).jpeg)
        assert events.picture(gallery, uuid(1), MONTH) == JPEG
        if backend == "sqlite":
            file = Path(bare_url.removeprefix("sqlite:///"))
            for path in file.parent.glob(f"{file.name}*"):
                assert JPEG[100:200] not in path.read_bytes()
        with transaction(gallery.engine, write=True) as connection:
            one = connection.execute(sa.select(table.c.picture).where(table.c.event_id == uuid(1))).scalar()
            connection.execute(table.update().where(table.c.event_id == uuid(2)).values(picture=one))
        assert list(transfer.faults(gallery)) == [f"event {uuid(2)}: its picture cannot be decrypted"]
        with pytest.raises(NotFound, match="damaged"):
            events.picture(gallery, uuid(2), MONTH)
        assert set(seen(gallery)) == {1, 2}
    with pytest.raises(GalleryUnavailable, match="encrypted"):
        open_gallery(bare_url, lock_timeout_s=5)


def test_a_key_comes_too_late_for_plain_pictures(url: str) -> None:
    with closing(open_gallery(url, lock_timeout_s=5)) as plain:
        see(plain, 1)
    with pytest.raises(GalleryUnavailable, match="not encrypted"):
        open_gallery(url, lock_timeout_s=5, key=KEY)


def test_nothing_is_left_in_the_files(gallery: Gallery, url: str, backend: str) -> None:
    if backend != "sqlite":
        pytest.skip("PostgreSQL overwrites what it deletes at its next VACUUM")
    file = Path(url.removeprefix("sqlite:///"))
    whose = enrol(gallery, "a")
    see(gallery, 1, "a", camera="behind the bicycle shed")
    see(gallery, 2, camera="behind the bicycle shed", picture=a_kept_face(2).jpeg)
    marks = (b"bicycle", JPEG[100:140], a_kept_face(2).jpeg[100:140])
    people.delete(gallery, whose["a"])
    events.delete(gallery, uuid(2))
    for path in file.parent.glob(f"{file.name}*"):
        assert not any(mark in path.read_bytes() for mark in marks)


@pytest.mark.parametrize(
    "damage", [b"", b"\xff\xd8\xff", b"x" * 100, b"\xff\xd8\xff" + bytes(2**18) + b"\xff\xd9"]
)
def test_a_damaged_picture_is_none(gallery: Gallery, damage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    see(gallery, 1)
    with transaction(gallery.engine, write=True) as connection:
        connection.execute(table.update().values(picture=damage))
    with pytest.raises(NotFound):
        events.picture(gallery, uuid(1), MONTH)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert list(transfer.faults(gallery)) == [f"event {uuid(1)}: its picture is none"]


def test_strays_are_faults(gallery: Gallery) -> None:
    galleries.make(gallery, "lobby")
    enrol(gallery.of("lobby"), "a")
    see(gallery, 1)
    with gallery.of("lobby").reading() as (connection, _):
        whose = connection.execute(sa.text("SELECT person, key FROM samples")).one()
    with transaction(gallery.engine, write=True) as connection:
        connection.execute(table.update().values(person=whose.person, sample=whose.key))
    assert list(transfer.faults(gallery)) == [
        f"event {uuid(1)}: its {what} is of another gallery" for what in ("person", "sample")
    ]


def test_a_backup_has_them(gallery: Gallery, url: str, backend: str, tmp_path: Path) -> None:
    if backend != "sqlite":
        pytest.skip("pg_dump makes backups of PostgreSQL")
    enrol(gallery, "a")
    see(gallery, 1)
    backup.backup(gallery, tmp_path / "copy")
    with closing(open_gallery(f"sqlite:///{tmp_path / 'copy'}", lock_timeout_s=5)) as copy:
        assert events.picture(copy, uuid(1), timedelta(days=36_500)) == JPEG


# --- a person's file, and a receipt


def test_the_file_of_a_person_has_their_events_and_no_others(gallery: Gallery) -> None:
    whose = enrol(gallery, "a", "b")
    many = range(1, 131)  # more than are read at once
    for number in many:
        see(gallery, number, "a", picture=None if number == 2 else JPEG)
    see(gallery, 500, "b")
    see(gallery, 501)
    file = b"".join(transfer.export_person(gallery, whose["a"]))
    *_, last = lines = [json.loads(line) for line in file.splitlines()]
    told = [line for line in lines if "event" in line]
    assert [line["event"]["id"] for line in told] == [uuid(number) for number in many]
    assert {line["event"]["name"] for line in told} == {"name of a"}
    assert [line["picture"] is None for line in told[:3]] == [False, True, False]
    assert (last["samples"], last["persons"]) == (1, 1)
    assert portable.check(io.BytesIO(file))[1] == 1
    entries = list(portable.read(io.BytesIO(file)))
    assert isinstance(entries[-1], portable.Seen) and entries[-1].picture == JPEG
    whole = b"".join(transfer.export(gallery))
    assert b'"event"' not in whole


def test_it_is_taken_in_without_them(gallery: Gallery, bare_url: str) -> None:
    whose = enrol(gallery, "a")
    see(gallery, 1, "a")
    file = b"".join(transfer.export_person(gallery, whose["a"]))
    people.delete(gallery, whose["a"])
    imported = transfer.import_file(gallery, io.BytesIO(file))
    assert (imported.imported, seen(gallery)) == (1, {})


def test_a_file_whose_events_were_changed_is_damaged(gallery: Gallery) -> None:
    whose = enrol(gallery, "a")
    see(gallery, 1, "a")
    see(gallery, 2, "a")
    file = b"".join(transfer.export_person(gallery, whose["a"]))
    for before, after in (
        (b'"bbox":"1, 2, 3, 4"', b'"bbox":"1, 2, 3"'),
        (b'"frames":1', b'"frame":1'),
        (b'"picture":"/9j', b'"picture":"AAA'),
        (uuid(1).encode(), uuid(3).encode()),
        (b'"camera":"door"', b'"camera":"dooR"'),
    ):
        assert before in file
        with pytest.raises(DamagedGallery):
            portable.check(io.BytesIO(file.replace(before, after)))


def test_a_receipt_says_that_they_are_gone(gallery: Gallery) -> None:
    client: FlaskClient = app_of_angles(gallery).test_client()
    whose = enrol(gallery, "a")
    see(gallery, 1, "a")
    receipt = ok(client.delete(f"/persons/{whose['a']}?receipt=1"))["receipt"]
    assert receipt["events"] == 1
    assert any("camera" in what for what in receipt["erased"])
    refused(client.get(f"/events/{uuid(1)}/picture"), 404, "not_found")


# --- the audit log, and what an old backup brings back


def test_what_is_removed_has_its_lines(gallery: Gallery, log: Path, clock: FakeClock) -> None:
    for number in range(4):
        see(gallery, number)
    events.delete(gallery, uuid(0))
    events.delete_some(gallery, events.Which(camera="nowhere"))
    events.delete_some(gallery, events.Which(until=NOW + timedelta(days=1)))
    see(gallery, 5)
    clock.now += MONTH
    events.remove_expired(gallery, MONTH)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [(line["who"], line["what"], line["outcome"], line["events"]) for line in lines]
    who = lines[0]["who"]
    assert told == [
        *((who, "delete_events", outcome, [uuid(0)]) for outcome in ("begun", "done")),
        *((who, "delete_events", outcome, [uuid(1), uuid(2), uuid(3)]) for outcome in ("begun", "done")),
        *(("service", "expire", outcome, [uuid(5)]) for outcome in ("begun", "done")),
    ]


def test_what_is_shown_has_its_lines_if_that_is_wanted(url: str, tmp_path: Path) -> None:
    log = tmp_path / "reads"
    with closing(open_gallery(url, 5, audit=Audit(log, reads=True))) as gallery:
        whose = enrol(gallery, "a")
        see(gallery, 1, "a")
        see(gallery, 2)
        log.write_bytes(b"")
        seen(gallery)
        events.picture(gallery, uuid(1), MONTH)
        events.picture(gallery, uuid(2), MONTH)
        events.get(gallery, uuid(1), MONTH)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["what"], line.get("persons", line.get("person"))) for line in lines] == [
        ("list_events", [whose["a"]]),
        ("show_event", whose["a"]),
        ("show_event", None),
        ("show_event", whose["a"]),
    ]


def test_a_backup_that_brings_them_back_is_put_right(
    gallery: Gallery, url: str, backend: str, tmp_path: Path, clock: FakeClock, log: Path
) -> None:
    if backend != "sqlite":
        pytest.skip("a copy of a file is the shortest backup")
    whose = enrol(gallery, "a", "b")
    for number, sample_id in enumerate((None, None, "a", "b")):
        see(gallery, number, sample_id)
    backup.backup(gallery, tmp_path / "copy")
    clock.now += timedelta(minutes=1)
    events.delete(gallery, uuid(0))
    people.delete(gallery, whose["a"])
    clock.now += timedelta(minutes=1)
    with (
        closing(open_gallery(f"sqlite:///{tmp_path / 'copy'}", 5, clock=clock)) as copy,
        log.open("rb") as lines,
    ):
        journal = read([lines])
        assert set(seen(copy)) == {0, 1, 2, 3}
        planned = replay(copy, journal, dry_run=True)
        assert (planned.events, planned.persons) == ([uuid(0)], [whose["a"]])
        assert set(seen(copy)) == {0, 1, 2, 3}
        assert replay(copy, journal) == planned
        assert set(seen(copy)) == {1, 3}
        see(copy, 0)  # the same visit, told again
        assert replay(copy, journal).events == []
        assert set(seen(copy)) == {0, 1, 3}


def test_a_gallery_that_was_emptied_is_emptied_again(
    gallery: Gallery, backend: str, tmp_path: Path, clock: FakeClock, log: Path
) -> None:
    if backend != "sqlite":
        pytest.skip("a copy of a file is the shortest backup")
    enrol(gallery, "a")
    see(gallery, 1)
    backup.backup(gallery, tmp_path / "copy")
    clock.now += timedelta(minutes=1)
    gallery.clear()
    clock.now += timedelta(minutes=1)
    with closing(open_gallery(f"sqlite:///{tmp_path / 'copy'}", 5, clock=clock)) as copy:
        see(copy, 2)
        with log.open("rb") as lines:
            assert replay(copy, read([lines])).events == [uuid(1)]
        assert set(seen(copy)) == {2}


def test_a_table_that_another_program_has_damaged_is_no_crash(
    gallery: Gallery, url: str, backend: str
) -> None:
    if backend != "sqlite":
        pytest.skip("PostgreSQL keeps to the types of its columns")
    see(gallery, 1)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.execute("UPDATE events SET picture = 'a text'")
        connection.commit()
    with pytest.raises(NotFound):
        events.picture(gallery, uuid(1), MONTH)
    assert [fault for fault in transfer.faults(gallery) if "event" in fault]


def test_their_pictures_are_forgotten_with_the_others(
    gallery: Gallery, url: str, backend: str, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.gallery.faces.ROWS_AT_ONCE", 2)
    galleries.make(gallery, "lobby")
    enrol(gallery, "a", face=a_kept_face(2))
    for number in range(4):
        see(gallery, number, "a" if number else None)
    see(gallery, 4, picture=None)
    see(gallery.of("lobby"), 1)
    assert faces.forget(gallery) == 5
    listed = events.page(gallery, events.EVERY, MONTH, limit=10).events
    assert [event.picture for event in listed] == [False] * 5
    assert set(seen(gallery)) == {0, 1, 2, 3, 4}
    assert events.picture(gallery.of("lobby"), uuid(1), MONTH) == JPEG
    counts = [
        line.get("samples")
        for line in map(json.loads, log.read_text().splitlines())
        if line["what"] == "forget"
    ]
    assert counts == [5, 5]
    assert faces.forget(gallery.of("lobby")) == 1
    assert faces.forget(gallery) == 0
    if backend == "sqlite":
        file = Path(url.removeprefix("sqlite:///"))
        for path in file.parent.glob(f"{file.name}*"):
            assert JPEG[100:140] not in path.read_bytes()


def test_pictures_that_a_backup_brings_back_are_forgotten_again(
    gallery: Gallery, clock: FakeClock, log: Path
) -> None:
    faces.forget(gallery)
    clock.now -= timedelta(hours=1)  # what comes now is as if it had come back
    enrol(gallery, "a", face=a_kept_face(2))
    see(gallery, 1, "a")
    see(gallery, 2)
    clock.now += timedelta(hours=1, minutes=1)
    events.delete(gallery, uuid(2))
    clock.now -= timedelta(hours=1)
    see(gallery, 2)
    clock.now += timedelta(hours=1)
    see(gallery, 3, "a")
    with log.open("rb") as lines:
        journal = read([lines])
    planned = replay(gallery, journal, dry_run=True)
    assert (planned.faces, planned.events) == (2, [uuid(2)])  # the face, and the picture of the first
    assert replay(gallery, journal) == planned
    with pytest.raises(NotFound):
        events.picture(gallery, uuid(1), MONTH)
    assert events.picture(gallery, uuid(3), MONTH) == JPEG
    assert replay(gallery, journal).faces == 0


def test_vectors_are_not_stored(gallery: Gallery) -> None:
    assert not any("vector" in column.name for column in table.c)
