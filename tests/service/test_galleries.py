"""Galleries of a database: made, listed, deleted; each with a revision, a model and a memory of its own."""

from __future__ import annotations

import io
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

from fakes import app_of
from galleries import MODEL, NOW, FakeClock, a_sample, enrol, nearest_ids, vectors_of
from recognition.errors import GalleryExists, GalleryModelMismatch
from recognition.gallery import Gallery, galleries, keep_up, open_gallery, people, rows, transfer
from recognition.gallery import backup as backups
from recognition.gallery.database import transaction
from recognition.gallery.vector_indexes import INDEXED_FROM
from serving.errors import InvalidRequest, NotFound

HOUR = timedelta(hours=1)
SCOPED = re.compile(r"\b(samples|persons|tombstones)\b")
# What keeps a statement in its gallery: that it says so, or that it finds its rows by a key, found so before.
KEPT = re.compile(r'\bgallery\b|\b(key|person)"? (=|IN)')
# How many all have, by which it is chosen how to read one gallery; and what is done if others are empty.
OF_ALL = re.compile(r"SELECT galleries\.samples \nFROM galleries$|TRUNCATE ")


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


@pytest.fixture
def lobby(gallery: Gallery) -> Gallery:
    galleries.make(gallery, "lobby")
    return gallery.of("lobby")


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of(gallery).test_client()


def told(gallery: Gallery) -> list[tuple[str, int, int]]:
    return [(each.name, each.samples, each.persons) for each in galleries.listed(gallery)]


def test_the_same_ids_and_names_are_other_ones_in_another_gallery(gallery: Gallery, lobby: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    enrol(lobby, ["a"], [3])
    people.make(lobby, "Ann", person_id="ann")
    assert told(gallery) == [("default", 2, 2), ("lobby", 1, 2)]
    assert set(nearest_ids(gallery, 3, k=9)) == {"a", "b"} and nearest_ids(lobby, 1, k=9) == ["a"]
    assert lobby.delete("b") is False and lobby.delete_named("name of b") == 0
    assert lobby.delete("a") and gallery.count() == 2
    with pytest.raises(NotFound):
        people.get(gallery, "ann")
    lobby.clear()
    assert told(gallery) == [("default", 2, 2), ("lobby", 0, 0)]
    assert set(nearest_ids(gallery, 3, k=9)) == {"a", "b"}
    assert gallery.total() == 2


def test_over_http(client: FlaskClient) -> None:
    made = client.post("/galleries", json={"name": "lobby"})
    assert (made.status_code, made.json and made.json["name"]) == (200, "lobby")
    for path, status, code in (("lobby", 409, "gallery_exists"), ("", 400, "invalid_request")):
        refused: Any = client.post("/galleries", json={"name": path})
        assert (refused.status_code, refused.json["code"]) == (status, code)
    assert client.post("/persons?gallery=lobby", json={"id": "ann", "name": "Ann"}).status_code == 200
    assert client.get("/persons/ann").status_code == 404
    assert client.get("/persons/ann?gallery=lobby").status_code == 200
    listed: Any = client.get("/galleries").json
    assert [(each["name"], each["samples"], each["persons"]) for each in listed["galleries"]] == [
        ("default", 0, 0),
        ("lobby", 0, 1),
    ]
    assert client.delete("/galleries/lobby").json == {"success": ["lobby"]}
    for answer in (client.delete("/galleries/lobby"), client.get("/samples?gallery=lobby")):
        assert (answer.status_code, answer.json and answer.json["code"]) == (404, "not_found")
    refused = client.delete("/galleries/default")
    assert (refused.status_code, refused.json["code"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "-a", "a b", "a/b", "a:b", "a#", "ä", "a\n", "x" * 65, None, 7]
)
def test_names_that_none_may_have(client: FlaskClient, name: object) -> None:
    assert client.post("/galleries", json={"name": name}).status_code == 400


def test_a_picture_without_a_face_does_not_hide_that_there_is_no_such_gallery(client: FlaskClient) -> None:
    for path in ("/face-recognition", "/draw", "/update-samples", "/samples", "/import"):
        answer = client.post(f"{path}?gallery=nowhere", data={"file": (io.BytesIO(b""), "x")})
        assert (answer.status_code, answer.json and answer.json["code"]) == (404, "not_found"), path


def test_what_cannot_be_made_or_deleted(gallery: Gallery, lobby: Gallery) -> None:
    for name in ("lobby", "default"):
        with pytest.raises(GalleryExists):
            galleries.make(gallery, name)
    with pytest.raises(InvalidRequest):
        galleries.delete(gallery)
    galleries.delete(lobby)
    for call in (
        lambda: galleries.delete(lobby),
        lambda: enrol(lobby, ["a"], [1]),
        lambda: nearest_ids(lobby, 1),
        lobby.count,
        lobby.clear,
        lobby.load,
    ):
        with pytest.raises(NotFound):
            call()
    assert galleries.listed(lobby, alone=True) == []
    assert gallery.searched() <= {"default"}


def test_each_has_its_own_model(gallery: Gallery, lobby: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    wide = vectors_of(1, dimension=256)
    lobby.upsert([a_sample("w")], wide, "model-b")
    assert lobby.nearest(wide, 1, "model-b")[0][0].sample.id == "w"
    for other, vector, model in ((lobby, vectors_of(1), MODEL), (gallery, wide, "model-b")):
        with pytest.raises(GalleryModelMismatch):
            other.nearest(vector, 1, model)
        with pytest.raises(GalleryModelMismatch):
            other.upsert([a_sample("x")], vector, model)
    lobby.clear()
    enrol(lobby, ["x"], [2])
    assert (nearest_ids(lobby, 2), nearest_ids(gallery, 2)) == (["x"], ["a"])


def test_a_change_in_one_lets_no_other_read_anything(url: str, backend: str, gallery: Gallery) -> None:
    if backend == "postgresql":
        return  # where nothing is read into memory
    galleries.make(gallery, "lobby")
    lobby = gallery.of("lobby")
    for each in (gallery, lobby):
        enrol(each, ["a"], [1])
        assert nearest_ids(each, 1) == ["a"]
    with closing(open_gallery(url, lock_timeout_s=5)) as other:
        enrol(other, ["b"], [2])
        other.delete("b")
        read: list[str] = []
        sa.event.listen(gallery.engine, "before_cursor_execute", lambda *call: read.append(call[2]))
        assert nearest_ids(lobby, 1) == ["a"]
        assert not [text for text in read if "vector" in text]
        read.clear()
        assert nearest_ids(gallery, 1) == ["a"]
        assert [text for text in read if "tombstones" in text]


def test_a_deleted_gallery_leaves_memory_and_file(
    url: str, backend: str, gallery: Gallery, lobby: Gallery
) -> None:
    with closing(open_gallery(url, lock_timeout_s=5)) as other:
        enrol(lobby, ["vanishing-id"], [1])
        assert nearest_ids(other.of("lobby"), 1) == ["vanishing-id"]
        galleries.delete(lobby)
        assert gallery.searched() <= {"default"}
        answers = [False, True]
        keep_up(other, lambda seconds: answers.pop(0))
        assert other.searched() == {"default"}
        if backend == "sqlite":
            file = Path(sa.make_url(url).database or "")
            for path in file.parent.iterdir():
                assert b"vanishing-id" not in path.read_bytes(), path
        galleries.make(other, "lobby")
        assert nearest_ids(lobby, 1) == []


def test_each_expires_by_itself(gallery: Gallery, lobby: Gallery, clock: FakeClock) -> None:
    for each in (gallery, lobby):
        until = a_sample("a", expires_at=NOW + timedelta(seconds=1))
        each.upsert([until, a_sample("b")], vectors_of(1, 2), MODEL)
    clock.now = NOW + timedelta(seconds=2)
    assert (lobby.count(), gallery.count(), gallery.total()) == (1, 1, 2)
    enrol(lobby, ["c"], [3])
    with gallery.engine.connect() as connection:
        left = connection.exec_driver_sql("SELECT gallery FROM samples WHERE sample_id = 'a'").scalars().all()
    assert left == [1]
    answers = [False, True]
    keep_up(lobby, lambda seconds: answers.pop(0))
    with gallery.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM samples").scalar_one() == 3


def test_export_and_import_are_of_one_gallery(gallery: Gallery, lobby: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    enrol(lobby, ["c"], [3])
    file = b"".join(transfer.export(gallery))
    assert b'"c"' not in file
    assert transfer.import_file(lobby, io.BytesIO(file)).imported == 2
    assert (lobby.count(), gallery.count()) == (3, 2)
    assert list(transfer.faults(gallery)) == []


def test_a_backup_has_all_of_them(url: str, backend: str, lobby: Gallery, tmp_path: Path) -> None:
    if backend == "postgresql":
        return
    enrol(lobby, ["a"], [1])
    assert backups.backup(lobby.of("default"), tmp_path / "copy") == 1
    with closing(open_gallery(f"sqlite:///{tmp_path / 'copy'}", lock_timeout_s=5)) as copy:
        assert nearest_ids(copy.of("lobby"), 1) == ["a"]


def test_a_vector_that_was_moved_to_another_gallery_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "gallery.sqlite3"
    gallery = open_gallery(f"sqlite:///{file}", lock_timeout_s=5, key=bytes(32))
    for name in ("lobby", "vault"):
        galleries.make(gallery, name)
        enrol(gallery.of(name), ["a", "b"], [1, 2])
    with closing(sqlite3.connect(file)) as connection, connection:
        keys = "SELECT key FROM galleries WHERE name = "
        vector = f"SELECT vector FROM samples WHERE sample_id = 'a' AND gallery = ({keys} 'lobby')"
        connection.execute(
            f"UPDATE samples SET vector = ({vector}) WHERE sample_id = 'a' AND gallery = ({keys} 'vault')"
        )
    assert nearest_ids(gallery.of("lobby"), 1, k=9) == ["a", "b"]
    assert nearest_ids(gallery.of("vault"), 1, k=9) == ["b"]
    gallery.close()


def test_a_sample_whose_person_is_of_another_gallery_is_a_fault(gallery: Gallery, lobby: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    enrol(lobby, ["b"], [2])
    assert list(transfer.faults(lobby)) == []
    with gallery.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE samples SET person = (SELECT min(key) FROM persons)")
    assert "sample 'b': its person is of another gallery" in list(transfer.faults(lobby))


def test_a_number_that_is_wrong_is_a_fault(gallery: Gallery, lobby: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    enrol(lobby, ["b", "c"], [2, 3])
    with gallery.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE galleries SET samples = 7, people = 0 WHERE name = 'lobby'")
    assert list(transfer.faults(gallery)) == [
        "gallery 'lobby': it is said to have 7 samples, and there are 2",
        "gallery 'lobby': it is said to have 0 people, and there are 2",
    ]
    lobby.clear()
    assert list(transfer.faults(gallery)) == []


def test_nobody_counts_all_samples_or_people(gallery: Gallery, lobby: Gallery, clock: FakeClock) -> None:
    """Only what has expired and cannot be removed yet is counted."""
    gallery.upsert([a_sample("a"), a_sample("b", expires_at=NOW + HOUR)], vectors_of(1, 2), MODEL)
    people.change(gallery, gallery.get("a").person, {"expires_at": NOW + HOUR})  # type: ignore[union-attr, arg-type]
    enrol(gallery, ["c"], [3])
    enrol(lobby, ["d"], [4])
    sent: list[str] = []
    sa.event.listen(gallery.engine, "before_cursor_execute", lambda *call: sent.append(call[2]))
    assert (gallery.count(), lobby.count(), gallery.total()) == (3, 1, 4)
    assert [each.persons for each in galleries.listed(gallery)] == [3, 1]
    assert people.page(gallery, limit=1).total == 3
    assert not any(re.match(r"SELECT count\(\*\) AS \w+ \nFROM (samples|persons)", text) for text in sent)
    clock.now = NOW + HOUR
    assert (gallery.count(), lobby.count(), gallery.total()) == (1, 1, 2)
    assert [each.samples for each in galleries.listed(gallery)] == [1, 1]


def test_every_statement_is_kept_in_its_gallery(gallery: Gallery, lobby: Gallery, clock: FakeClock) -> None:
    sent: list[str] = []
    sa.event.listen(gallery.engine, "before_cursor_execute", lambda *call: sent.append(call[2]))
    everything(lobby, clock)
    scoped = [text for text in sent if SCOPED.search(text)]
    assert len(scoped) > 50
    assert [text for text in scoped if not KEPT.search(text) and not OF_ALL.match(text)] == []


def everything(gallery: Gallery, clock: FakeClock) -> None:
    """All that can be done in a gallery."""
    soon = {"expires_at": NOW + timedelta(seconds=1)}
    gallery.upsert([a_sample("e", **soon), a_sample("f")], vectors_of(1, 2), MODEL)
    people.make(gallery, "Ann", person_id="ann", **soon)
    people.make(gallery, "Ben", person_id="ben")
    gallery.load()
    clock.now = NOW + timedelta(seconds=2)
    nearest_ids(gallery, 1, k=5)
    gallery.nearest(vectors_of(1), 2, MODEL, per_person=True)
    people.page(gallery, limit=1, q="n", after=people.page(gallery, limit=1).next)
    gallery.page(limit=1, name="x", after="a")
    gallery.count(person="ben")
    enrol(gallery, ["f", "g"], [3, 4])
    people.change(gallery, "ben", {"name": "Bea"})
    people.change_sample(gallery, "f", {"person": "ben"})
    people.merge(gallery, "ben", gallery.get("g").person)  # type: ignore[union-attr, arg-type]
    file = b"".join(transfer.export(gallery))
    transfer.import_file(gallery, io.BytesIO(file))
    gallery.delete("f")
    gallery.delete_named("name of g")
    nearest_ids(gallery, 1)
    gallery.refresh()
    gallery.clear()


def test_a_large_gallery_is_searched_by_an_index_of_its_own(
    url: str, backend: str, gallery: Gallery, lobby: Gallery
) -> None:
    """And a small one beside it is searched exactly."""
    if backend == "sqlite":
        return
    galleries.make(gallery, "vault")
    vault = gallery.of("vault")
    vectors = np.random.default_rng(1).normal(size=(INDEXED_FROM, 16)).astype(np.float32)
    lobby.upsert([a_sample(str(n)) for n in range(len(vectors) - 1)], vectors[:-1], MODEL)
    vault.upsert([a_sample(str(n)) for n in range(20)], vectors[:20] + 1e-3, MODEL)
    assert indexes(url) == []
    lobby.upsert([a_sample("last")], vectors[-1:], MODEL)
    (name,) = indexes(url)
    found = lobby.nearest(vectors[-3:], 1, MODEL)
    assert [match.sample.id for (match,) in found] == ["1997", "1998", "last"]
    assert [match.sample.id for (match,) in vault.nearest(vectors[:20], 1, MODEL)] == [
        str(n) for n in range(20)
    ]
    gallery.engine.dispose()  # the server counts what a connection has done when it ends
    assert scans(url, name) == 3
    galleries.delete(lobby)
    assert indexes(url) == []
    assert vault.count() == 20


def query(url: str, statement: str) -> list[Any]:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute(statement).fetchall()  # type: ignore[arg-type]


def indexes(url: str) -> list[str]:
    return [name for (name,) in query(url, "SELECT indexname FROM pg_indexes WHERE indexdef LIKE '%hnsw%'")]


def scans(url: str, index: str) -> int:
    ((count,),) = query(url, f"SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = '{index}'")
    return int(count)


def test_a_gallery_can_be_made_and_deleted_while_others_enrol(url: str, gallery: Gallery) -> None:
    """A deletion between two enrolments: nothing of the second is stored anywhere."""
    galleries.make(gallery, "lobby")
    with closing(open_gallery(url, lock_timeout_s=5)) as other:
        enrol(other.of("lobby"), ["a"], [1])
        galleries.delete(gallery.of("lobby"))
        with pytest.raises(NotFound):
            enrol(other.of("lobby"), ["b"], [2])
    assert gallery.total() == 0


def test_without_a_gallery_no_statement_is_sent(gallery: Gallery) -> None:
    """A transaction that has entered none cannot look for rows."""
    with pytest.raises(KeyError), transaction(gallery.engine) as connection:
        rows.count(connection)
    with pytest.raises(NotFound):
        gallery.of("nowhere").check_there()
