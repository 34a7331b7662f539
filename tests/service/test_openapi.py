"""/openapi.json of both services: valid, complete, and true of the running application; /docs shows it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from PIL import Image

from embedding import config as embedding_config
from embedding import routes as embedding_routes
from embedding.app import create_app as create_embedding_app
from embedding.network import Network
from fakes import shipped_background
from recognition import config
from recognition.app import create_app
from recognition.faces import Box, Face
from recognition.gallery import open_gallery
from recognition.web import routes
from serving import documentation, health, keys, openapi
from serving import routes as routing
from serving.attributes import SIDE, AgeRange, Attributes, Gender
from serving.model import Model

KEY, KEPT = keys.new("administrator", "admin")
MODEL = Model("a model", 4, 160, 9.0, (0.0, 20.0), "fingerprint-of-the-model")
JSON, NDJSON = "application/json", "application/x-ndjson"
MARKS = np.array([[1, 2], [3, 2], [2, 3], [1, 4], [3, np.nan]], np.float32)


class Embedder:
    """Gives every crop the same vector."""

    def model(self, name: str | None = None) -> Model:
        return MODEL

    def embed(self, cut: np.ndarray, model: Model) -> np.ndarray:
        return np.full((len(cut), 4), 5, np.float32)


def embed(cut: np.ndarray) -> np.ndarray:
    return np.full((len(cut), 2), 0.5, np.float32)


def guess(cut: np.ndarray) -> list[Attributes]:
    return [Attributes(30.5, AgeRange(29, 32, 0.5), Gender("male", 0.75))] * len(cut)


NETWORK = Network(Model("n", 2, 8, 1.0, (0.0, 1.0), "f"), embed)


def recognition(folder: Path, **settings: str) -> Flask:
    gallery = open_gallery(f"sqlite:///{folder / 'gallery.sqlite3'}", lock_timeout_s=5)
    app = create_app(
        config.read({"MIN_QUALITY": "0", **settings}),
        detector=lambda _: [Face(Box(0, 0, 5, 5), 0.9, MARKS)],
        embedder=Embedder(),
        gallery=gallery,
    )
    app.extensions["gallery"] = gallery
    return app


def embedding(**settings: str) -> Flask:
    return create_embedding_app(embedding_config.read(settings), network=NETWORK, guess=guess)


@pytest.fixture(params=["recognition", "embedding"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Flask]:
    if request.param == "embedding":
        yield embedding()
        return
    app = recognition(tmp_path)
    yield app
    app.extensions["gallery"].close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def document_of(client: FlaskClient) -> dict[str, Any]:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    document: dict[str, Any] = answer.json  # type: ignore[assignment]
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def assert_valid(value: Any, schema: dict[str, Any], document: dict[str, Any]) -> None:
    whole = {"components": document["components"], **schema}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_it_is_openapi_3_1(client: FlaskClient) -> None:
    document = document_of(client)
    assert document["openapi"].startswith("3.1")
    validate(document)


def test_it_has_just_the_routes_there_are(app: Flask, client: FlaskClient) -> None:
    there = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    assert {(method, path) for method, path, _ in operations(document_of(client))} == there


def test_every_example_fits_its_schema(client: FlaskClient) -> None:
    document = document_of(client)
    seen = 0
    for _, _, operation in operations(document):
        contents = [answer["content"] for answer in operation["responses"].values()]
        contents += [operation["requestBody"]["content"]] if "requestBody" in operation else []
        for content in contents:
            for media, described in content.items():
                examples = [each["value"] for each in described.get("examples", {}).values()]
                examples += [described["example"]] if "example" in described else []
                for example in examples:
                    if media != "multipart/form-data":  # its files stand in no example
                        assert_valid(example, described["schema"], document)
                        seen += 1
    assert seen > 30


def test_every_status_of_every_route_has_an_example_in_the_shape(client: FlaskClient) -> None:
    codes = set()
    for _, _, operation in operations(document_of(client)):
        assert {"200", "500"} <= set(operation["responses"])
        for status, answer in operation["responses"].items():
            if status != "200":
                for code, example in answer["content"]["application/json"]["examples"].items():
                    assert set(example["value"]) == {"error", "code", "detail", "request_id"}
                    assert example["value"]["code"] == code
                    assert all(example["value"].values())
                    assert (example["value"]["error"] == "Invalid request.") == (status == "400")
                    codes.add(code)
    table = embedding_routes.ROUTES if "embed" in client.application.name else routes.ROUTES
    raised = {kind.code for route in table for kind in route.raises}
    always = {
        "body_too_large",
        "internal_error",
        "unauthorized",
        "rate_limited",
        "request_timeout",
        "overloaded",
    }
    always |= {"misdirected_request", "cross_origin"}
    some = {"forbidden", "not_local", "not_found"}
    assert codes - some == (raised | always) - some


def png() -> io.BytesIO:
    stream = io.BytesIO()
    Image.new("RGB", (20, 20)).save(stream, "PNG")
    return io.BytesIO(stream.getvalue())


def npy(side: int = 8) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((1, side, side, 3), np.uint8))
    return stream.getvalue()


PICTURES = ("file", "image", "image1", "image2")


def bodies(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send what an operation takes: its examples, and for each file a picture, crops, or a gallery."""
    contents = operation.get("requestBody", {"content": {"": {}}})["content"]
    side = SIDE if operation["operationId"] == "post_attributes" else 8
    files = {name: png().getvalue() for name in PICTURES} | {"crops": npy(side)}
    if NDJSON in contents:
        files["file"] = contents[NDJSON]["example"].encode()
    for media, content in contents.items():
        if media == "multipart/form-data":
            fields = content["schema"]["properties"]
            given = {name: field["examples"][0] for name, field in fields.items() if field.get("examples")}
            yield {"data": given | {name: (io.BytesIO(files[name]), "x") for name in files if name in fields}}
        elif content.get("schema") == openapi.BINARY:
            yield {"data": files["file" if NDJSON in contents else "crops"], "content_type": media}
        elif media:
            example = content["example"]
            data = example if isinstance(example, str) else json.dumps(example)
            yield {"data": data, "content_type": media}
        else:
            yield {}


def test_every_example_of_a_request_works_and_the_answer_fits(client: FlaskClient, tmp_path: Path) -> None:
    with shipped_background(tmp_path, f"{MODEL.fingerprint}-1"):
        send_every_example(client, document_of(client))


def send_every_example(client: FlaskClient, document: dict[str, Any]) -> None:
    order = ["post", "get", "patch", "delete"]  # so that what is shown, exported and removed is there
    calls = [each for each in operations(document) if "clear" not in each[1]]
    for person_id in ("eileen", "another"):
        client.post("/persons", json={"id": person_id, "name": person_id})
    early = ("/update-samples", "/corrections")  # while one person has the name of the examples
    early += ("/events/{event_id}",)  # while it is there
    calls.sort(key=lambda each: (order.index(each[0]), each[1] not in early, each[1] == "/samples"))
    for method, path, operation in calls:
        url = path.replace("{sample_id}", "astronaut%2F1").replace("{name}", "start.js")
        url = url.replace("{filename}", "app.js").replace("{person_id}/merge", "another/merge")
        url = url.replace("{person_id}", "eileen").replace("{gallery}", "lobby")
        url = url.replace("{event_id}", "0b4cba0e-6f37-4f0c-9b5a-7a2f6d1e8c11")
        for body in bodies(operation):
            answer = client.open(url, method=method.upper(), buffered=True, **body)
            assert answer.status_code == 200, (method, path, answer.text)
            content = operation["responses"]["200"]["content"]
            assert answer.mimetype in content, (method, path)
            if answer.mimetype == "application/json":
                assert_valid(answer.json, content["application/json"]["schema"], document)


def schemas_of(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object in a document, and where it stands."""
    if isinstance(value, dict):
        yield place, value
        for name, inner in value.items():
            yield from schemas_of(inner, f"{place}/{name}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from schemas_of(inner, f"{place}/{number}")


def test_every_field_and_every_parameter_is_described(client: FlaskClient) -> None:
    document = document_of(client)
    described = {
        f"{place}: {name}": field.get("description")
        for place, value in schemas_of(document)
        for name, field in value.get("properties", {}).items()
    }
    described |= {
        place: value.get("description")
        for place, value in schemas_of([document["paths"], document["components"]["parameters"]])
        if "in" in value
    }
    assert len(described) > 20
    assert {place for place, text in described.items() if not text} == set()


def objects_sent(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema of each JSON object and each form that is sent, and where."""
    for method, path, operation in operations(document):
        for media, content in operation.get("requestBody", {"content": {}})["content"].items():
            if media in (JSON, "multipart/form-data"):
                schema = content["schema"].get("items", content["schema"])
                name = schema.get("$ref", "").rpartition("/")[2]
                yield f"{method} {path} {media}", document["components"]["schemas"].get(name, schema)


def test_every_field_of_a_request_tells_its_default_or_that_it_is_required(client: FlaskClient) -> None:
    document = document_of(client)
    fields = {
        f"{place}: {name}": (field["description"], name in schema.get("required", ()))
        for place, schema in objects_sent(document)
        for name, field in schema["properties"].items()
    }
    fields |= {
        f"{path}: {parameter['name']}": (parameter["description"], False)
        for _, path, operation in operations(document)
        for parameter in operation["parameters"]
        if parameter.get("in") == "query"
    }
    assert len(fields) > 2
    for place, (text, required) in fields.items():
        assert text.count("Required." if required else "Default: ") == 1, place
        assert not place.endswith(": min_distance") or "a maximum" in text


def test_no_request_may_have_fields_that_nobody_knows(client: FlaskClient) -> None:
    closed = {place: schema["additionalProperties"] for place, schema in objects_sent(document_of(client))}
    assert set(closed.values()) == {False}
    assert len(closed) > 1


def test_no_call_answers_now_text_now_bytes(client: FlaskClient) -> None:
    for method, path, operation in operations(document_of(client)):
        medias = list(operation["responses"]["200"]["content"])
        known = [media for media in medias if media.startswith("text/") or media in (JSON, routing.OCTETS)]
        assert known, (method, path)
        assert len(medias) == 1 or known[0] in (JSON, routing.OCTETS), (method, path)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (None, "image/jpeg"),
        ("*/*", "image/jpeg"),
        ("image/jpeg, application/octet-stream", "image/jpeg"),
        ("image/jpeg;q=0.5, application/octet-stream", "application/octet-stream"),
        ("application/octet-stream", "application/octet-stream"),
        ("text/html", "image/jpeg"),
    ],
)
def test_bytes_are_called_bytes_for_who_asks_for_that(tmp_path: Path, accept: str | None, media: str) -> None:
    client = recognition(tmp_path).test_client()
    headers = {"Accept": accept} if accept else {}
    answer = client.post("/draw", data={"file": (png(), "x.png")}, headers=headers)
    assert (answer.status_code, answer.mimetype, answer.data[:2]) == (200, media, b"\xff\xd8")
    refused = client.post("/draw", headers=headers)
    assert (refused.status_code, refused.mimetype) == (415, "application/json")


def test_crops_may_come_in_a_form() -> None:
    client = embedding().test_client()
    raw = client.post("/embeddings", data=npy(), content_type="application/x-npy")
    form = client.post("/embeddings", data={"crops": (io.BytesIO(npy()), "crops.npy")})
    assert (form.status_code, form.data) == (200, raw.data)
    for data, said in (
        ({"crop": (io.BytesIO(npy()), "x")}, "crop: unknown field; did you mean crops?"),
        ({"crops": "text"}, "crops: must be a file, with a file name"),
        ({}, "crops: Field required"),
    ):
        answer = client.post("/embeddings", data=data, content_type="multipart/form-data")
        assert (answer.status_code, answer.json and answer.json["code"]) == (400, "invalid_request")
        assert answer.json is not None
        assert answer.json["detail"] == said


def test_it_tells_what_a_key_must_open(tmp_path: Path) -> None:
    app = recognition(tmp_path, API_KEYS=KEPT.entry())
    document = document_of(app.test_client())  # without a key
    table = {route.name: route for route in (*routes.ROUTES, *health.ROUTES, *documentation.ROUTES)}
    for _, _, operation in operations(document):
        route = table[operation["operationId"]]
        scope = route.scope
        asked = [] if scope == keys.OPEN else [{"bearer": [scope]}, {"key": [scope]}]
        assert operation.get("security", []) == asked
        assert ("401" in operation["responses"]) == bool(asked)
        # A key may be for another gallery, or for one where a call is about all of them.
        where = route.query is not None or route.whole
        assert ("403" in operation["responses"]) == (scope not in (keys.OPEN, keys.ANY) or where)
    app.extensions["gallery"].close()
    optional = document_of(recognition(tmp_path).test_client())
    assert optional["paths"]["/detect"]["post"]["security"][-1] == {}


def test_it_follows_the_settings(tmp_path: Path) -> None:
    document = document_of(recognition(tmp_path, ALLOW_GET_CLEAR="0").test_client())
    assert set(document["paths"]["/clear-samples"]) == {"post"}


def test_what_people_look_for_comes_first(tmp_path: Path) -> None:
    document = document_of(recognition(tmp_path).test_client())
    told = [tag["name"] for tag in document["tags"]]
    assert told[:2] == ["recognise", "enrol"]
    used = {tag for path in document["paths"].values() for call in path.values() for tag in call["tags"]}
    assert used == set(told)


def test_the_embedding_services_document_needs_no_secret() -> None:
    client = embedding(EMBEDDING_SECRET="s" * 32).test_client()
    assert document_of(client)["paths"]["/model"]["get"]["security"] == [
        {"bearer": ["any"]},
        {"key": ["any"]},
    ]
    assert client.get("/model").status_code == 401
    assert client.get("/docs").status_code == 200


def test_docs_are_a_page_of_files_that_are_here(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=|https?:|//", page.text)
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert [link for link in links if not link.startswith("data:")][-3:] == [
        "docs/swagger-ui.css",
        "docs/swagger-ui-bundle.js",
        "docs/start.js",
    ]
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for link in links:
        if link != "data:,":  # an icon that is none, and is not asked for
            with client.get(f"/{link}") as answer:
                assert (answer.status_code, answer.mimetype) == (200, kinds[Path(link).suffix])
    for name in ("nothing.js", "docs.html", "..%2Fapp.py", "%2e%2e"):
        answer = client.get(f"/docs/{name}")
        assert answer.json is not None
        assert (answer.status_code, answer.json["code"]) == (404, "not_found")
