"""What was erased of a person, where and when, and what remains; and all of one person's data as a file."""

from __future__ import annotations

import base64
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL import Image

from fakes import app_of
from recognition.audit import Audit
from recognition.gallery import Gallery, open_gallery, people, tables
from recognition.web.receipts import erasure_answer


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    client = app_of(gallery).test_client()
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    image = base64.b64encode(stream.getvalue()).decode("ascii")
    ann = {"id": "ann", "name": "Ann Secretname", "metadata": {"consent": "in writing"}}
    assert client.post("/persons", json=ann).status_code == 200
    body = [
        {"id": "1", "person": "ann", "image": image, "metadata": {"door": 1}, "action": "open"},
        {"id": "2", "name": "Ben", "image": image},
    ]
    assert client.post("/update-samples", json=body).json["fail"] == []
    return client


def receipt_of(client: FlaskClient, person_id: str) -> Any:
    return client.delete(f"/persons/{person_id}", query_string={"receipt": "1"}).json["receipt"]


def test_it_says_from_where_and_what_remains(client: FlaskClient, backend: str) -> None:
    receipt = receipt_of(client, "ann")
    assert (receipt["person"], receipt["samples"], receipt["database"]) == ("ann", ["1"], backend)
    assert "Secretname" not in json.dumps(receipt)
    sqlite = backend == "sqlite"
    states = {each["place"]: each["state"] for each in receipt["places"]}
    assert states["the rows of the database"].startswith("overwritten" if sqlite else "deleted; VACUUM")
    assert states.get("the database's write-ahead log") == ("emptied" if sqlite else None)
    assert any("backups" in what and "encrypted" in what for what in receipt["remains"])
    assert any("indexes of archives" in what and "sidecars" in what for what in receipt["remains"])
    assert any("PostgreSQL" in what for what in receipt["remains"]) is not sqlite
    assert not any("audit log" in what for what in receipt["remains"])  # there is none
    assert "recognition gallery replay-erasures" in receipt["after_restoring"]


def test_it_names_the_audit_log_and_a_write_ahead_log_that_somebody_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gallery.sqlite3'}"
    with (
        closing(open_gallery(url, lock_timeout_s=5, audit=Audit(tmp_path / "audit"))) as gallery,
        closing(sqlite3.connect(tmp_path / "gallery.sqlite3", isolation_level=None)) as reader,
    ):
        people.make(gallery, "Ann", person_id="ann")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM persons").fetchall()
        receipt = erasure_answer(people.delete(gallery, "ann"), receipt=True)["receipt"]
    assert receipt["places"][1]["state"].startswith("emptied within a minute")
    assert any("audit log" in what for what in receipt["remains"])


# Columns that say nothing of a person; the fingerprint stands in the first line of a file.
INTERNAL = {"key", "gallery", "revision", "name_key", "search_key", "fingerprint"}
RENAMED = {"sample_id": "id", "person_id": "person"}  # in a file


def test_the_export_of_a_person_has_all_that_is_stored_of_them(client: FlaskClient) -> None:
    """A new column is to be exported, or to be added to those above."""
    _, sample, person, last = map(json.loads, client.get("/persons/ann/export").data.splitlines())
    for line, table in ((sample, tables.samples), (person, tables.persons)):
        columns = {RENAMED.get(column, column) for column in set(table.columns.keys()) - INTERNAL}
        assert columns <= set(line), table.name
    assert (sample["id"], sample["metadata"], sample["action"]) == ("1", {"door": 1}, "open")
    assert (person["name"], person["metadata"]) == ("Ann Secretname", {"consent": "in writing"})
    assert (last["samples"], last["persons"]) == (1, 1)


def test_whoever_has_no_sample_has_an_export_too(client: FlaskClient) -> None:
    assert client.delete("/samples/1").status_code == 200
    _, person, last = map(json.loads, client.get("/persons/ann/export").data.splitlines())
    assert (person["name"], last["samples"]) == ("Ann Secretname", 0)
