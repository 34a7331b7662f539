"""GET /export and POST /import: the gallery as a file, over HTTP."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from flask import Flask, Request, Response, jsonify, request
from flask.typing import ResponseReturnValue

from recognition.errors import InvalidRequest, UnsupportedMediaType
from recognition.gallery import Gallery, transfer
from recognition.service import Service
from recognition.web.answers import Imported

NDJSON = "application/x-ndjson"
AS_FILE = {"Content-Disposition": 'attachment; filename="gallery.jsonl"'}


def register(app: Flask, service: Service, gallery: Gallery) -> None:
    """Add both routes to `app`."""

    @app.get("/export")
    def export_samples() -> ResponseReturnValue:
        return Response(transfer.export(gallery), mimetype=NDJSON, headers=AS_FILE)

    @app.post("/import")
    def import_samples() -> ResponseReturnValue:
        with _sent(request) as file:
            imported, unchanged = transfer.import_file(gallery, file, service.check_comparable)
        return jsonify(Imported(imported=imported, unchanged=unchanged))


@contextmanager
def _sent(incoming: Request) -> Iterator[IO[bytes]]:
    """Receive a file, of which little stays in memory: it is kept on disk, without a name, and read twice."""
    if incoming.mimetype == "multipart/form-data":
        if "file" not in incoming.files:
            raise InvalidRequest("file: Field required")
        with incoming.files["file"].stream as file:
            yield file
        return
    if incoming.mimetype != NDJSON:
        raise UnsupportedMediaType(f"Send {NDJSON} or multipart/form-data.")
    with tempfile.TemporaryFile() as file:
        shutil.copyfileobj(incoming.stream, file)
        yield file
