"""Handlers of vectors that clients send, as the plugin `calculator` has told them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from recognition.compreface import json_bodies, options, render
from recognition.compreface.faces import parse_id
from recognition.compreface.failures import WRONG_ID, Code, Refused, instead
from recognition.compreface.table import Parts
from serving import bodies
from serving.errors import NotFound

MOST = 1000  # vectors of one request; a picture has 200 faces at most (MAX_FACES)


def recognise(parts: Parts) -> ResponseReturnValue:
    """Find the examples nearest to each vector."""
    body = bodies.whole()
    with parts.service.admission():
        asked = options.parsed(options.OF_VECTORS)
        vectors = _vectors(_sent(body), "embeddings")
        asked.check()
        model, found = parts.probing.nearest(vectors, asked.predictions)
    return jsonify(render.recognised_vectors(vectors, found, model))


def verify_example(parts: Parts, image_id: str) -> ResponseReturnValue:
    """Compare vectors with an example."""
    body, image_id = bodies.whole(), parse_id(image_id)
    with parts.service.admission(), instead(NotFound, WRONG_ID):
        vectors = _vectors(_sent(body), "embeddings")
        model, distances = parts.probing.distances_to_sample(vectors, image_id)
    return jsonify(render.verified_vectors(vectors, distances, model))


def verify(parts: Parts) -> ResponseReturnValue:
    """Compare vectors with one that is sent along."""
    body = bodies.whole()
    with parts.service.admission():
        sent = _sent(body)
        source = json_bodies.vector(json_bodies.given(sent.get("source"), "source"))
        vectors = _vectors(sent, "targets")
        model, distances = parts.probing.distances(vectors, source)
    return jsonify(render.verified_vectors(vectors, distances, model))


def _sent(body: bytes) -> Mapping[str, Any]:
    return json_bodies.an_object(json_bodies.parsed(body))


def _vectors(sent: Mapping[str, Any], name: str) -> list[list[float]]:
    """Read vectors.

    Raises:
        Refused: they are missing, or too many; Unreadable: they are no vectors.
    """
    vectors = [
        json_bodies.vector(each) for each in json_bodies.a_list(json_bodies.given(sent.get(name), name))
    ]
    if len(vectors) > MOST:
        raise Refused(Code.UNFORESEEN, f"Field {name} has more than {MOST} vectors")
    return vectors
