"""GET /openapi.json, and GET /docs, which shows it to people with Swagger UI, offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from flask import Flask, Response, current_app, json
from flask.typing import ResponseReturnValue
from pydantic import Field

from serving.errors import Failure, NotFound
from serving.keys import OPEN
from serving.openapi import document
from serving.routes import OCTETS, Route

STATIC = Path(__file__).parent / "static"
EXTENSION = "recognition.openapi"
KEPT = {"Cache-Control": "max-age=3600"}  # by browsers, in seconds: the files of /docs
JAVASCRIPT, CSS, HTML = "text/javascript", "text/css", "text/html"


def openapi_json(_: Any) -> ResponseReturnValue:
    """Describe this interface."""
    return Response(current_app.extensions[EXTENSION](), mimetype="application/json")


def docs(_: Any) -> ResponseReturnValue:
    """Show this description to people."""
    return Response((STATIC / "docs.html").read_bytes(), mimetype=HTML)


def docs_file(_: Any, name: str) -> ResponseReturnValue:
    """Send what that page is made of."""
    path = _files().get(name)
    if path is None:
        raise NotFound("There is no such file.")
    media = CSS if name.endswith(".css") else JAVASCRIPT
    return Response(path.read_bytes(), mimetype=media, headers=KEPT)


FILES = Annotated[
    Literal["swagger-ui.css", "swagger-ui-bundle.js", "start.js"],
    Field(description="What the page asks for.", examples=["start.js"]),
]
ROUTES = (
    Route("GET", "/openapi.json", openapi_json, OPEN, (dict[str, Any], {"openapi": "3.1.0"})),
    Route("GET", "/docs", docs, OPEN, (HTML, "<!doctype html>")),
    Route(
        "GET",
        "/docs/<name>",
        docs_file,
        OPEN,
        (OCTETS, None),
        others=(JAVASCRIPT, CSS),
        parameter=FILES,
        raises=(NotFound,),
    ),
)


def register(
    app: Flask,
    table: Sequence[Route],
    statuses: Mapping[type[Failure], int],
    *,
    title: str,
    samples: Mapping[str, str],
    optional_keys: bool,
) -> None:
    """Give `app` what ROUTES answer with; the arguments are those of `openapi.document`.

    It is made when somebody first asks for it: that takes most of what `create_app` would take.
    """

    @cache
    def described() -> str:
        made = document(table, statuses, title=title, samples=samples, optional_keys=optional_keys)
        return json.dumps(made, sort_keys=False)

    app.extensions[EXTENSION] = described


@cache
def _files() -> dict[str, Path]:
    """Find Swagger UI's files in the package that has them, which need not be imported."""
    spec = find_spec("flask_openapi_swagger")
    assert spec is not None and spec.origin is not None  # pyproject.toml has it
    swagger = Path(spec.origin).parent / "templates" / "swagger"
    paths = [swagger / "css" / "swagger-ui.css", swagger / "js" / "swagger-ui-bundle.js", STATIC / "start.js"]
    return {path.name: path for path in paths}
