"""Small mishaps of a gallery: damaged vectors, a database that cannot be written, files that do not fit."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask.testing import FlaskClient

from embedding.network import prepared_models
from galleries import MODEL, NOW, FakeClock, PostgreSQL, a_sample, enrol, nearest_ids, vectors_of
from recognition.app import create_app
from recognition.audit import Audit
from recognition.config import read
from recognition.errors import AuditUnavailable, GalleryModelMismatch, GalleryUnavailable
from recognition.faces import Box, Face
from recognition.gallery import Gallery, open_gallery, people, portable, transfer
from recognition.gallery.__main__ import cli
from recognition.seeing import fingerprint_of
from serving.model import Model
from serving.remarks import Picture

KEY = bytes(range(32))
SOON = NOW + timedelta(minutes=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gallery.sqlite3"


def opened(file: Path, clock: FakeClock | None = None, **more: Any) -> Gallery:
    return open_gallery(f"sqlite:///{file}", lock_timeout_s=0.2, clock=clock or FakeClock(), **more)


def change(file: Path, statement: str, *values: object) -> None:
    """Change the table as a faulty disk or another program might, and let all workers read it again."""
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(statement, values)
        connection.execute("UPDATE galleries SET revision = revision + 1")
        connection.execute("UPDATE samples SET revision = (SELECT revision FROM galleries)")


# --- damaged vectors


def with_one(value: float) -> bytes:
    vector = vectors_of(2)[0].copy()
    vector[5] = value
    return vector.tobytes()


DAMAGE = {
    "cut": vectors_of(2)[0].tobytes()[:100],
    "cut within a value": vectors_of(2)[0].tobytes()[:-1],
    "too long": vectors_of(2)[0].tobytes() + bytes(4),
    "one byte too long": vectors_of(2)[0].tobytes() + b"x",
    "empty": b"",
    "not a number": with_one(np.nan),
    "infinite": with_one(-np.inf),
    "too large to be compared": with_one(3e38),
    "text": "vector",
    "a number": 5,
}


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def key(request: pytest.FixtureRequest) -> bytes | None:
    taken: bytes | None = request.param
    return taken


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_vector_is_set_aside_and_the_others_are_found(
    file: Path, damage: str, key: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(opened(file, key=key)) as gallery, closing(opened(file, key=key)) as other:
        enrol(gallery, ["a", "the damaged one", "c"], [1, 2, 3])
        assert nearest_ids(other, 2) == ["the damaged one"]
        change(file, "UPDATE samples SET vector = ? WHERE sample_id LIKE 'the %'", DAMAGE[damage])
        with closing(opened(file, key=key)) as restarted:
            restarted.load()
            for worker in (gallery, other, restarted):
                assert nearest_ids(worker, 2, k=9) in (["a", "c"], ["c", "a"])
                assert nearest_ids(worker, 3) == ["c"]
                assert worker.damaged() == 1
            assert [record.message for record in caplog.records if "'the damaged one'" in record.message]
            (fault,) = transfer.faults(gallery)
            assert fault.startswith("sample 'the damaged one': its vector ")
            enrol(other, ["d"], [4])  # the index goes on
            enrol(other, ["the damaged one"], [2])  # in its place
            for worker in (gallery, other, restarted):
                assert nearest_ids(worker, 2) == ["the damaged one"]
                assert nearest_ids(worker, 4) == ["d"]
                assert worker.damaged() == 0
        assert list(transfer.faults(gallery)) == []


def test_a_damaged_sample_can_be_deleted(file: Path) -> None:
    with closing(opened(file)) as gallery:
        enrol(gallery, ["a", "b"], [1, 2])
        change(file, "UPDATE samples SET vector = x'00' WHERE sample_id = 'a'")
        assert nearest_ids(gallery, 1, k=9) == ["b"]
        assert gallery.delete("a")
        assert nearest_ids(gallery, 1, k=9) == ["b"]
        assert gallery.damaged() == 0


def test_the_first_of_the_samples_does_not_decide_which_are_damaged(file: Path, tmp_path: Path) -> None:
    with closing(opened(file)) as gallery:
        enrol(gallery, ["a", "b", "c"], [1, 2, 3])
        change(file, "UPDATE samples SET vector = x'00000000' WHERE sample_id = 'a'")
        gallery.load()
        assert gallery.damaged() == 1
        assert [fault.partition(":")[0] for fault in transfer.faults(gallery)] == ["sample 'a'"]
        assert transfer.export_to(gallery, tmp_path / "file") == 2
        with (tmp_path / "file").open("rb") as exported:
            assert portable.check(exported) == (portable.Header(MODEL, 128), 2)


def test_an_export_leaves_out_what_is_damaged_and_says_so(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(opened(file)) as gallery, closing(opened(tmp_path / "another")) as another:
        enrol(gallery, ["a", "b", "c"], [1, 2, 3])
        change(file, "UPDATE samples SET vector = x'00' WHERE sample_id = 'b'")
        data = b"".join(transfer.export(gallery))
        (tmp_path / "file").write_bytes(data)
        with (tmp_path / "file").open("rb") as exported:
            assert transfer.import_file(another, exported) == (2, 0, 0)
        assert "sample 'b' is not exported: its vector has another length" in caplog.text


def test_many_damaged_samples_take_one_line_of_the_log(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(opened(file)) as gallery:
        enrol(gallery, [str(number) for number in range(100)], range(100))
        change(file, "UPDATE samples SET vector = x'00' WHERE sample_id <> '7'")
        assert nearest_ids(gallery, 1, k=9) == ["7"]
        (line,) = [record.message for record in caplog.records if "damaged" in record.message]
        assert line.startswith("99 samples are set aside")
        assert line.count("'") == 2 * 20


# --- over HTTP

FACE = Face(Box(0, 0, 5, 5), 0.9, np.array([[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]], np.float32))
SERVED = Model("a model", 128, 8, 9.0, (0.0, 20.0), "fingerprint")
FINGERPRINT = fingerprint_of(SERVED)


class ConstantEmbedder:
    def model(self, name: str | None = None) -> Model:
        return SERVED

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.repeat(vectors_of(1), len(crops), axis=0)


def client(gallery: Gallery) -> FlaskClient:
    app = create_app(
        read({"MIN_QUALITY": "0"}),
        detector=lambda _: [FACE],
        embedder=ConstantEmbedder(),
        gallery=gallery,
        decode=lambda _: Picture(np.zeros((20, 20, 3), np.uint8)),
    )
    return app.test_client()


def recognise(service: FlaskClient) -> Any:
    return service.post("/face-recognition", json={"image": base64.b64encode(b"a picture").decode()})


def test_ready_counts_damaged_samples_and_a_recognition_finds_the_others(file: Path) -> None:
    with closing(opened(file)) as gallery:
        enrol(gallery, ["a", "b"], [1, 2], FINGERPRINT)
        change(file, "UPDATE samples SET vector = x'00' WHERE sample_id = 'b'")
        service = client(gallery)
        answer = recognise(service)
        assert (answer.status_code, [face["id"] for face in answer.json]) == (200, ["a"])
        ready = service.get("/ready")
        assert ready.status_code == 200
        assert ready.json is not None
        assert ready.json["gallery"] == {"samples": 2, "damaged": 1}


# --- a database that cannot be written, with samples that expire


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def exported_lines(gallery: Gallery) -> list[Any]:
    return [json.loads(line) for line in b"".join(transfer.export(gallery)).splitlines()[1:-1]]


READS: dict[str, Callable[[Gallery], list[str]]] = {
    "nearest": lambda gallery: nearest_ids(gallery, 1, k=9),
    "per name": lambda gallery: [
        match.sample.id for match in gallery.nearest(vectors_of(1), 2, MODEL, per_person=True)[0]
    ],
    "get": lambda gallery: [each for each in "ab" if gallery.get(each)],
    "page": lambda gallery: [sample.id for sample in gallery.page(limit=9)],
    "count": lambda gallery: ["a", "b"][2 - gallery.count() :],
    "count of a name": lambda gallery: ["b"] * (gallery.count("name of a") + 1),
    "export": lambda gallery: [line["id"] for line in exported_lines(gallery) if "id" in line],
    "export of people": lambda gallery: [
        line["name"].removeprefix("name of ") for line in exported_lines(gallery) if "id" not in line
    ],
    "people": lambda gallery: [
        person.name.removeprefix("name of ") for person in people.page(gallery, limit=9).persons
    ],
}


@pytest.mark.parametrize("reading", READS)
def test_an_expired_sample_is_not_found_while_the_database_cannot_be_written(
    file: Path, clock: FakeClock, reading: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(opened(file, clock)) as gallery:
        gallery.upsert([a_sample("a", expires_at=SOON), a_sample("b")], vectors_of(1, 2), MODEL)
        nearest_ids(gallery, 1)
        clock.now = SOON
        with locked(file):
            for _ in range(2):
                assert READS[reading](gallery) == ["b"]
            gallery.load()  # as the upkeep does
        assert "gallery_unavailable: samples that have expired cannot be removed yet" in caplog.text
        gallery.load()
        with closing(sqlite3.connect(file)) as connection:
            assert connection.execute("SELECT sample_id FROM samples").fetchall() == [("b",)]
        assert READS[reading](gallery) == ["b"]


def test_an_expired_sample_is_not_found_while_the_audit_log_cannot_be_written(
    file: Path, clock: FakeClock, tmp_path: Path
) -> None:
    with closing(opened(file, clock, audit=Audit(tmp_path / "gone" / "audit"))) as gallery:
        (tmp_path / "gone").mkdir()
        gallery.upsert([a_sample("a", expires_at=SOON), a_sample("b")], vectors_of(1, 2), MODEL)
        (tmp_path / "gone").rename(tmp_path / "away")
        clock.now = SOON
        assert nearest_ids(gallery, 1, k=9) == ["b"]
        gallery.load()
        with pytest.raises(AuditUnavailable):
            gallery.delete("b")
        (tmp_path / "away").rename(tmp_path / "gone")
        gallery.load()
        assert (
            '"what": "expire", "outcome": "done", "ids": ["a"]' in (tmp_path / "gone" / "audit").read_text()
        )


def test_an_expired_sample_is_not_found_in_a_read_only_postgresql(
    postgresql: PostgreSQL, clock: FakeClock
) -> None:
    with (
        postgresql.database() as name,
        closing(open_gallery(postgresql.url(name), 5, clock=clock)) as gallery,
    ):
        gallery.upsert([a_sample("a", expires_at=SOON), a_sample("b")], vectors_of(1, 2), MODEL)
        postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        gallery.engine.dispose()
        clock.now = SOON
        for reading in READS.values():
            assert reading(gallery) == ["b"]
        gallery.load()
        postgresql.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        gallery.engine.dispose()
        gallery.load()
        assert gallery.count() == 1


def test_a_sample_that_was_hidden_and_gets_more_time_is_found_again(file: Path, clock: FakeClock) -> None:
    """The clock of the machine is set back, and the sample enrolled again."""
    with closing(opened(file, clock)) as gallery:
        gallery.upsert([a_sample("a", expires_at=SOON), *map(a_sample, "bcd")], vectors_of(1, 2, 3, 4), MODEL)
        clock.now = SOON
        assert set(nearest_ids(gallery, 1, k=9)) == {"b", "c", "d"}
        clock.now = NOW
        gallery.upsert([a_sample("a")], vectors_of(5), MODEL)
        enrol(gallery, ["e"], [6])
        clock.now = datetime(9999, 1, 1, tzinfo=UTC)
        assert nearest_ids(gallery, 5) == ["a"]
        assert nearest_ids(gallery, 6) == ["e"]


def test_a_storm_of_expiry_keeps_nobody_waiting_and_leaves_nothing(file: Path, clock: FakeClock) -> None:
    """Ten thousand samples expire at once; whoever searches neither finds nor removes them."""
    with closing(opened(file, clock)) as gallery, closing(opened(file, clock)) as upkeep:
        count = 10_000
        vectors = np.random.default_rng(0).normal(size=(count, 128)).astype(np.float32)
        gallery.upsert([a_sample(f"{n}", expires_at=SOON) for n in range(count)], vectors, MODEL)
        enrol(gallery, ["stays"], [1])
        assert nearest_ids(gallery, 1) == ["stays"]
        clock.now = SOON
        with locked(file):
            for _ in range(20):
                assert nearest_ids(gallery, 1, k=9) == ["stays"]
        upkeep.load()
        assert nearest_ids(gallery, 1, k=9) == ["stays"]
        assert gallery.count() == upkeep.count() == 1


# --- a file of the same fingerprint and another dimension


def exported(path: Path, dimension: int, fingerprint: str) -> Path:
    of = portable.Header(fingerprint, dimension)
    records = [(a_sample("a"), vectors_of(1, dimension=dimension)[0])]
    portable.write(path, of, lambda after: records if after is None else [], lambda samples: None)
    return path


def test_import_refuses_a_file_of_another_dimension(gallery: Gallery, tmp_path: Path) -> None:
    file = exported(tmp_path / "file", 64, FINGERPRINT)
    answer = client(gallery).post("/import", data=file.read_bytes(), content_type="application/x-ndjson")
    assert (answer.status_code, gallery.count()) == (409, 0)


def test_vectors_of_another_dimension_are_another_models_whatever_their_fingerprint(
    url: str, gallery: Gallery, tmp_path: Path
) -> None:
    """The command has no model to compare with; who searches is told, and can clear the gallery."""
    file = exported(tmp_path / "file", 64, FINGERPRINT)
    command = CliRunner().invoke(cli, ["--database", url, "import", str(file)])
    assert command.exit_code == 0, command.output
    service = client(gallery)
    for answer in (recognise(service), service.get("/ready")):
        assert answer.json["code"] == "gallery_model_mismatch"
        assert "another number of values" in answer.json["detail"]
    assert recognise(service).status_code == 409
    gallery.load()
    assert service.delete("/samples").status_code == 200
    enrol(gallery, ["b"], [1], FINGERPRINT)
    assert [face["id"] for face in recognise(service).json] == ["b"]


def test_the_command_refuses_what_a_model_that_is_prepared_here_cannot_have_made(
    url: str, gallery: Gallery, tmp_path: Path, models_dir: Path
) -> None:
    (made,) = [made for made, model in prepared_models(models_dir).items() if model.dimension == 128]
    for dimension, crops, status in ((64, "1", 1), (64, "arcface-1", 1), (128, "1", 0)):
        file = exported(tmp_path / f"{dimension}-{crops}", dimension, f"{made}-{crops}")
        command = CliRunner(env={"MODELS_DIR": str(models_dir)}).invoke(
            cli, ["--database", url, "import", str(file)]
        )
        assert command.exit_code == status, command.output
        assert ("another number of values than its model makes" in command.output) == (status == 1)
        assert gallery.count() == 1 - status


def test_a_gallery_of_another_dimension_takes_no_file_of_the_same_fingerprint(
    gallery: Gallery, tmp_path: Path
) -> None:
    enrol(gallery, ["b"], [1], FINGERPRINT)
    with (
        exported(tmp_path / "file", 64, FINGERPRINT).open("rb") as file,
        pytest.raises(GalleryModelMismatch),
    ):
        transfer.import_file(gallery, file)
    assert gallery.count() == 1


# --- damaged pages


def test_damaged_pages_are_said_and_end_nothing(file: Path) -> None:
    """Every page is overwritten once: the answer is an error that is known, or that of an undamaged table."""
    with closing(opened(file)) as gallery:
        enrol(gallery, [f"sample {number:03}" for number in range(100)], range(100))
        gallery.load()
    whole = file.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    outcomes = set()
    for start in range(0, len(whole), size):
        begin = max(start, 100)  # the header of the file says what it is
        file.write_bytes(whole[:begin] + b"\xff" * (start + size - begin) + whole[start + size :])
        for beside in ("-wal", "-shm"):
            file.with_name(file.name + beside).unlink(missing_ok=True)
        try:
            with closing(opened(file)) as gallery:
                outcomes.add(len(nearest_ids(gallery, 1, k=100)))
        except GalleryUnavailable:
            outcomes.add("unavailable")
        command = CliRunner().invoke(cli, ["--database", f"sqlite:///{file}", "verify"])
        assert command.exit_code in (0, 1, 3), command.output
        assert not command.exception or isinstance(command.exception, SystemExit)
    assert "unavailable" in outcomes


# --- PostgreSQL: its connections, its deadlocks


def test_a_server_without_a_free_connection_is_said_and_found_again(postgresql: PostgreSQL) -> None:
    with postgresql.database() as name:
        with closing(open_gallery(postgresql.url(name), 5)) as gallery:
            enrol(gallery, ["a"], [1])
        role = f"one_{name}"
        postgresql.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        postgresql.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}", name)
        postgresql.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}", name)
        url = sa.make_url(postgresql.url(name)).set(username=role).render_as_string(hide_password=False)
        try:
            with closing(open_gallery(url, 5)) as gallery:
                gallery.engine.dispose()
                with psycopg.connect(url.replace("+psycopg", "")):
                    for act in (lambda: nearest_ids(gallery, 1), lambda: enrol(gallery, ["b"], [2])):
                        with pytest.raises(GalleryUnavailable):
                            act()
                gone = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'"
                while postgresql.execute(gone) != [(0,)]:  # the server takes a moment
                    pass
                enrol(gallery, ["b"], [2])
                assert nearest_ids(gallery, 2) == ["b"]
        finally:
            postgresql.execute(f"DROP OWNED BY {role}", name)
            postgresql.execute(f"DROP ROLE {role}")


def test_workers_that_store_the_same_samples_in_other_orders_do_not_block_each_other(
    url: str, gallery: Gallery
) -> None:
    ids = [str(number) for number in range(20)]

    def store(turn: int) -> None:
        with closing(open_gallery(url, 30)) as worker:
            for _ in range(5):
                enrol(worker, ids if turn % 2 else ids[::-1], range(20))
                worker.delete(str(turn))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store, range(4)))
    enrol(gallery, ids, range(20))
    assert gallery.count() == 20
    assert list(transfer.faults(gallery)) == []


def test_a_deadlock_with_somebody_elses_transaction_is_said_and_loses_nothing(postgresql: PostgreSQL) -> None:
    """Somebody who works on the table by hand locks its rows in another order."""
    with postgresql.database() as name, closing(open_gallery(postgresql.url(name), 5)) as gallery:
        enrol(gallery, ["a", "b"], [1, 2])
        by_hand = postgresql.url(name).replace("+psycopg", "")
        with psycopg.connect(by_hand) as other, ThreadPoolExecutor(1) as pool:
            other.execute("UPDATE samples SET action = 'x' WHERE sample_id = 'b'")
            stored = pool.submit(enrol, gallery, ["a", "b"], [3, 4])
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while postgresql.execute(waiting) == [(0,)]:
                assert not stored.done()
            try:
                other.execute("UPDATE samples SET action = 'x' WHERE sample_id = 'a'")
                other.commit()
            except psycopg.errors.DeadlockDetected:
                other.rollback()
            try:
                stored.result()
                seeds = {"a": 3, "b": 4}
            except GalleryUnavailable:
                seeds = {"a": 1, "b": 2}
        for sample_id, seed in seeds.items():
            assert nearest_ids(gallery, seed) == [sample_id]
        enrol(gallery, ["c"], [5])
        assert gallery.count() == 3
