"""GET /openapi.json, and GET /docs, which shows it to people."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from flask import Flask, Response, json
from flask.typing import ResponseReturnValue

from embedding import routes
from embedding.errors import NotFound
from embedding.openapi import Call, Refusal, document

STATIC = Path(__file__).parent / "static"
KEPT = {"Cache-Control": "max-age=3600"}  # by browsers, in seconds: the files of /docs
# The page runs and shows what this service sends, and nothing else.
POLICY = {"Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'"}


def register(app: Flask, *, secret: bool) -> None:
    """Add both to `app`, which has all its other routes already.

    secret: whether EMBEDDING_SECRET is asked for.
    """

    @app.get("/openapi.json")
    def openapi_json() -> ResponseReturnValue:
        return Response(described, mimetype="application/json")

    @app.get("/docs")
    def docs() -> ResponseReturnValue:
        return (STATIC / "docs.html").read_text(), POLICY

    @app.get("/docs/<name>")
    def docs_file(name: str) -> ResponseReturnValue:
        if name not in files:
            raise NotFound("There is no such file.")
        media = "text/css" if name.endswith(".css") else "text/javascript"
        return Response(files[name].read_bytes(), mimetype=media, headers=KEPT)

    files = _files()
    calls = [
        Call(method, re.sub(r"<(\w+)>", r"{\1}", rule.rule), rule.endpoint, rule.endpoint in routes.OPEN)
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]
    refusals = [
        *(_refusal(status, kind.code, str(kind.__doc__)) for kind, status in routes.STATUS.items()),
        _refusal(routes.TOO_LARGE, "body_too_large", "The body is larger than MAX_BODY_BYTES."),
        _refusal(routes.INTERNAL, "internal_error", "The log has more under this request id."),
    ]
    described = json.dumps(document(calls, refusals, secret=secret), sort_keys=False)


def _refusal(status: int, code: str, detail: str) -> Refusal:
    return Refusal(status, routes.error_text(status), code, detail)


def _files() -> dict[str, Path]:
    """Find Swagger UI's files in the package that has them, which need not be imported."""
    spec = find_spec("flask_openapi_swagger")
    assert spec is not None and spec.origin is not None  # requirements.txt has it
    swagger = Path(spec.origin).parent / "templates" / "swagger"
    found = [swagger / "css" / "swagger-ui.css", swagger / "js" / "swagger-ui-bundle.js", STATIC / "start.js"]
    return {path.name: path for path in found}
