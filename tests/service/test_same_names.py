"""One name in several spellings, over HTTP: enrolled, listed, counted, recognised, deleted, imported."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image

from fakes import app_of
from galleries import MODEL, NOW, a_sample, vectors_of
from recognition.gallery import Gallery
from recognition.gallery.__main__ import cli

SPELLINGS = ["José", "Jose\u0301", "José ", " José", "JOSÉ", "jo\u200bsé", "José\ufeff", "\u200eJosé"]
BLANK = ["", "   ", "\u200b", "\u3164", "\u2800", "\u200c", "\t\n", "\u00ad\u2060"]


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return app_of(gallery).test_client()


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


def a_body(sample_id: str, name: str) -> dict[str, Any]:
    return {"id": sample_id, "name": name, "image": base64.b64encode(picture()).decode("ascii")}


def enrolled(client: FlaskClient, *samples: tuple[str, str]) -> None:
    answer = client.post("/update-samples", json=[a_body(*sample) for sample in samples])
    assert answer.status_code == 200, answer.json


def names(client: FlaskClient, **query: str) -> list[str]:
    page: Any = client.get("/samples", query_string=query).json
    return [sample["name"] for sample in page["samples"]]


@pytest.mark.parametrize("together", [True, False])
def test_one_name_in_eight_spellings_is_one_person(client: FlaskClient, together: bool) -> None:
    samples = [(str(number), name) for number, name in enumerate(SPELLINGS)]
    for some in [samples] if together else [[sample] for sample in samples]:
        enrolled(client, *some)
    enrolled(client, ("other", "Jose"))
    assert names(client) == [*8 * ["José"], "Jose"]
    for spelling in SPELLINGS:
        assert names(client, name=spelling) == 8 * ["José"]
        assert client.get("/samples/count", query_string={"name": spelling}).json == {"count": 8}
    data = {"file": (io.BytesIO(picture()), "x.png"), "top_k": "5"}
    (face,) = client.post("/face-recognition", data=data).json or []
    assert [candidate["name"] for candidate in face["candidates"]] == ["José", "Jose"]
    gone: Any = client.delete("/samples", query_string={"name": "JOSE\u0301"}).json
    assert gone["deleted"] == 8
    assert names(client) == ["Jose"]


def test_the_first_spelling_stays_until_all_samples_have_another(client: FlaskClient) -> None:
    enrolled(client, ("1", "ann lee"), ("2", "Ann Lee"))
    assert names(client) == ["ann lee", "ann lee"]
    enrolled(client, ("1", "Ann Lee"))
    assert names(client) == ["ann lee", "ann lee"]
    enrolled(client, ("1", "Ann Lee"), ("2", "ANN LEE"))
    assert names(client) == ["Ann Lee", "Ann Lee"]


@pytest.mark.parametrize("name", BLANK)
def test_what_cannot_be_seen_is_refused_wherever_a_name_is_taken(client: FlaskClient, name: str) -> None:
    calls = [
        client.post("/update-samples", json=[a_body("1", "Ann"), a_body("2", name)]),
        client.get("/samples", query_string={"name": name}),
        client.get("/samples/count", query_string={"name": name}),
        client.delete("/samples", query_string={"name": name}),
    ]
    for answer in calls:
        assert answer.status_code == 400
        body: Any = answer.json
        assert body["error"] == "Invalid request." and "name" in body["detail"]
    assert names(client) == []


def test_a_name_that_grows_beyond_its_bound_is_refused(client: FlaskClient) -> None:
    answer = client.post("/update-samples", json=[a_body("1", 500 * "\ufb2c")])  # three characters in NFC
    assert answer.status_code == 400
    assert "more than 1000 characters" in str(answer.json)


def a_file(*samples: tuple[str, str]) -> bytes:
    """A file as a version without rules for names has exported it."""
    lines = [json.dumps({"gallery": 1, "fingerprint": MODEL, "dimension": 128})]
    vector = base64.b64encode(vectors_of(1)[0].tobytes()).decode("ascii")
    times = {"created": NOW.isoformat(), "modified": NOW.isoformat()}
    for sample_id, name in samples:
        sample = {"id": sample_id, "name": name, "metadata": None, "action": None, "vector": vector}
        lines.append(json.dumps(sample | times))
    text = "".join(f"{line}\n" for line in lines).encode()
    last = {"samples": len(samples), "sha256": hashlib.sha256(text).hexdigest()}
    return text + json.dumps(last).encode() + b"\n"


def test_a_file_of_before_is_imported_with_all_its_samples(gallery: Gallery, url: str, tmp_path: Any) -> None:
    file = tmp_path / "old.jsonl"
    file.write_bytes(a_file(("..", "Ann"), ("1", "Jose\u0301 "), ("2", "JOSÉ"), ("3", "  "), ("4", "\u200b")))
    done = CliRunner().invoke(cli, ["--database", url, "import", str(file), "--json"])
    assert json.loads(done.stdout) == {"imported": 5, "unchanged": 0, "unnamed": 2}
    assert [(sample.id, sample.name) for sample in gallery.page(limit=9)] == [
        ("..", "Ann"),
        ("1", "José"),
        ("2", "José"),
        ("3", "unnamed (3)"),
        ("4", "unnamed (4)"),
    ]
    again = CliRunner().invoke(cli, ["--database", url, "import", str(file)])
    assert "2 have no name that can be seen, and are called `unnamed (ID)`." in again.stdout


@pytest.mark.parametrize("sample_id", [".", ".."])
def test_an_id_that_paths_lose_is_refused_and_an_old_one_can_be_deleted(
    client: FlaskClient, gallery: Gallery, sample_id: str
) -> None:
    refused: Any = client.post("/update-samples", json=[a_body("1", "Ann"), a_body(sample_id, "Ann")])
    assert refused.status_code == 400
    assert refused.json["detail"].startswith("[1].id: ")
    gallery.upsert([a_sample(sample_id), a_sample("1")], vectors_of(1, 2), MODEL)
    removed: Any = client.delete("/samples", query_string={"id": sample_id})
    assert (removed.status_code, removed.json["deleted"]) == (200, 1)
    assert client.delete("/samples", query_string={"id": sample_id}).status_code == 404
    assert gallery.count() == 1


@pytest.mark.parametrize("query", ["id=", "id=1&name=Ann", "ID=1", "id=%00", "id=1&id=2"])
def test_a_deletion_that_is_not_clear_deletes_nothing(
    client: FlaskClient, gallery: Gallery, query: str
) -> None:
    gallery.upsert([a_sample("1", name="Ann")], vectors_of(1), MODEL)
    assert client.delete(f"/samples?{query}").status_code == 400
    assert gallery.count() == 1


@pytest.mark.parametrize("sample_id", ["...", "a/../b", "/", "//a", "%2e%2e", "./a", "..\\", " .. "])
def test_ids_that_can_be_asked_for_are_taken(client: FlaskClient, sample_id: str) -> None:
    enrolled(client, (sample_id, "Ann"))
