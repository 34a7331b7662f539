"""Milvus as the index of a gallery: what is lost, late, restored, killed and erased, over both databases."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient
from werkzeug.test import TestResponse

from galleries import (
    MODEL,
    NOW,
    FakeClock,
    MilvusServer,
    OtherProcess,
    a_sample,
    enrol,
    milvus_database,
    nearest_ids,
    vectors_of,
)
from recognition import config
from recognition.app import create_app
from recognition.cli import checks
from recognition.cli.check import Check
from recognition.errors import GalleryUnavailable
from recognition.faces import Box, Face
from recognition.gallery import Gallery, open_gallery, people
from recognition.gallery import galleries as listed
from recognition.gallery.milvus_source import rows_of
from recognition.gallery.search_milvus import GRACE_S, MilvusSearch
from recognition.seeing import fingerprint_of
from running import free_port
from serving.model import Model
from serving.remarks import Picture


@pytest.fixture
def index(milvus: str) -> Iterator[str]:
    with milvus_database(milvus) as address:
        yield address


@pytest.fixture
def gallery(url: str, index: str, clock: FakeClock) -> Iterator[Gallery]:
    with closing(open_gallery(url, lock_timeout_s=5, index=index, clock=clock)) as gallery:
        yield gallery


@pytest.fixture
def client(milvus: str, index: str) -> Iterator[MilvusClient]:
    """Somebody else, who sees and does what they like in Milvus."""
    client = MilvusClient(milvus, db_name=index.rpartition("/")[2], dedicated=True)
    yield client
    client.close()


def held(client: MilvusClient, gallery: Gallery) -> list[str]:
    """The ids of the samples whose vectors are in Milvus, in order; ? where there is no such sample."""
    with gallery.engine.connect() as connection:
        ids = dict(connection.exec_driver_sql("SELECT key, sample_id FROM samples").all())
    keys: list[int] = []
    for name in client.list_collections():
        client.load_collection(name)
        rows = client.query(name, filter="fill != 0", output_fields=["sample"], limit=10_000)
        keys += [row["sample"] for row in rows]
    return sorted(ids.get(key, "?") for key in keys)


def gallery_key(gallery: Gallery, sample_id: str) -> int:
    with gallery.engine.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT key FROM samples WHERE sample_id = '{sample_id}'")
        key: int = found.scalar_one()
        return key


def kept_up(gallery: Gallery, clock: FakeClock) -> None:
    """Let so much time pass that what was removed is removed from Milvus, too."""
    for _ in range(3):
        gallery.load()
        clock.now += timedelta(seconds=GRACE_S)


def test_what_was_emptied_is_filled_again(gallery: Gallery, client: MilvusClient) -> None:
    enrol(gallery, list("abc"), [1, 2, 3])
    assert nearest_ids(gallery, 2, k=9)[0] == "b"
    (name,) = client.list_collections()
    client.drop_collection(name)
    assert nearest_ids(gallery, 2) == ["b"]
    assert held(client, gallery) == list("abc")
    client.delete(name, filter="fill >= 0")  # the collection stays, and has nothing
    assert nearest_ids(gallery, 3) == ["c"]
    client.delete(name, filter="fill != 0")  # all but the mark, which says that everything is there
    assert nearest_ids(gallery, 1) == ["a"]
    assert nearest_ids(gallery, 1) == ["a"]
    assert held(client, gallery) == list("abc")
    enrol(gallery, ["d"], [4])
    client.drop_collection(name)
    assert nearest_ids(gallery, 4) == ["d"]


def test_other_processes_find_what_one_has_filled_again(
    url: str, index: str, gallery: Gallery, client: MilvusClient
) -> None:
    enrol(gallery, list("abc"), [1, 2, 3])
    with closing(open_gallery(url, lock_timeout_s=5, index=index)) as other:
        assert nearest_ids(gallery, 2) == nearest_ids(other, 2) == ["b"]
        client.drop_collection(client.list_collections()[0])
        assert nearest_ids(other, 2) == ["b"]
        assert nearest_ids(gallery, 2) == ["b"]
        assert held(client, gallery) == list("abc")


SERVED = Model("a model", 128, 8, 9.0, (0.0, 20.0), "fingerprint")


class ConstantEmbedder:
    def model(self, name: str | None = None) -> Model:
        return SERVED

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.repeat(vectors_of(1), len(crops), axis=0)


def recognised(gallery: Gallery) -> TestResponse:
    app = create_app(
        config.read({"MIN_QUALITY": "0"}),
        detector=lambda _: [Face(Box(0, 0, 5, 5), 0.9, np.full((5, 2), 2, np.float32))],
        embedder=ConstantEmbedder(),
        gallery=gallery,
        decode=lambda _: Picture(np.zeros((20, 20, 3), np.uint8)),
    )
    return app.test_client().post("/face-recognition", json={"image": "YQ=="})


def test_a_server_that_is_away_is_missed_and_found_again(url: str, tmp_path: Path) -> None:
    server = MilvusServer(tmp_path)
    address = server.address.replace("//", "//me:hidden-secret@")
    with closing(open_gallery(url, lock_timeout_s=1, index=address)) as gallery:
        enrol(gallery, ["a", "b"], [1, 2])
        assert nearest_ids(gallery, 2) == ["b"]
        server.kill()
        with pytest.raises(GalleryUnavailable) as caught:
            nearest_ids(gallery, 2)
        assert "GALLERY_INDEX" in str(caught.value)
        assert not any(secret in str(caught.value) for secret in ("hidden", "127.0.0.1", str(server.port)))
        enrol(gallery, ["c"], [3])  # which needs no index
        gallery.delete("b")
        gallery.load()  # as the upkeep does: it says so in the log
        server.start()
        assert nearest_ids(gallery, 3) == ["c"]
        assert nearest_ids(gallery, 2, k=9) != ["b"]
        assert set(nearest_ids(gallery, 2, k=9)) == {"a", "c"}
    server.kill()


def test_a_service_starts_without_it(sqlite_url: str, tmp_path: Path) -> None:
    server = MilvusServer(tmp_path)
    server.kill()
    with closing(open_gallery(sqlite_url, lock_timeout_s=1, index=server.address)) as gallery:
        gallery.load()
        enrol(gallery, ["a"], [1], fingerprint_of(SERVED))
        answer = recognised(gallery)
        assert (answer.status_code, answer.json["code"]) == (503, "gallery_unavailable")
        assert "GALLERY_INDEX" in answer.json["detail"]
        assert not any(secret in answer.text for secret in ("127.0.0.1", str(server.port)))
        server.start()
        assert [face["id"] for face in recognised(gallery).json] == ["a"]
    server.kill()


def test_an_older_state_of_milvus_is_brought_up_to_date(
    sqlite_url: str, clock: FakeClock, tmp_path: Path
) -> None:
    server = MilvusServer(tmp_path)
    with closing(open_gallery(sqlite_url, lock_timeout_s=5, index=server.address, clock=clock)) as gallery:
        enrol(gallery, ["a", "b"], [1, 2])
        assert nearest_ids(gallery, 2) == ["b"]
    server.kill()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    server.start()
    with closing(open_gallery(sqlite_url, lock_timeout_s=5, index=server.address, clock=clock)) as gallery:
        enrol(gallery, ["b", "c"], [5, 3])
        gallery.delete("a")
        assert nearest_ids(gallery, 3) == ["c"]
        server.kill()
        shutil.rmtree(tmp_path / "data")
        (tmp_path / "copy").rename(tmp_path / "data")
        server.start()
        assert nearest_ids(gallery, 5) == ["b"]
        assert set(nearest_ids(gallery, 3, k=9)) == {"b", "c"}
    server.kill()


def test_what_is_erased_leaves_milvus(gallery: Gallery, client: MilvusClient, clock: FakeClock) -> None:
    enrol(gallery, list("abcd"), [1, 2, 3, 4])
    assert nearest_ids(gallery, 2) == ["b"]
    gallery.delete("b")
    clock.now += timedelta(seconds=1)
    gallery.upsert([a_sample("c", modified=NOW + timedelta(seconds=1))], vectors_of(9), MODEL)
    people.delete(gallery, str(gallery.get("d").person))  # type: ignore[union-attr]
    assert nearest_ids(gallery, 9) == ["c"]
    kept_up(gallery, clock)
    assert held(client, gallery) == list("ac")
    assert set(nearest_ids(gallery, 1, k=9)) == {"a", "c"}
    gallery.clear()
    kept_up(gallery, clock)
    assert client.list_collections() == []
    enrol(gallery, ["a"], [1])
    assert nearest_ids(gallery, 1) == ["a"]


def test_a_deleted_gallery_leaves_milvus_and_a_changed_model_too(
    gallery: Gallery, client: MilvusClient, clock: FakeClock
) -> None:
    listed.make(gallery, "lobby")
    lobby = gallery.of("lobby")
    enrol(gallery, ["a"], [1])
    enrol(lobby, ["x", "y"], [1, 2])
    assert nearest_ids(gallery, 1, k=9) == ["a"]
    assert nearest_ids(lobby, 2) == ["y"]
    assert held(client, gallery) == list("axy")
    listed.delete(lobby)
    kept_up(gallery, clock)
    assert held(client, gallery) == list("a")
    gallery.clear()
    enrol(gallery, ["b"], [1], fingerprint="model-b")
    assert gallery.nearest(vectors_of(1), 1, "model-b")[0][0].sample.id == "b"
    kept_up(gallery, clock)
    assert held(client, gallery) == list("b")
    assert len(client.list_collections()) == 1


def test_what_has_expired_is_not_found_though_milvus_has_it(
    gallery: Gallery, client: MilvusClient, clock: FakeClock
) -> None:
    until = NOW + timedelta(hours=1)
    gone = [a_sample(f"gone {number}", expires_at=until) for number in range(40)]
    gallery.upsert(gone, vectors_of(*[1] * 40), MODEL)
    enrol(gallery, ["a", "b"], [1, 2])
    assert "gone" in nearest_ids(gallery, 1)[0]
    clock.now = until
    assert nearest_ids(gallery, 1, k=3) == ["a", "b"]  # beyond the first candidates
    assert len(held(client, gallery)) == 42


def test_candidates_come_from_milvus_and_changes_are_all_that_is_put(
    gallery: Gallery, client: MilvusClient
) -> None:
    enrol(gallery, [chr(97 + seed) for seed in range(20)], range(20))
    everything = nearest_ids(gallery, 1, k=20)
    assert everything[0] == "b"
    (name,) = client.list_collections()
    key = gallery_key(gallery, "b")
    client.delete(name, filter=f"fill != 0 and sample == {key}")
    assert nearest_ids(gallery, 1, k=3) == everything[1:4]  # so Milvus is asked
    enrol(gallery, ["new"], [30])
    assert nearest_ids(gallery, 30) == ["new"]
    assert len(held(client, gallery)) == 20
    assert nearest_ids(gallery, 1, k=21)[0] == "b"  # fewer came than there are: all are compared


def test_more_than_milvus_returns_are_compared_in_the_database(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recognition.gallery.search_milvus.MOST", 12)
    enrol(gallery, [f"{number:02}" for number in range(40)], [1] * 40)
    assert nearest_ids(gallery, 1, k=30) == [f"{number:02}" for number in range(30)]


def test_doctor_says_whether_milvus_answers(sqlite_url: str, milvus: str) -> None:
    def about(address: str) -> Check:
        settings = config.read({"DATABASE_URL": sqlite_url, "GALLERY_INDEX": address})
        (found,) = [check for check in checks._gallery(settings) if check.name == "gallery index"]
        return found

    there = about(milvus.replace("//", "//me:hidden-secret@"))
    assert there.ok and "hidden" not in f"{there}"
    away = about(f"http://me:hidden-secret@127.0.0.1:{free_port()}")
    assert not away.ok and "hidden" not in f"{away}"


# --- killed


def search_until_killed(connection: Connection, url: str, index: str) -> None:
    """Search again and again, and tell of each."""
    with closing(open_gallery(url, lock_timeout_s=30, index=index)) as gallery:
        while True:
            gallery.nearest(vectors_of(0, dimension=8), 1, MODEL)
            connection.send("searched")


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_gallery_milvus"])
    return context


KILLS = int(os.environ.get("KILLS", 2))


@pytest.mark.parametrize("server_too", [False, True])
def test_who_is_killed_while_it_fills_misleads_nobody(
    backend: str, url: str, tmp_path: Path, context: Any, server_too: bool
) -> None:
    if server_too and backend == "postgresql":
        pytest.skip("the database has no part in it: once is enough")
    server = MilvusServer(tmp_path)
    chance = random.Random(server_too)
    stored = np.empty((0, 8), np.float32)
    with closing(open_gallery(url, lock_timeout_s=30, index=server.address)) as gallery:
        for run in range(KILLS):
            ours, theirs = context.Pipe(duplex=False)
            new = np.random.default_rng(run).normal(size=(4_000, 8)).astype(np.float32)
            gallery.upsert([a_sample(f"{run}-{row}", name=f"{run}") for row in range(len(new))], new, MODEL)
            stored = np.concatenate([stored, new])
            process = context.Process(target=search_until_killed, args=(theirs, url, server.address))
            process.start()
            theirs.close()
            ours.poll(chance.uniform(0.2, 2.5))  # it opens the gallery, and puts three portions
            if server_too:
                server.kill()
            process.kill()
            process.join()
            ours.close()
            if server_too:
                server.start()
            probes = np.concatenate([new[-3:] + 0.01, np.random.default_rng(run).normal(size=(3, 8))])
            distances = np.linalg.norm(stored.astype(float) - probes[:, np.newaxis], axis=2)
            found = gallery.nearest(probes.astype(np.float32), 1, MODEL)
            assert [match.distance for (match,) in found] == pytest.approx(distances.min(axis=1), abs=1e-5)
    server.kill()


def test_only_one_process_fills_at_a_time(
    url: str, index: str, gallery: Gallery, client: MilvusClient
) -> None:
    new = np.random.default_rng(0).normal(size=(4_000, 8)).astype(np.float32)
    gallery.upsert([a_sample(f"{row}", name="x") for row in range(len(new))], new, MODEL)
    with closing(OtherProcess(url, index)) as other:
        other.begin("nearest", new[:1], 1, MODEL)
        found = gallery.nearest(new[:1], 1, MODEL)
        assert [match.sample.id for match in found[0]] == ["0"]
        assert other.result()[0][0].sample.id == "0"
    assert len(held(client, gallery)) == len(new)


def test_a_process_that_was_stopped_while_it_filled_does_no_harm_when_it_goes_on(
    url: str, index: str, gallery: Gallery, client: MilvusClient
) -> None:
    """As if it had lost its lock meanwhile: another one has put a newer state, and it puts its older one."""
    enrol(gallery, ["a", "b"], [1, 2])
    with closing(open_gallery(url, lock_timeout_s=5, index=index)) as late:
        with late.searching() as (search, connection, state):
            assert isinstance(search, MilvusSearch)
            enrol(gallery, ["a"], [7])
            gallery.delete("b")
            assert nearest_ids(gallery, 7) == ["a"]
            search._fill(connection, state, client.list_collections()[0], 128)
        assert nearest_ids(gallery, 7) == nearest_ids(late, 7) == ["a"]
        assert nearest_ids(gallery, 2, k=9) == nearest_ids(late, 2, k=9) == ["a"]


def test_who_is_killed_between_two_steps_leaves_nothing_wrong(url: str, gallery: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    assert nearest_ids(gallery, 2) == ["b"]
    enrol(gallery, ["a", "c"], [7, 3])
    gallery.delete("b")
    with gallery.searching() as (search, connection, state):
        assert isinstance(search, MilvusSearch) and search._shown is not None
        shown, milvus = search._shown, search._milvus
        keys = [gallery_key(gallery, sample_id) for sample_id in "ac"]
        rows, _ = rows_of(connection, state, keys, 128)
        milvus.put(shown.name, shown.mark.fill, rows, anew=True)  # the mark was to come
    assert set(nearest_ids(gallery, 7, k=9)) == {"a", "c"}
    milvus.put_mark(shown.name, shown.mark, 128)  # an older one was to go
    enrol(gallery, ["d"], [4])
    with closing(open_gallery(url, lock_timeout_s=5)) as exact:
        assert nearest_ids(gallery, 4, k=9) == nearest_ids(exact, 4, k=9)


def test_searches_go_on_while_others_change(url: str, index: str, gallery: Gallery) -> None:
    """Whoever has an older transaction than Milvus shows finds what is in it all the same."""
    enrol(gallery, ["fixed", "x"], [1, 2])
    stop, faults = threading.Event(), list[str]()
    with closing(open_gallery(url, lock_timeout_s=10, index=index)) as other:

        def change() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                enrol(other, ["x", f"new {number % 5}"], [2, 100 + number])
                nearest_ids(other, 2)

        def look() -> None:
            while not stop.is_set():
                if nearest_ids(gallery, 2) != ["x"] or nearest_ids(gallery, 1) != ["fixed"]:
                    faults.append("lost")

        threads = [threading.Thread(target=each) for each in (change, look, look)]
        for thread in threads:
            thread.start()
        stop.wait(4)
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == []


# --- the file of milvus-lite


def test_a_file_is_searched_and_belongs_to_one_process(tmp_path: Path) -> None:
    url, index = f"sqlite:///{tmp_path}/gallery.sqlite3", str(tmp_path / "new folder" / "index.db")
    with closing(open_gallery(url, lock_timeout_s=5, index=index)) as gallery:
        enrol(gallery, ["a", "b"], [1, 2])
        assert nearest_ids(gallery, 2) == ["b"]
        assert oct(Path(index).stat().st_mode & 0o777) == "0o700"
        with closing(OtherProcess(url, index)) as other:
            with pytest.raises(GalleryUnavailable, match="another process has it"):
                other.call("nearest", vectors_of(2), 1, MODEL)
            assert other.call("count") == 2
    with closing(open_gallery(url, lock_timeout_s=5, index=index)) as gallery:
        assert nearest_ids(gallery, 2) == ["b"]


def test_vectors_that_are_encrypted_go_into_no_index(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gallery.sqlite3"
    with pytest.raises(GalleryUnavailable, match="plain text"):
        open_gallery(url, lock_timeout_s=5, index="http://127.0.0.1:1", key=bytes(32))


def test_a_damaged_vector_is_set_aside(
    gallery: Gallery, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    if backend != "sqlite":
        pytest.skip("PostgreSQL takes no damaged vector")
    enrol(gallery, list("abc"), [1, 2, 3])
    with gallery.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE samples SET vector = x'00' WHERE sample_id = 'b'")
    with caplog.at_level(logging.ERROR):
        assert set(nearest_ids(gallery, 2, k=9)) == {"a", "c"}
    assert "'b'" in caplog.text
    assert gallery.damaged() == 1
    enrol(gallery, ["b"], [2])
    assert nearest_ids(gallery, 2) == ["b"]
    assert gallery.damaged() == 0
