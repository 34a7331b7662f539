"""The OpenAPI 3.1 document, made of the models that check the requests and the types of the answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

from recognition.bounds import Id
from recognition.errors import RecognitionError
from recognition.web.answers import Error

SCHEMAS = "#/components/schemas/{model}"
JSON, FORM = "application/json", "multipart/form-data"
BINARY = {"type": "string", "format": "binary"}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
# What the calls are grouped by, the scope of the key, in the order in which people look for them.
TAGS = {
    "recognise": "Find, recognise and compare faces. A key needs the scope `recognise`.",
    "enrol": "Store, show and remove samples. A key needs the scope `enrol`.",
    "admin": "The gallery as a whole. A key needs the scope `admin`.",
    "any": "How the service is. Any key will do.",
    "open": "What needs no key: whether it runs, this description, and the web page.",
}
HEADERS = {
    "X-Request-Id": {
        "description": "The caller's own, or a new one; it stands in the log.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds until another try is worth it.", "schema": {"type": "integer"}},
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What the document says of one endpoint.

    answer: the type of its JSON, or the media type of another answer.
    example: of the answer.
    json, request: the type of a JSON body, and an example.
    query, form: models of the parameters, and of the fields beside the files of an upload.
    files: names of an upload's files.
    raw: the media type of a body that is neither JSON nor a form; `request` is an example of it.
    others: media types that the answer may also have.
    path: the type of the path's parameter.
    raises: how it may fail, beside what every call may do.
    """

    summary: str
    answer: Any
    example: Any
    json: Any = None
    request: Any = None
    query: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    files: tuple[str, ...] = ()
    raw: str | None = None
    others: tuple[str, ...] = ()
    path: Any = Id
    raises: tuple[type[RecognitionError], ...] = ()


class Refusal(NamedTuple):
    """One way in which a call may fail."""

    status: int
    error: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Call:
    """One route of the routing table.

    path: as OpenAPI writes it, `/samples/{sample_id}`.
    scope: what a key must open; None: it needs no key.
    """

    method: str
    path: str
    endpoint: str
    scope: str | None
    refusals: Sequence[Refusal]


def document(
    calls: Sequence[Call], operations: Mapping[str, Operation], *, title: str, optional_keys: bool
) -> dict[str, Any]:
    """Describe the calls.

    Args:
        calls: every route.
        operations: by endpoint; each of the calls has one.
        title: of the document.
        optional_keys: nobody is asked for a key.
    """
    bodies = {(name, "json"): operation.json for name, operation in operations.items() if operation.json}
    answers = {
        (name, "answer"): operation.answer
        for name, operation in operations.items()
        if not isinstance(operation.answer, str)
    }
    schemas, definitions = TypeAdapter.json_schemas(
        [
            *((key, "validation", TypeAdapter(kind)) for key, kind in bodies.items()),
            *((key, "serialization", TypeAdapter(kind)) for key, kind in answers.items()),
            (("error", "answer"), "serialization", TypeAdapter(Error)),
        ],
        ref_template=SCHEMAS,
    )
    schema_of = {key: schema for (key, _), schema in schemas.items()}
    paths: dict[str, dict[str, Any]] = {}
    for call in calls:
        described = _operation(call, operations[call.endpoint], schema_of)
        if call.scope is not None:
            # 3.1 lets any scheme name the roles that are required
            described["security"] = [{scheme: [call.scope]} for scheme in SECURITY_SCHEMES]
            described["security"] += [{}] * optional_keys
        paths.setdefault(call.path, {})[call.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", "license": {"name": "MIT", "identifier": "MIT"}},
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _operation(
    call: Call, operation: Operation, schema_of: Mapping[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": TypeAdapter(operation.path).json_schema()}
        for name in re.findall(r"\{(\w+)\}", call.path)
    ]
    if operation.query is not None:
        parameters += [
            {"name": name, "in": "query", "required": False, "schema": schema}
            for name, schema in _fields(operation.query).items()
        ]
    described: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{call.method.lower()}{call.path}").strip("_"),
        "summary": operation.summary,
        "tags": [call.scope or "open"],
        "parameters": parameters,
        "responses": {
            "200": {
                "description": operation.summary,
                "headers": _header_references("X-Request-Id"),
                "content": _answer(operation, schema_of.get((call.endpoint, "answer"), {"type": "string"})),
            },
            **_refused(call.refusals, schema_of[("error", "answer")]),
        },
    }
    if body := _body(operation, schema_of.get((call.endpoint, "json"))):
        described["requestBody"] = {"required": True, "content": body}
    return described


def _answer(operation: Operation, schema: dict[str, Any]) -> dict[str, Any]:
    media = operation.answer if isinstance(operation.answer, str) else JSON
    content = {media: {"schema": schema, "example": operation.example}}
    return content | {other: {"schema": BINARY} for other in operation.others}


def _body(operation: Operation, schema: dict[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if schema is not None:
        body[JSON] = {"schema": schema, "example": operation.request}
    if operation.raw is not None:
        body[operation.raw] = {"schema": {"type": "string"}, "example": operation.request}
    if operation.files:
        fields = _fields(operation.form) if operation.form else {}
        properties = dict.fromkeys(operation.files, BINARY) | fields
        form = {"type": "object", "required": list(operation.files), "properties": properties}
        body[FORM] = {"schema": form}
    return body


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of a model's fields as a query or a form has them: absent, but never null."""
    fields = model.model_json_schema(ref_template=SCHEMAS)["properties"]
    for field in fields.values():
        kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
        if kinds:
            (kind,) = kinds
            field.update(kind)
            del field["default"]
    return dict(fields)


def _refused(refusals: Sequence[Refusal], schema: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for refusal in sorted(refusals):
        headers = ("X-Request-Id", "Retry-After") if refusal.status in (429, 503) else ("X-Request-Id",)
        response = responses.setdefault(
            str(refusal.status),
            {
                "description": refusal.error,
                "headers": _header_references(*headers),
                "content": {JSON: {"schema": schema, "examples": {}}},
            },
        )
        _, error, code, detail = refusal
        example = {"error": error, "code": code, "detail": detail, "request_id": "door-7.2026:11"}
        response["content"][JSON]["examples"][code] = {"value": example}
    return responses


def _header_references(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
