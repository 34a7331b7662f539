"""The handler of detection."""

from __future__ import annotations

from flask import jsonify
from flask.typing import ResponseReturnValue

from recognition.compreface import render
from recognition.compreface.table import Parts
from recognition.compreface.uploads import received


def detect(parts: Parts) -> ResponseReturnValue:
    """Find the faces of a picture."""
    sent = received("file")
    with parts.service.admission():
        (picture,), asked = sent.read()
        probed = parts.probing.detect(picture, asked.look(vectors=False))
    return jsonify(render.detection(probed, parts.work(asked)))
