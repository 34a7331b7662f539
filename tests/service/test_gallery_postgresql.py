"""What only PostgreSQL has: a server that stops, an index that approximates, and other users' connections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import requests
import sqlalchemy as sa

from galleries import MODEL, PostgreSQL, a_sample, enrol, nearest_ids, running_postgresql, vectors_of
from recognition.app import load_gallery
from recognition.config import read
from recognition.errors import GalleryUnavailable
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.tables import DEFAULT_KEY
from recognition.gallery.vector_indexes import index_of
from recognition.gallery.vector_rows import FIRST
from running import free_port, running_pair


@pytest.fixture(scope="module")
def backend() -> str:
    return "postgresql"


def test_a_server_that_stops_is_missed_and_found_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_postgresql() as server:
        gallery, idle = (open_gallery(server.url(), lock_timeout_s=5) for _ in range(2))
        enrol(gallery, ["a"], [1])
        assert nearest_ids(idle, 1) == ["a"]
        server.stop()
        for _ in range(2):
            with pytest.raises(GalleryUnavailable):
                gallery.nearest(vectors_of(1), 1, MODEL)
            with pytest.raises(GalleryUnavailable):
                enrol(gallery, ["b"], [2])
        server.start()
        for worker in (gallery, idle):
            assert nearest_ids(worker, 1) == ["a"]
        enrol(gallery, ["b"], [2])
        assert nearest_ids(idle, 2) == ["b"]
        gallery.close()
        idle.close()


def test_connections_that_the_server_cut_are_made_anew(postgresql: PostgreSQL, gallery: Gallery) -> None:
    enrol(gallery, ["a"], [1])
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    assert postgresql.execute(f"{cut} AND datname LIKE 'gallery%'")
    assert nearest_ids(gallery, 1) == ["a"]


def test_who_cannot_read_in_time_is_told_so(postgresql: PostgreSQL, gallery: Gallery, url: str) -> None:
    impatient = open_gallery(url, lock_timeout_s=0.5)
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("LOCK TABLE samples IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(GalleryUnavailable):
            impatient.count()
        with pytest.raises(GalleryUnavailable):
            nearest_ids(impatient, 1)
    assert impatient.count() == 0
    impatient.close()


def test_a_client_that_stops_while_it_writes_does_not_hold_up_the_others(url: str, gallery: Gallery) -> None:
    """Its transaction is ended when it has been idle for the time limit."""
    stuck = open_gallery(url, lock_timeout_s=0.5)
    connection = stuck.engine.connect().execution_options(write=True)
    writing = connection.begin()
    enrol(gallery, ["a"], [1])  # waits for the other's end, at most 5 s
    with pytest.raises(sa.exc.DBAPIError, match="idle-in-transaction"):
        connection.exec_driver_sql("SELECT 1")
    writing.rollback()
    connection.close()
    stuck.close()
    assert gallery.count() == 1


def test_an_older_url_without_a_driver_and_options_of_its_own_work(url: str) -> None:
    gallery = open_gallery(url.replace("+psycopg", "") + "&options=-c%20application_name%3Ddoor", 5)
    with gallery.engine.connect() as connection:
        shown = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar_one()
            for name in ("application_name", "hnsw.ef_search", "transaction_isolation", "lock_timeout")
        }
    assert shown == {
        "application_name": "door",
        "hnsw.ef_search": "120",
        "transaction_isolation": "repeatable read",
        "lock_timeout": "5s",
    }
    gallery.close()


def clustered(identities: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Faces as a recogniser places them, of length 10: (identities * each, 128), and one more of each."""
    random = np.random.default_rng(7)
    centres = random.normal(size=(identities, 128))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)

    def faces(of: np.ndarray) -> np.ndarray:
        spread = of + 0.6 * random.normal(size=of.shape) / np.sqrt(128)
        return (10 * spread / np.linalg.norm(spread, axis=1, keepdims=True)).astype(np.float32)

    return faces(centres.repeat(each, axis=0)), faces(centres)


# PostgreSQL reads every row of a small gallery, if it is not told otherwise.
WITH_INDEX = "&options=-c%20enable_seqscan%3Doff"


def test_the_index_finds_what_a_search_through_all_finds(postgresql: PostgreSQL, url: str) -> None:
    indexed = open_gallery(url + WITH_INDEX, lock_timeout_s=5)
    vectors, probes = clustered(300, 3)
    indexed.upsert([a_sample(str(number)) for number in range(len(vectors))], vectors, MODEL)
    found = indexed.nearest(probes, 1, MODEL)
    indexed.close()  # the server counts what a connection has done when it ends
    distances = np.linalg.norm(vectors.astype(float) - probes[:, None].astype(float), axis=2)
    hits = [match.sample.id == str(row.argmin()) for (match,), row in zip(found, distances, strict=True)]
    assert np.mean(hits) >= 0.99
    for (match,), row in zip(found, distances, strict=True):
        assert match.distance == pytest.approx(row[int(match.sample.id)], abs=1e-9)
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'samples_by_vector'"
    assert postgresql.execute(scans, sa.make_url(url).database or "") == [(len(probes),)]


def test_a_gallery_that_was_just_filled_is_searched_by_the_index(postgresql: PostgreSQL, url: str) -> None:
    """PostgreSQL has counted nothing of it yet. A coarse index, made at once, is quicker to have."""
    database = sa.make_url(url).database or ""
    gallery = open_gallery(url, lock_timeout_s=30)
    vectors = np.random.default_rng(1).normal(size=(8000, 128)).astype(np.float32)
    gallery.upsert([a_sample("0")], vectors[:1], MODEL)
    postgresql.execute("ALTER TABLE samples SET (autovacuum_enabled = off)", database)
    postgresql.execute("DROP INDEX samples_by_vector", database)
    gallery.upsert([a_sample(str(number)) for number in range(1, len(vectors))], vectors[1:], MODEL)
    coarse = index_of(DEFAULT_KEY, FIRST, 128).replace("ef_construction = 200", "ef_construction = 32")
    postgresql.execute(coarse, database)
    gallery.nearest(vectors[:5], 1, MODEL)
    gallery.close()  # the server counts what a connection has done when it ends
    scans = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'samples_by_vector'"
    assert postgresql.execute(scans, database) == [(5,)]


def test_equally_near_samples_come_in_the_order_of_enrolment_from_the_index_too(url: str) -> None:
    indexed = open_gallery(url + WITH_INDEX, lock_timeout_s=5)
    order = [f"{number * 37 % 60:02}" for number in range(60)]
    enrol(indexed, order, [1] * 60)
    enrol(indexed, order[:5], [1] * 5)  # replaced, they keep their places
    for k in (1, 2, 30):
        assert nearest_ids(indexed, 1, k) == order[:k]
    indexed.close()


def test_what_the_index_does_not_find_is_looked_for_in_every_row(url: str) -> None:
    short_sighted = "&options=-c%20enable_seqscan%3Doff%20-c%20hnsw.iterative_scan%3Doff"
    indexed = open_gallery(url + short_sighted, lock_timeout_s=5, ef_search=1)
    enrol(indexed, [str(seed) for seed in range(40)], range(40))
    found = indexed.nearest(vectors_of(3, 1, 2), 40, MODEL)
    assert [matches[0].sample.id for matches in found] == ["3", "1", "2"]
    assert [len({match.sample.id for match in matches}) for matches in found] == [40, 40, 40]
    indexed.close()


def test_only_the_probes_that_the_index_leaves_short_are_looked_for_in_every_row(url: str) -> None:
    """The index keeps equal vectors as one: with one candidate it finds the ten "1", and a single other.

    "1" is not among the nine that are nearest to 8 or to 9.
    """
    short_sighted = "&options=-c%20enable_seqscan%3Doff%20-c%20hnsw.iterative_scan%3Doff"
    indexed = open_gallery(url + short_sighted, lock_timeout_s=5, ef_search=1)
    enrol(indexed, [f"1-{number}" for number in range(10)], [1] * 10)
    enrol(indexed, [str(seed) for seed in range(2, 15)], range(2, 15))
    sent: list[int] = []

    def count(*call: Any) -> None:
        if "probes" in call[3]:
            sent.append(len(call[3]["probes"]))

    sa.event.listen(indexed.engine, "before_cursor_execute", count)
    found = indexed.nearest(vectors_of(8, 1, 9, 1), 1, MODEL)
    assert [[match.sample.id for match in matches] for matches in found] == [["8"], ["1-0"], ["9"], ["1-0"]]
    assert sent == [4, 2]  # all faces in one question, then the two in another
    indexed.close()


def test_ids_are_ordered_by_code_points_whatever_the_database_orders_by(
    postgresql: PostgreSQL, url: str, gallery: Gallery
) -> None:
    asked = "SELECT collation_name FROM information_schema.columns WHERE column_name = 'sample_id'"
    assert postgresql.execute(asked, sa.make_url(url).database or "") == [("C",)]


def test_vectors_too_long_for_the_index_are_searched_all(gallery: Gallery) -> None:
    wide = vectors_of(1, 2, 3, dimension=4096)
    gallery.upsert([a_sample(sample_id) for sample_id in "abc"], wide, "wide")
    (matches,) = gallery.nearest(wide[1:2], 1, "wide")
    assert (matches[0].sample.id, matches[0].distance) == ("b", 0)


def test_a_model_of_another_dimension_comes_after_one_that_left_dead_rows(url: str, gallery: Gallery) -> None:
    """An old reader keeps deleted rows from being swept up; an index over them would not fit."""
    enrol(gallery, ["a"], [1])
    with psycopg.connect(url.replace("+psycopg", "")) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")
        gallery.delete("a")
        gallery.upsert([a_sample("b")], vectors_of(1, dimension=512), "model-b")
    assert gallery.nearest(vectors_of(1, dimension=512), 1, "model-b")[0][0].sample.id == "b"


def test_a_cleared_gallery_leaves_no_face_behind(url: str, gallery: Gallery) -> None:
    enrol(gallery, list("abc"), range(3))
    gallery.clear()
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT pg_relation_size('samples')").fetchone() == (0,)


def test_a_server_that_is_not_there_stops_the_start_without_telling_the_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = f"postgresql+psycopg://door:secret@127.0.0.1:{free_port()}/faces"
    with pytest.raises(SystemExit) as stopped:
        load_gallery(read({"DATABASE_URL": url, "GALLERY_LOCK_TIMEOUT_S": "1"}))
    assert stopped.value.code == 3
    said = capsys.readouterr().err
    assert said.startswith("face_detection cannot start: DATABASE_URL: The database cannot be used")
    assert "onnection refused" in said
    assert "secret" not in said
    assert said.count("\n") == 1


def test_a_database_that_is_not_in_utf8_is_refused(postgresql: PostgreSQL) -> None:
    postgresql.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(GalleryUnavailable, match="UTF8"):
        open_gallery(postgresql.url("latin"), lock_timeout_s=5)
    postgresql.execute("DROP DATABASE latin WITH (FORCE)")


def test_a_user_who_may_not_create_the_extension_is_told_so(postgresql: PostgreSQL) -> None:
    postgresql.execute("CREATE ROLE guest LOGIN")
    with postgresql.database() as name:
        postgresql.execute("GRANT CREATE ON SCHEMA public TO guest", name)
        url = postgresql.url(name).replace("postgres:@", "guest:@")
        with pytest.raises(GalleryUnavailable, match="pgvector"):
            open_gallery(url, lock_timeout_s=5)
    postgresql.execute("DROP ROLE guest")


def test_both_services_over_postgresql(
    url: str,
    tmp_path: Path,
    models_dir: Path,
    photographs: dict[str, list[Path]],
    as_base64: Callable[[Path], str],
) -> None:
    """DATABASE_URL is all that changes."""
    with running_pair(tmp_path, models_dir, DATABASE_URL=url) as pair:
        image = as_base64(photographs["madonna"][0])
        for sample_id in ("1", "2"):
            body = [{"id": sample_id, "name": "Madonna", "image": image}]
            answer = requests.post(f"{pair.url}/update-samples", json=body, timeout=60)
            assert answer.json()["success"] == [sample_id]
        answer = requests.post(f"{pair.url}/face-recognition", json={"image": image}, timeout=60)
        assert [face["id"] for face in answer.json()] == ["1"]
    gallery = open_gallery(url, lock_timeout_s=5)
    assert gallery.count("Madonna") == 2
    gallery.close()
