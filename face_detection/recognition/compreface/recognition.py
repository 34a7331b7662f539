"""Handlers of what is looked for among the examples of a service."""

from __future__ import annotations

from flask import jsonify
from flask.typing import ResponseReturnValue

from recognition.compreface import options, render
from recognition.compreface.faces import parse_id
from recognition.compreface.failures import WRONG_ID, instead
from recognition.compreface.table import Parts
from recognition.compreface.uploads import received
from serving.errors import NotFound


def recognise(parts: Parts) -> ResponseReturnValue:
    """Find the faces of a picture, and the examples nearest to each."""
    sent = received("file")
    with parts.service.admission():
        (picture,), asked = sent.read(options.OF_RECOGNITION)
        probed = parts.probing.recognise(picture, asked.look(), asked.predictions)
    return jsonify(render.recognition(probed, parts.work(asked)))


def verify(parts: Parts, image_id: str) -> ResponseReturnValue:
    """Compare each face of a picture with an example."""
    sent, image_id = received("file"), parse_id(image_id)
    with parts.service.admission(), instead(NotFound, WRONG_ID):
        (picture,), asked = sent.read()
        compared = parts.probing.compare_with_sample(picture, asked.look(), image_id)
    return jsonify(render.verification_of_example(compared, parts.work(asked)))
