"""The handler of verification."""

from __future__ import annotations

from flask import jsonify
from flask.typing import ResponseReturnValue

from recognition.compreface import render
from recognition.compreface.table import Parts
from recognition.compreface.uploads import received


def verify(parts: Parts) -> ResponseReturnValue:
    """Compare the only face of one picture with each face of another."""
    sent = received("source_image", "target_image")
    with parts.service.admission():
        (source, target), asked = sent.read()
        compared = parts.probing.compare(source, target, asked.look())
    return jsonify(render.verification(compared, parts.work(asked)))
