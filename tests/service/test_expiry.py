"""Samples that expire: on SQLite and PostgreSQL alike they are not found from that moment on, and removed."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image

from fakes import app_of
from galleries import MODEL, NOW, FakeClock, a_sample, as_sent, nearest_ids, vectors_of
from recognition.app import decoding_here, load_embedder, load_gallery, start_upkeep
from recognition.changing import Changer
from recognition.config import read
from recognition.errors import AuditUnavailable, GalleryUnavailable
from recognition.gallery import Gallery, keep_up, open_gallery
from recognition.gallery.__main__ import cli
from recognition.gallery.tables import STATE

SOON = NOW + timedelta(minutes=1)
BEFORE = SOON - timedelta(microseconds=1)
FAR = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


@pytest.fixture
def other(url: str, gallery: Gallery, clock: FakeClock) -> Iterator[Gallery]:
    other = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield other
    other.close()


def enrol_until(gallery: Gallery, sample_id: str, seed: int, until: datetime | None) -> None:
    gallery.upsert([a_sample(sample_id, name="x", expires_at=until)], vectors_of(seed), MODEL)


def rows(gallery: Gallery) -> list[str]:
    """Ids that lie in the table, whatever a clock says."""
    with gallery.engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT sample_id FROM samples ORDER BY sample_id")
        return list(found.scalars())


def kept_up(gallery: Gallery, clock: FakeClock, *moments: datetime) -> None:
    """Run the upkeep, which wakes at these moments and then ends."""
    left = list(moments)

    def wait(seconds: float) -> bool:
        if not left:
            return True
        clock.now = left.pop(0)
        return False

    keep_up(gallery, wait)


def test_expires_at_comes_back(gallery: Gallery) -> None:
    for until in (SOON, FAR, None):
        sample = a_sample("a", expires_at=until)
        gallery.upsert([sample], vectors_of(1), MODEL)
        assert as_sent(gallery.get("a")) == sample
        assert [as_sent(each) for each in gallery.page(limit=1)] == [sample]
        assert as_sent(gallery.nearest(vectors_of(1), 1, MODEL)[0][0].sample) == sample


READS = {
    "nearest": lambda gallery: nearest_ids(gallery, 1, k=9),
    "per name": lambda gallery: [
        match.sample.id for match in gallery.nearest(vectors_of(1), 2, MODEL, per_person=True)[0]
    ],
    "get": lambda gallery: ["a"] * (gallery.get("a") is not None) + ["b"] * (gallery.get("b") is not None),
    "page": lambda gallery: [sample.id for sample in gallery.page(limit=9)],
    "page of a name": lambda gallery: [sample.id for sample in gallery.page(limit=9, name="x")],
    "count": lambda gallery: ["a", "b"][2 - gallery.count() :],
    "count of a name": lambda gallery: ["a", "b"][2 - gallery.count("x") :],
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_until_the_moment_it_is_found_and_from_it_on_no_more(
    gallery: Gallery, other: Gallery, clock: FakeClock, read: Any
) -> None:
    """In the worker that enrolled it and in another, which has it in memory, before it has been removed."""
    enrol_until(gallery, "a", 1, SOON)
    enrol_until(gallery, "b", 2, None)
    clock.now = BEFORE
    for worker in (gallery, other):
        assert nearest_ids(worker, 1) == ["a"]
        assert read(worker) in (["a", "b"], ["a"])  # one of each name
    clock.now = SOON
    assert rows(gallery) == ["a", "b"]
    for worker in (other, gallery):
        assert read(worker) == ["b"]
    assert rows(gallery) == ["a", "b"]
    kept_up(gallery, clock, SOON)
    assert rows(gallery) == ["b"]
    for worker in (other, gallery):
        assert read(worker) == ["b"]


def test_what_has_expired_is_not_there_for_those_who_change_either(
    gallery: Gallery, clock: FakeClock
) -> None:
    for change, result in (
        (lambda: gallery.delete("a"), False),
        (lambda: gallery.delete_named("x"), 0),
        (gallery.clear, None),
    ):
        clock.now = NOW
        enrol_until(gallery, "a", 1, SOON)
        clock.now = SOON
        assert change() == result
        assert rows(gallery) == []


def test_an_expired_id_sent_again_is_a_new_sample(gallery: Gallery, clock: FakeClock) -> None:
    enrol_until(gallery, "a", 1, SOON)
    clock.now = SOON
    new = a_sample("a", created=SOON, modified=SOON)
    gallery.upsert([new], vectors_of(2), MODEL)
    assert as_sent(gallery.get("a")) == new
    assert nearest_ids(gallery, 2) == ["a"]


def test_an_id_sent_again_takes_its_new_moment(gallery: Gallery, other: Gallery, clock: FakeClock) -> None:
    enrol_until(gallery, "a", 1, SOON)
    enrol_until(gallery, "b", 2, None)
    enrol_until(other, "a", 1, None)
    enrol_until(other, "b", 2, SOON)
    clock.now = SOON
    assert nearest_ids(gallery, 2, k=9) == ["a"]
    clock.now = FAR
    assert nearest_ids(gallery, 1) == ["a"]


def test_the_last_sample_leaves_the_gallery_to_another_model(gallery: Gallery, clock: FakeClock) -> None:
    enrol_until(gallery, "a", 1, SOON)
    clock.now = SOON
    wide = np.ones((1, 512), np.float32)
    assert gallery.nearest(wide, 1, "model-b") == [[]]
    gallery.upsert([a_sample("b")], wide, "model-b")
    assert gallery.nearest(wide, 1, "model-b")[0][0].sample.id == "b"


def test_a_moment_may_stand_in_any_zone(gallery: Gallery, clock: FakeClock) -> None:
    zone = datetime.fromisoformat("2026-01-02T03:05:05.678901+05:30").tzinfo
    enrol_until(gallery, "a", 1, SOON.astimezone(zone))
    clock.now = BEFORE
    assert gallery.count() == 1
    clock.now = SOON
    assert gallery.count() == 0


def test_it_is_removed_without_a_request(gallery: Gallery, clock: FakeClock) -> None:
    enrol_until(gallery, "a", 1, SOON)
    enrol_until(gallery, "b", 2, SOON + timedelta(seconds=1))
    kept_up(gallery, clock, BEFORE)
    assert rows(gallery) == ["a", "b"]
    kept_up(gallery, clock, SOON)
    assert rows(gallery) == ["b"]
    kept_up(gallery, clock, BEFORE, FAR)
    assert rows(gallery) == []


def test_it_leaves_the_memory_of_a_worker_that_nobody_asks(
    backend: str, gallery: Gallery, other: Gallery, clock: FakeClock
) -> None:
    if backend == "postgresql":
        return  # which keeps no vectors in workers
    for until in (None, SOON):  # with another sample left, and without
        clock.now = NOW
        enrol_until(gallery, "a", 1, SOON)
        enrol_until(gallery, "b", 2, until)
        for worker in (gallery, other):
            nearest_ids(worker, 1)
            assert holds(worker, vectors_of(1))
        clock.now = SOON
        for worker in (gallery, other):
            kept_up(worker, clock, SOON)
            assert not holds(worker, vectors_of(1))


def holds(gallery: Gallery, vector: np.ndarray) -> bool:
    index = gallery._search()._index  # type: ignore[attr-defined]
    return index is not None and vector.tobytes() in index._vectors.tobytes()


def test_the_upkeep_survives_a_database_that_is_gone_for_a_while() -> None:
    calls: list[float] = []

    class Failing:
        def load(self) -> None:
            calls.append(0)
            raise failures.pop(0)

    failures = [GalleryUnavailable("It is locked."), AuditUnavailable("It is full.")]
    answers = [False, False, True]
    keep_up(Failing(), lambda seconds: answers.pop(0))  # type: ignore[arg-type]
    assert len(calls) == 2


def test_the_service_keeps_its_gallery_up(tmp_path: Path) -> None:
    settings = read({"MIN_QUALITY": "0", "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}"})
    changer = Changer(decoding_here(settings), load_embedder(settings))
    start_upkeep(load_gallery(settings), changer, settings)
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "gallery upkeep"]
    assert thread.daemon


def test_the_next_moment_is_read_from_an_index(url: str, gallery: Gallery) -> None:
    explain = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}[gallery.engine.name]
    with gallery.engine.connect() as connection:
        if gallery.engine.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        query = str(
            STATE.params(name="default").compile(gallery.engine, compile_kwargs={"literal_binds": True})
        )
        plan = str(connection.exec_driver_sql(explain + query).all())
    assert "samples_by_expiry" in plan


def test_export_and_import_keep_it(url: str, gallery: Gallery, clock: FakeClock, tmp_path: Path) -> None:
    enrol_until(gallery, "a", 1, FAR)
    enrol_until(gallery, "b", 2, None)
    before = gallery.page(limit=9)
    command(url, "export", tmp_path / "file")
    gallery.clear()
    assert command(url, "import", tmp_path / "file").startswith("2 of 2")
    assert gallery.page(limit=9) == before


def command(url: str, *arguments: object) -> str:
    result = CliRunner().invoke(cli, ["--database", url, *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_had_expired_before_it_was_stored_is_not_found(gallery: Gallery, clock: FakeClock) -> None:
    """As an import may have it."""
    enrol_until(gallery, "a", 1, None)
    clock.now = FAR
    enrol_until(gallery, "a", 1, SOON)
    enrol_until(gallery, "b", 2, None)
    assert nearest_ids(gallery, 1, k=9) == ["b"]


# --- over HTTP


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    gallery = open_gallery(f"sqlite:///{tmp_path / 'gallery.sqlite3'}", lock_timeout_s=5)
    yield app_of(gallery).test_client()
    gallery.close()


def picture() -> str:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")


def sent(client: FlaskClient, sample_id: str, **more: object) -> Any:
    answer = client.post("/update-samples", json=[{"id": sample_id, "name": "x", "image": picture(), **more}])
    return answer.status_code, answer.json


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2100-01-31T12:00:00Z", "2100-01-31T12:00:00+00:00"),
        ("2100-01-31T12:00:00.25+05:30", "2100-01-31T06:30:00.250000+00:00"),
        ("2100-01-31 12:00-01:00", "2100-01-31T13:00:00+00:00"),
        (None, None),
    ],
)
def test_it_is_taken_and_shown(client: FlaskClient, given: str | None, shown: str | None) -> None:
    assert sent(client, "a", expires_at=given)[1]["success"] == ["a"]
    sample = client.get("/samples/a").json
    assert sample is not None
    assert sample["expires_at"] == shown
    page = client.get("/samples").json
    assert page is not None
    assert page["samples"] == [sample]


def test_without_it_a_sample_never_expires(client: FlaskClient) -> None:
    assert sent(client, "a")[0] == 200
    sample = client.get("/samples/a").json
    assert sample is not None
    assert sample["expires_at"] is None


@pytest.mark.parametrize(
    "unreadable",
    [
        "2100-01-31T12:00:00",
        "2100-01-31",
        "tomorrow",
        "",
        "4102444800",
        4102444800,
        True,
        ["2100-01-31T12:00:00Z"],
        "2100-02-30T12:00:00Z",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_a_moment_that_is_none_is_refused_and_not_repeated(client: FlaskClient, unreadable: object) -> None:
    status, answer = sent(client, "a", expires_at=unreadable)
    assert (status, answer["code"]) == (400, "invalid_request")
    assert answer["detail"].startswith("[0].expires_at: not a time in ISO 8601")
    assert "tomorrow" not in answer["detail"]
    count = client.get("/samples/count").json
    assert count == {"count": 0}


def test_a_moment_that_has_passed_fails_and_leaves_what_is_there(client: FlaskClient) -> None:
    assert sent(client, "a", expires_at="2100-01-31T12:00:00Z")[0] == 200
    status, answer = sent(client, "a", expires_at="2000-01-31T12:00:00Z")
    assert (status, answer["success"], answer["fail"]) == (200, [], ["a"])
    assert answer["errors"] == {"a": {"code": "invalid_request", "detail": "expires_at is in the past."}}
    sample = client.get("/samples/a").json
    assert sample is not None
    assert sample["expires_at"] == "2100-01-31T12:00:00+00:00"
