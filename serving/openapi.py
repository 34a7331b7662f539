"""The OpenAPI 3.1 document, made of a table of routes: of what checks requests and the types of answers.

Client generators read it, and most allow one kind of answer for each status. So each call answers with either
JSON, text or bytes, unless `Accept` asks for another kind. Bytes may also be had as OCTETS, which every
generator knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter

from serving.errors import (
    CrossOrigin,
    Failure,
    Forbidden,
    InvalidRequest,
    Misdirected,
    NotLocal,
    Overloaded,
    RateLimited,
    RequestTimeout,
    Unauthorized,
)
from serving.failures import INTERNAL, SEE_THE_LOG, TOO_LARGE, Error, error_text, status_of
from serving.keys import ADMIN, ANY, OPEN
from serving.observe import SANE_ID
from serving.routes import Route
from serving.version import VERSION

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
REQUEST_ID = "X-Request-Id"
HEADERS = {
    REQUEST_ID: {
        "description": "The caller's own, or a new one; it stands in the log.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds until another try is worth it.", "schema": {"type": "integer"}},
}
# Every call takes it. Where there are several bodies, openapi-python-client needs an optional parameter, too.
PARAMETERS = {
    REQUEST_ID: {
        "name": REQUEST_ID,
        "in": "header",
        "required": False,
        "description": "A name for the request, which its answer and both logs have. Default: a new one.",
        "schema": {"type": "string", "pattern": f"^{SANE_ID.pattern}$"},
    }
}
LET_IN: Mapping[str, tuple[type[Failure], ...]] = {OPEN: (), ANY: (Unauthorized, RateLimited)}


class Refusal(NamedTuple):
    """One way in which a call may fail."""

    status: int
    error: str
    code: str
    detail: str


def document(
    table: Sequence[Route],
    statuses: Mapping[type[Failure], int],
    *,
    title: str,
    samples: Mapping[str, str],
    optional_keys: bool,
) -> dict[str, Any]:
    """Describe the calls.

    Args:
        table: every route.
        statuses: of every failure.
        title: of the document.
        samples: texts that are too long for the table, by what stands for them in its examples.
        optional_keys: calls work without a key.
    """
    bodies = {(route.name, "json"): route.json[0] for route in table if route.json}
    answers = {
        (route.name, "answer"): route.answer[0] for route in table if not isinstance(route.answer[0], str)
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
    for route in table:
        described = _operation(route, list(_refusals(route, statuses)), schema_of)
        if route.scope != OPEN:
            # 3.1 lets any scheme name the roles that are required
            described["security"] = [{scheme: [route.scope]} for scheme in SECURITY_SCHEMES]
            described["security"] += [{}] * optional_keys
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = described
    described = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "license": {"name": "MIT", "identifier": "MIT"}},
        "tags": [{"name": name, "description": text} for name, text in TAGS.items() if _used(name, table)],
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "headers": HEADERS,
            "parameters": PARAMETERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }
    filled: dict[str, Any] = _filled(described, samples)
    return filled


def _used(scope: str, table: Sequence[Route]) -> bool:
    return any(route.scope == scope for route in table)


def _filled(value: Any, samples: Mapping[str, str]) -> Any:
    """Put the samples in the place of what stands for them."""
    if isinstance(value, dict):
        return {name: _filled(inner, samples) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, samples) for inner in value]
    return samples.get(value, value) if isinstance(value, str) else value


def _refusals(route: Route, statuses: Mapping[type[Failure], int]) -> Iterator[Refusal]:
    yield Refusal(INTERNAL, error_text(INTERNAL), "internal_error", SEE_THE_LOG)
    let_in = LET_IN.get(route.scope, (Unauthorized, Forbidden, RateLimited))
    failures: list[type[Failure]] = [Misdirected, *let_in]
    if route.whole:
        failures.append(Forbidden)
    if route.changes:
        failures.append(CrossOrigin)
    if route.near or route.scope == ADMIN:
        failures.append(NotLocal)
    if route.has_body:
        bound = "512 KiB" if route.max_json_bytes is not None else "MAX_BODY_BYTES"
        detail = f"The body is larger than {bound}."
        yield Refusal(TOO_LARGE, error_text(TOO_LARGE), "body_too_large", detail)
        failures += [InvalidRequest, RequestTimeout, Overloaded]  # if it is wrongly chunked, or slow
    elif route.scope != OPEN:
        failures.append(InvalidRequest)  # an unknown parameter
    for failure in dict.fromkeys((*failures, *route.raises)):
        status = status_of(failure, route, statuses)
        yield Refusal(status, error_text(status), failure.code, (failure.__doc__ or "").partition("\n")[0])


def _operation(
    route: Route, refusals: Sequence[Refusal], schema_of: Mapping[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    parameters = [
        _parameter(name, "path", TypeAdapter(route.parameter).json_schema(), required=True)
        for name in re.findall(r"<(?:\w+:)?(\w+)>", route.path)
    ]
    if route.query is not None:
        parameters += [_parameter(name, "query", schema) for name, schema in _fields(route.query).items()]
    described: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        **({"description": route.description} if route.description else {}),
        "tags": [route.scope],
        "parameters": [*parameters, {"$ref": f"#/components/parameters/{REQUEST_ID}"}],
        "responses": {
            "200": {
                "description": route.summary,
                "headers": {
                    **_header_references(REQUEST_ID),
                    **{
                        name: {"description": text, "schema": {"type": "integer"}}
                        for name, text in route.headers.items()
                    },
                },
                "content": _answer(route, schema_of.get((route.name, "answer"), {"type": "string"})),
            },
            **_refused(refusals, schema_of[("error", "answer")]),
        },
    }
    if body := _body(route, schema_of.get((route.name, "json"))):
        described["requestBody"] = {"required": True, "content": body}
    return described


def _answer(route: Route, schema: dict[str, Any]) -> dict[str, Any]:
    kind, example = route.answer
    media = kind if isinstance(kind, str) else JSON
    content = {media: {"schema": BINARY} if example is None else {"schema": schema, "example": example}}
    return content | {other: {"schema": BINARY} for other in route.others}


def _body(route: Route, schema: dict[str, Any] | None) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if route.json is not None:
        body[JSON] = {"schema": schema, "example": route.json[1]}
    for media, example in route.raw.items():
        text = {"schema": {"type": "string"}, "example": example}
        body[media] = {"schema": BINARY} if example is None else text
    if route.files:
        file = {"type": "array", "items": BINARY} if route.several else BINARY
        properties = {name: {**file, "description": text} for name, text in route.files.items()}
        required = list(route.files)
        if route.form:
            properties |= _fields(route.form)
            required += [name for name, field in route.form.model_fields.items() if field.is_required()]
        form = {"type": "object", "required": required, "properties": properties}
        body[FORM] = {"schema": form | {"additionalProperties": False}}
    return body


def _parameter(name: str, where: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    """Describe a parameter; its example is what /docs sends unless it is changed."""
    described = {"name": name, "in": where, "required": required, "description": schema["description"]}
    examples = {"example": schema["examples"][0]} if "examples" in schema else {}
    return described | {"schema": schema} | examples


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schemas of a model's fields as a query or a form has them: absent, but never null."""
    fields = model.model_json_schema(ref_template=SCHEMAS).get("properties", {})
    for field in fields.values():
        kinds = [kind for kind in field.pop("anyOf", []) if kind != {"type": "null"}]
        if kinds:
            field.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})
            del field["default"]
    return dict(fields)


def _refused(refusals: Sequence[Refusal], schema: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for refusal in sorted(refusals):
        headers = (REQUEST_ID, "Retry-After") if refusal.status in (429, 503) else (REQUEST_ID,)
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
