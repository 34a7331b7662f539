"""Every call of feature_extraction, one row each, and its handler."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal, NotRequired

import numpy as np
from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue
from pydantic import Field
from typing_extensions import TypedDict

from embedding import service, wire
from embedding.attributes import Guess
from embedding.network import Networks
from serving import bodies
from serving.attributes import SIDE, AgeRange, Attributes, Gender
from serving.errors import InvalidRequest, NotFound, UnsupportedMediaType
from serving.keys import ANY
from serving.metrics import Metrics
from serving.model import Model
from serving.notices import Notice, Notices
from serving.routes import OCTETS, Route, query
from serving.stages import count, stage
from serving.version import VERSION

NPY, HTML = "application/x-npy", "text/html"
MAX_GUESSED = 32  # crops in one call
RUNNING = "<!doctype html><title>Feature extraction</title><p>Feature extraction server is running!</p>"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handlers work with.

    decode: of encoded pictures; see `service.crops_of`. notices: what is wrong beside.
    guess: of age and gender; None: ATTRIBUTES is not set.
    """

    networks: Networks
    decode: service.Decode
    metrics: Metrics
    notices: Notices
    guess: Guess | None


class Ready(TypedDict):
    """A crop has just gone through the network."""

    status: Annotated[Literal["ready"], Field(description="Always `ready`; else the status is not 200.")]
    version: Annotated[str, Field(description="Of this service.")]
    model: Annotated[str, Field(description="Which model makes the vectors.")]
    warnings: Annotated[list[Notice], Field(description="What is wrong though the service is ready.")]
    attributes: NotRequired[
        Annotated[Literal[True], Field(description="Age and gender are told; absent if not.")]
    ]


class FaceVector(TypedDict):
    """The vector of one picture; empty if it could not be read."""

    id: Annotated[str | int | float, Field(description="As it was sent.")]
    vector: Annotated[list[float], Field(description="As many numbers as the model's `dimension`, or none.")]


def count_requests() -> Metrics:
    """Begin to count."""
    return Metrics(
        "embedding",
        "decode, embed or attributes, with the wait for its turn",
        counts={"faces": "Faces turned into vectors."},
        gauges={
            "running": ("Requests in a stage, those that wait for their turn included.", "stage"),
        },
    )


def running(_: Parts) -> ResponseReturnValue:
    """Say that the server runs."""
    return Response(RUNNING, mimetype=HTML)


def ready(parts: Parts) -> ResponseReturnValue:
    """Put one crop through the network."""
    own = parts.networks.own
    side = own.model.input_size
    own.embed(np.zeros((1, side, side, 3), dtype=np.uint8))
    answer = Ready(
        status="ready",
        version=VERSION,
        model=own.model.name,
        warnings=parts.notices.shown(),
    )
    if parts.guess is not None:
        answer["attributes"] = True
    return jsonify(answer)


def model(parts: Parts) -> ResponseReturnValue:
    """Describe the model, or another one that is prepared."""
    return jsonify(asdict(parts.networks.named(wire.parse_model(query())).model))


def embeddings(parts: Parts) -> ResponseReturnValue:
    """Turn uint8 (n, side, side, 3) RGB crops into float32 (n, dimension) vectors, both as .npy arrays."""
    network = parts.networks.named(wire.parse_model(query()))
    crops = wire.parse_crops(_crops(), network.model.input_size)
    count("faces", len(crops))
    with parts.metrics.gauges["running"].labels("embed").track_inprogress(), stage("embed"):
        vectors = network.embed(crops)
    response = Response(wire.render_vectors(vectors), mimetype=NPY)
    response.headers["X-Model-Fingerprint"] = network.model.fingerprint
    return response


def attributes(parts: Parts) -> ResponseReturnValue:
    """Guess age and gender of uint8 (n, 224, 224, 3) RGB crops, a .npy array of at most 32.

    A crop shows a face upright and undistorted, in the square that is as high as the detector's box.
    """
    if parts.guess is None:
        raise NotFound("Age and gender are not told here; ATTRIBUTES=1 turns that on.")
    crops = wire.parse_crops(_crops(), SIDE, most=MAX_GUESSED)
    with parts.metrics.gauges["running"].labels("attributes").track_inprogress(), stage("attributes"):
        guesses = parts.guess(crops)
    return jsonify([asdict(guess) for guess in guesses])


def uploads(parts: Parts) -> ResponseReturnValue:
    """Turn uploaded pictures of one face each into vectors."""
    if not bodies.is_form():
        raise UnsupportedMediaType(f"Send {bodies.FORM}.")
    ids = wire.parse_face_ids(request.form)
    pictures = [bodies.taken(upload) for upload in request.files.getlist("image")]
    wire.check_same_number(ids, pictures)
    running = parts.metrics.gauges["running"]
    with running.labels("decode").track_inprogress(), stage("decode"):
        crops = service.crops_of(pictures, parts.decode, parts.networks.own.model.input_size)
    with running.labels("embed").track_inprogress(), stage("embed"):
        vectors = service.embed_readable(parts.networks.own, crops)
    count("faces", sum(map(bool, vectors)))
    return jsonify([FaceVector(id=id_, vector=vector) for id_, vector in zip(ids, vectors, strict=True)])


def _crops() -> bytes:
    """Return the array of crops, which comes as the body or in a form."""
    return bodies.files("crops")[0] if bodies.is_form() else bodies.of_type(NPY)


DESCRIBED = {
    "name": "Facenet",
    "dimension": 128,
    "input_size": 160,
    "threshold": 9.0,
    "distance_range": [0.0, 20.0],
    "fingerprint": "0123456789abcdef0123456789abcdef",
    "template": "facenet",
    "colours": "RGB",
    "scaling": "each crop to mean 0 and standard deviation 1",
    "mirrored": True,
}
GUESSED = asdict(Attributes(31.42, AgeRange(27, 35, 0.5219), Gender("female", 0.9731)))
READY = {"status": "ready", "version": VERSION, "model": "Facenet", "warnings": []}
EMBEDDED = (list[FaceVector], [{"id": "a", "vector": [0.25, -1.5]}])
BODY = (InvalidRequest, UnsupportedMediaType)
CROPS = {"crops": "The .npy array. Required."}
FACES = {"image": "Pictures of one face each, in any format that face_detection reads. Required."}
ROUTES = (
    Route("GET", "/", running, ANY, (HTML, "<p>Feature extraction server is running!</p>")),
    Route("GET", "/ready", ready, ANY, (Ready, READY)),
    Route(
        "GET",
        "/model",
        model,
        ANY,
        (Model, DESCRIBED),
        query=wire.WhichModel,
        raises=(InvalidRequest, NotFound),
    ),
    Route(
        "POST",
        "/embeddings",
        embeddings,
        ANY,
        (NPY, None),
        others=(OCTETS,),
        raw={NPY: None},
        files=CROPS,
        query=wire.WhichModel,
        raises=(*BODY, NotFound),
    ),
    Route(
        "POST",
        "/attributes",
        attributes,
        ANY,
        (list[Attributes], [GUESSED]),
        raw={NPY: None},
        files=CROPS,
        raises=(*BODY, NotFound),
    ),
    Route(
        "POST",
        "/",
        uploads,
        ANY,
        EMBEDDED,
        files=FACES,
        several=True,
        form=wire.Upload,
        raises=BODY,
    ),
)
