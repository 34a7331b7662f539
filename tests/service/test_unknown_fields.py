"""A misspelt field is a 400 that names it and the field it resembles, in every call of both services."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from embedding import config as embedding_config
from embedding import routes as embedding_routes
from embedding.app import create_app as create_embedding_app
from embedding.network import Network
from recognition import config
from recognition.app import create_app
from recognition.faces import Box, Face
from recognition.gallery import Gallery, open_gallery
from recognition.web import examples, routes
from serving import documentation, health
from serving.attributes import SIDE, AgeRange, Attributes, Gender
from serving.keys import OPEN
from serving.model import Model
from serving.routes import Route
from serving.validation import NAME_SHOWN

MODEL = Model("a model", 4, 8, 9.0, (0.0, 20.0), "fingerprint-of-the-model")
ATTRIBUTES = Attributes(30.0, AgeRange(25, 35, 0.5), Gender("female", 0.9))
BOTH = (*health.ROUTES, *documentation.ROUTES)
TABLES = {"recognition": (*routes.ROUTES, *BOTH), "embedding": (*embedding_routes.ROUTES, *BOTH)}
ROWS = [(service, route) for service, table in TABLES.items() for route in table]
PARTS = {
    "sample_id": "there",
    "person_id": "anybody",
    "name": "start.js",
    "filename": "app.js",
    "gallery": "other",
    "event_id": examples.EVENT["id"],
}
SHOWN = 300  # characters of a detail, however much was sent
ODD_NAMES = [
    "x" * 10_000,
    "é" * 10_000,
    "",
    " ",
    "\x00",
    "a\nb",
    "<script>",
    "__class__",
    "id[]",
    "\N{RIGHT-TO-LEFT OVERRIDE}",
]


class Embedder:
    """Gives every crop the same vector."""

    def model(self, name: str | None = None) -> Model:
        return MODEL

    def embed(self, cut: np.ndarray, model: Model) -> np.ndarray:
        return np.full((len(cut), 4), 5, np.float32)


@pytest.fixture
def gallery(sqlite_url: str) -> Iterator[Gallery]:
    gallery = open_gallery(sqlite_url, lock_timeout_s=5)
    yield gallery
    gallery.close()


@pytest.fixture
def clients(gallery: Gallery) -> dict[str, FlaskClient]:
    """Both services, with one sample enrolled."""
    marks = np.array([[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]], np.float32)
    recognition = create_app(
        config.read({"MIN_QUALITY": "0"}),
        detector=lambda _: [Face(Box(0, 0, 5, 5), 0.9, marks)],
        embedder=Embedder(),
        gallery=gallery,
    ).test_client()
    network = Network(MODEL, lambda crops: np.full((len(crops), 4), 0.5, np.float32))
    embedding: Flask = create_embedding_app(
        embedding_config.read({}), network=network, guess=lambda crops: [ATTRIBUTES] * len(crops)
    )
    enrolled = recognition.post("/update-samples", json=[{"id": "there", "name": "n", "image": base64_png()}])
    assert enrolled.json is not None
    assert (enrolled.json["success"], enrolled.json["fail"], enrolled.json["errors"]) == (["there"], [], {})
    for person_id in ("anybody", "eileen"):
        assert recognition.post("/persons", json={"id": person_id, "name": person_id}).status_code == 200
    visit = json.loads(json.dumps(examples.VISIT).replace(examples.PICTURE, base64_png()))
    assert recognition.post("/events", json=visit).status_code == 200
    assert recognition.post("/galleries", json={"name": "other"}).status_code == 200
    return {"recognition": recognition, "embedding": embedding.test_client()}


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return stream.getvalue()


def base64_png() -> str:
    return base64.b64encode(png()).decode()


def npy(side: int) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, side, side, 3), np.uint8))
    return stream.getvalue()


def path_of(route: Route) -> str:
    return re.sub(r"<(?:path:)?(\w+)>", lambda part: PARTS[part[1]], route.path)


def named(rows: list[tuple[str, Route]]) -> Any:
    ids = [f"{service}-{route.name}" for service, route in rows]
    return pytest.mark.parametrize(("service", "route"), rows, ids=ids)


def misspelt(name: str) -> str:
    """Spell a name as it is often misspelt: without its underscore, or with the last letter doubled."""
    return name.replace("_", "-", 1) if "_" in name else name + name[-1]


def example_of(route: Route) -> Any:
    """The JSON body of a call, which works."""
    assert route.json is not None
    body = json.loads(json.dumps(route.json[1]).replace("<a picture>", base64_png()))
    return [dict(body[0], id="new")] if isinstance(body, list) else body


def form_of(route: Route) -> dict[str, Any]:
    """The form of a call, which works, with every field; of two that exclude each other, `min_distance`."""
    content = {"crops": npy(SIDE if route.path == "/attributes" else MODEL.input_size)}
    files = {name: (io.BytesIO(content.get(name, png())), "a.bin") for name in route.files}
    fields = route.form.model_json_schema()["properties"] if route.form else {}
    given = {name: field["examples"][0] for name, field in fields.items() if "examples" in field}
    given.pop("max_false_match", None)
    return given | ({"min_distance": "9"} if "min_distance" in fields else {}) | files


def assert_refused(answer: TestResponse, *said: str) -> None:
    assert answer.json is not None
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_request"), answer.text
    assert answer.json["error"] == "Invalid request."
    assert len(answer.json["detail"]) < SHOWN
    for text in said:
        assert text in answer.json["detail"]


with_json = named([row for row in ROWS if row[1].json])
with_form = named([row for row in ROWS if row[1].files])


@with_json
def test_json(clients: dict[str, FlaskClient], gallery: Gallery, service: str, route: Route) -> None:
    client = clients[service]
    body = example_of(route)
    whole = body if isinstance(body, dict) else body[0]
    schema: Any = client.get("/openapi.json").json
    for name in route_fields(route, schema):
        wrong = whole | {misspelt(name): whole.get(name)}
        answer = client.open(path_of(route), method=route.method, json=wrong if body is whole else [wrong])
        assert_refused(answer, f"{misspelt(name)}: unknown field; did you mean {name}?")
    assert gallery.count() == 1
    assert client.open(path_of(route), method=route.method, json=body).status_code == 200


def route_fields(route: Route, document: dict[str, Any]) -> list[str]:
    """The fields of the objects that a call takes as JSON."""
    path = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.path)
    operation = document["paths"][path][route.method.lower()]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    name = schema.get("items", schema)["$ref"].rpartition("/")[2]
    return list(document["components"]["schemas"][name]["properties"])


@with_form
def test_forms(clients: dict[str, FlaskClient], gallery: Gallery, service: str, route: Route) -> None:
    client = clients[service]
    for name in form_of(route):
        data = form_of(route)
        wrong = misspelt(name)
        data[wrong] = data.pop(name)
        answer = client.post(route.path, data=data)
        assert_refused(answer, f"{wrong}: unknown field; did you mean {name}?")
        answer = client.post(route.path, data=form_of(route) | {"tpyo": "1"})
        assert_refused(answer, "tpyo: unknown field")
        answer = client.post(route.path, data=form_of(route) | {"tpyo": (io.BytesIO(b"1"), "x")})
        assert_refused(answer, "tpyo: unknown field")
    for name in route.files:
        data = form_of(route) | {name: "text"}
        answer = client.post(route.path, data=data, content_type="multipart/form-data")
        assert_refused(answer, f"{name}: must be a file, with a file name")
    for name in route.form.model_fields if route.form else ():
        answer = client.post(route.path, data=form_of(route) | {name: (io.BytesIO(b"1"), "x")})
        assert_refused(answer, f"{name}: must be text, not a file")
    assert gallery.count() == 1
    if route.path != "/import":  # whose file is no picture
        assert client.post(route.path, data=form_of(route)).status_code == 200


@named([row for row in ROWS if row[1].scope != OPEN])
def test_queries(clients: dict[str, FlaskClient], gallery: Gallery, service: str, route: Route) -> None:
    client = clients[service]
    known = route.query.model_fields if route.query else {}
    for name in (*known, "tpyo"):
        wrong = misspelt(name)
        answer = client.open(f"{path_of(route)}?{wrong}=1", method=route.method)
        resembled = f"; did you mean {name}?" if name in known else ""
        assert_refused(answer, f"{wrong}: unknown field{resembled}")
    assert gallery.count() == 1


@named([row for row in ROWS if row[1].scope == OPEN])
def test_pages_may_come_with_anybodys_parameters(
    clients: dict[str, FlaskClient], service: str, route: Route
) -> None:
    with clients[service].open(f"{path_of(route)}?utm_source=mail", method=route.method) as answer:
        assert answer.status_code == 200


@named([row for row in ROWS if not row[1].has_body and row[1].method != "GET"])
def test_a_body_where_none_is_expected_does_nothing(
    clients: dict[str, FlaskClient], gallery: Gallery, service: str, route: Route
) -> None:
    """Who sends {"name": "n"} to /clear-samples does not mean everybody's samples."""
    for sent in ({"json": {"name": "n"}}, {"data": {"name": "n"}}, {"data": b"name=n"}):
        answer = clients[service].open(path_of(route), method=route.method, **sent)
        assert_refused(answer, "body: this call takes none")
    assert gallery.count() == 1
    assert clients[service].open(path_of(route), method=route.method, json={}).status_code == 200


def test_an_expiry_that_is_misspelt_is_not_taken_for_never(
    clients: dict[str, FlaskClient], gallery: Gallery
) -> None:
    sample = {"id": "a", "name": "n", "image": base64_png(), "expire_at": "2036-01-01T00:00:00Z"}
    answer = clients["recognition"].post("/update-samples", json=[sample])
    assert_refused(answer, "[0].expire_at: unknown field; did you mean expires_at?")
    assert gallery.count() == 1


def test_a_distance_that_is_misspelt_does_not_decide_at_the_models_own(
    clients: dict[str, FlaskClient],
) -> None:
    data = {"file": (io.BytesIO(png()), "x.png"), "mindistance": "5"}
    answer = clients["recognition"].post("/face-recognition", data=data)
    assert_refused(answer, "mindistance: unknown field; did you mean min_distance?")


@with_json
def test_odd_names_in_json(clients: dict[str, FlaskClient], service: str, route: Route) -> None:
    body = example_of(route)
    whole = body if isinstance(body, dict) else body[0]
    wrongs = [whole | {name: 1} for name in ODD_NAMES] + [whole | dict.fromkeys(map(str, range(10_000)), 1)]
    for wrong in wrongs:
        assert_refused(
            clients[service].open(
                path_of(route), method=route.method, json=wrong if body is whole else [wrong]
            )
        )
    text = json.dumps(whole)
    raw = [b'{"\xff\xfe": 1, ' + text[1:].encode(), b'{"\\ud800": 1, ' + text[1:].encode()]
    for sent in raw:
        sent = sent if body is whole else b"[" + sent + b"]"
        assert_refused(
            clients[service].open(
                path_of(route), method=route.method, data=sent, content_type="application/json"
            )
        )


@with_form
def test_odd_names_in_forms(clients: dict[str, FlaskClient], service: str, route: Route) -> None:
    for name in ODD_NAMES:
        for content in (b"1", (io.BytesIO(b"1"), "x")):
            answer = clients[service].post(route.path, data=form_of(route) | {name: content})
            assert_refused(answer)
    boundary = "multipart/form-data; boundary=b"
    for header in (b'name="\xff\xfe"', b'name="\xff"; filename="x"', b"name=", b"", b'filename="x"'):
        part = b"--b\r\nContent-Disposition: form-data; " + header + b"\r\n\r\n1\r\n"
        for body in (part + b"--b--\r\n", part + part + b"--b--\r\n"):
            assert_refused(clients[service].post(route.path, data=body, content_type=boundary))


@named([row for row in ROWS if row[1].scope != OPEN])
def test_odd_names_in_queries(clients: dict[str, FlaskClient], service: str, route: Route) -> None:
    queries = [f"{quote(name, safe='')}=1" for name in ODD_NAMES] + ["%ff%fe=1", "a=1&a=2&a=3", "=", "%=1"]
    for query in queries:
        assert_refused(clients[service].open(f"{path_of(route)}?{query}", method=route.method))


def test_a_long_name_is_not_told_at_length(clients: dict[str, FlaskClient]) -> None:
    answer = clients["recognition"].get(f"/samples?{'x' * 10_000}=1")
    assert answer.json is not None
    assert answer.json["detail"] == f"{'x' * NAME_SHOWN}: unknown field"


@pytest.mark.parametrize("names", [("min_distance", "min_distance"), ("file", "file")])
def test_what_comes_twice_is_no_5xx(clients: dict[str, FlaskClient], names: tuple[str, str]) -> None:
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"'.encode()
        + (b'; filename="x"\r\n\r\n' + png() if name == "file" else b"\r\n\r\n9")
        for name in ("file", *names)
    ]
    body = b"\r\n".join(parts) + b"\r\n--b--\r\n"
    answer = clients["recognition"].post(
        "/face-recognition", data=body, content_type="multipart/form-data; boundary=b"
    )
    assert answer.status_code < 500
