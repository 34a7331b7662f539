"""The OpenAPI 3.1 document, made of the types of the answers and the model that checks the requests. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter

from embedding import answers, wire

SCHEMAS = "#/components/schemas/{model}"
JSON, NPY, TEXT, HTML = "application/json", "application/x-npy", "text/plain", "text/html"
BINARY = {"type": "string", "format": "binary"}
DOCS_FILES = Literal["swagger-ui.css", "swagger-ui-bundle.js", "start.js"]


@dataclass(frozen=True, slots=True)
class Operation:
    """What the document says of one endpoint: its answer's type or media type, its body, its errors."""

    summary: str
    answer: Any
    example: Any = None
    body: dict[str, Any] | None = None
    codes: tuple[str, ...] = ()


class Refusal(NamedTuple):
    """One way in which a call may fail."""

    status: int
    error: str
    code: str
    detail: str


class Call(NamedTuple):
    """One route of the routing table; `path` is as OpenAPI writes it, `open` says that it needs no secret."""

    method: str
    path: str
    endpoint: str
    open: bool


UPLOAD = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["face_data", "image"],
            "properties": {
                "face_data": {
                    "type": "string",
                    "contentMediaType": JSON,
                    "contentSchema": {"type": "array", "items": wire.Face.model_json_schema()},
                },
                "image": {"type": "array", "items": BINARY},
            },
        },
        "example": {"face_data": '[{"id": "a"}]'},
    }
}
REFUSED = ("invalid_request", "body_too_large", "unsupported_media_type")
OPERATIONS = {
    "running": Operation("Say that the server runs", HTML, "<p>Feature extraction server is running!</p>"),
    "health": Operation("Say that the process runs", answers.Health, {"status": "ok"}),
    "ready": Operation(
        "Put one crop through the network", answers.Ready, {"status": "ready", "model": "Facenet"}
    ),
    "prometheus": Operation(
        "Tell Prometheus what happened so far",
        TEXT,
        "# TYPE embedding_faces_total counter\nembedding_faces_total 92.0\n",
    ),
    "model": Operation(
        "Describe the model",
        answers.Model,
        {
            "name": "Facenet",
            "dimension": 128,
            "input_size": 160,
            "threshold": 9.0,
            "distance_range": [0.0, 20.0],
            "fingerprint": "0123456789abcdef0123456789abcdef",
        },
    ),
    "embeddings": Operation(
        "Turn uint8 (n, side, side, 3) RGB crops into float32 (n, dimension) vectors, both as .npy arrays",
        NPY,
        body={NPY: {"schema": BINARY}},
        codes=REFUSED,
    ),
    "embed_uploads": Operation(
        "Turn uploaded pictures of one face each into vectors",
        list[answers.FaceVector],
        [{"id": "a", "vector": [0.25, -1.5]}],
        body=UPLOAD,
        codes=REFUSED,
    ),
    "openapi_json": Operation("Describe this interface", dict[str, Any], {"openapi": "3.1.0"}),
    "docs": Operation("Show this description to people", HTML, "<!doctype html>"),
    "docs_file": Operation(
        "Give what that page is made of", "text/javascript", '"use strict";', codes=("not_found",)
    ),
}


def document(calls: Iterable[Call], refusals: Sequence[Refusal], *, secret: bool) -> dict[str, Any]:
    """Describe the calls.

    Args:
        calls: every route.
        refusals: all there are; each endpoint has some of them.
        secret: whether EMBEDDING_SECRET is asked for.
    """
    types = {name: each.answer for name, each in OPERATIONS.items() if not isinstance(each.answer, str)}
    schemas, definitions = TypeAdapter.json_schemas(
        [
            (name, "serialization", TypeAdapter(kind))
            for name, kind in {**types, "error": answers.Error}.items()
        ],
        ref_template=SCHEMAS,
    )
    schema_of = {name: schema for (name, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        operation = OPERATIONS[call.endpoint]
        codes = {"internal_error", *operation.codes, *([] if call.open else ["unauthorized"])}
        described: dict[str, Any] = {
            "operationId": re.sub(r"\W+", "_", f"{call.method.lower()}{call.path}").strip("_"),
            "summary": operation.summary,
            "responses": {
                "200": {
                    "description": operation.summary,
                    "content": _answer(operation, schema_of.get(call.endpoint)),
                },
                **_refused((each for each in refusals if each.code in codes), schema_of["error"]),
            },
        }
        if "{" in call.path:
            schema = TypeAdapter(DOCS_FILES).json_schema()
            described["parameters"] = [{"name": "name", "in": "path", "required": True, "schema": schema}]
            described["responses"]["200"]["content"]["text/css"] = {"schema": BINARY}
        if operation.body is not None:
            described["requestBody"] = {"required": True, "content": operation.body}
        if not call.open:
            described["security"] = [{"secret": []}, *([] if secret else [{}])]
        paths.setdefault(call.path, {})[call.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Feature extraction",
            "version": "1",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"secret": {"type": "http", "scheme": "bearer"}},
        },
    }


def _answer(operation: Operation, schema: dict[str, Any] | None) -> dict[str, Any]:
    if operation.example is None:
        return {operation.answer: {"schema": BINARY}}
    if schema is None:
        return {operation.answer: {"schema": {"type": "string"}, "example": operation.example}}
    return {JSON: {"schema": schema, "example": operation.example}}


def _refused(refusals: Iterable[Refusal], schema: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, error, code, detail in sorted(refusals):
        content = {"schema": schema, "examples": {}}
        response = responses.setdefault(str(status), {"description": error, "content": {JSON: content}})
        example = {"error": error, "code": code, "detail": detail, "request_id": "door-7.2026:11"}
        response["content"][JSON]["examples"][code] = {"value": example}
    return responses
