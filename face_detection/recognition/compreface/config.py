"""What clients ask about the server itself."""

from __future__ import annotations

from flask import jsonify
from flask.typing import ResponseReturnValue

from recognition.compreface.table import Parts


def show(parts: Parts) -> ResponseReturnValue:
    """Tell how large a picture and a body may be, in bytes."""
    return jsonify(clientMaxFileSize=parts.max_body_bytes, clientMaxBodySize=parts.max_body_bytes)
