"""Thin handlers: each parses, calls the service once, and renders. routes.py says which call each answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from flask import Response, jsonify, request, send_from_directory
from flask.typing import ResponseReturnValue

from recognition.faces import Encoded
from recognition.gallery import Gallery, faces, transfer
from recognition.service import Service
from recognition.web import answers, render, wire, wire_events
from serving import bodies
from serving.metrics import Metrics
from serving.notices import Notice, Notices
from serving.remarks import Remark
from serving.routes import OCTETS, query
from serving.version import VERSION

STATIC = Path(__file__).parents[1] / "static"
JSON, JPEG, NDJSON = "application/json", "image/jpeg", "application/x-ndjson"
RUNNING = "Face detection server is running."
CLEARED = "Samples have been removed successfully"
LEFT_OUT, WARNINGS = "X-Faces-Left-Out", "X-Picture-Warnings"
FACE = "/face"  # ends the path of a sample's face
PRIVATE = {"Cache-Control": "private, no-store"}
AS_FILE = {"Content-Disposition": 'attachment; filename="gallery.jsonl"'}

WithPicture = TypeVar("WithPicture", wire.RecogniseRequest, wire.DetectRequest, wire_events.DescribeRequest)
Options = TypeVar("Options", bound=wire.DetectOptions)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the handlers work with.

    notices: what is wrong beside; authentication: whether keys are asked for.
    bound: whether the caller's key is for this gallery alone.
    beside: tells what more there is to be warned of, which is not of this gallery alone.
    """

    service: Service
    gallery: Gallery
    metrics: Metrics
    notices: Notices
    authentication: bool
    bound: bool = False
    beside: Callable[[], list[Notice]] = list


def page(_: Parts) -> ResponseReturnValue:
    """Show the web page."""
    return send_from_directory(STATIC, "index.html")


def page_file(_: Parts, filename: str) -> ResponseReturnValue:
    """Send what the web page is made of."""
    return send_from_directory(STATIC, filename)


def running(_: Parts) -> ResponseReturnValue:
    """Say that the server runs."""
    return Response(RUNNING, mimetype="text/plain")


def ready(parts: Parts) -> ResponseReturnValue:
    """Recognise a bundled face through both services and the gallery."""
    readiness, warnings = parts.service.ready(), parts.notices.shown()
    if not parts.bound:
        warnings += parts.beside()
    answer = render.readiness_answer(
        readiness, warnings, authentication=parts.authentication, version=VERSION
    )
    return jsonify(answer)


def update_samples(parts: Parts) -> ResponseReturnValue:
    """Enrol the largest face of each picture; an id sent again replaces its sample."""
    body = bodies.json()
    with parts.service.admission():  # the values of a large body take memory, too
        enrolments = wire.parse_enrolments(body)
        del body  # the enrolments have its pictures
        report = parts.service.enrol(enrolments)
    return jsonify(render.enrolment_answer(report))


def face_recognition(parts: Parts) -> ResponseReturnValue:
    """Find the faces of a picture and the samples they match, largest face first.

    With `?draw=1`, or `Accept: image/jpeg`, it answers as `POST /draw` does.
    """
    if wire.parse_text(wire.DrawQuery, query()).draw or _prefers_jpeg():
        return draw(parts)
    data = file_or_json()
    with parts.service.admission():
        picture, options = picture_and_options(data, wire.RecogniseRequest, wire.RecogniseOptions)
        recognised = parts.service.recognise(picture, options.search())
    answer = jsonify(render.recognition_answer(recognised.faces, options))
    return all_told(answer, recognised.left_out, recognised.remarks)


def draw(parts: Parts) -> ResponseReturnValue:
    """Recognise, and answer with the picture itself, boxes and names drawn on it."""
    data = file_or_json()
    with parts.service.admission():
        picture, options = picture_and_options(data, wire.RecogniseRequest, wire.RecogniseOptions)
        drawing = parts.service.draw(picture, options.search(), unknown=options.include_unknown)
    return all_told(Response(drawing.jpeg, mimetype=JPEG), drawing.left_out, drawing.remarks)


def detect(parts: Parts) -> ResponseReturnValue:
    """Find the faces of a picture, largest first."""
    data = file_or_json()
    with parts.service.admission():
        picture, options = picture_and_options(data, wire.DetectRequest, wire.DetectOptions)
        detected = parts.service.detect(picture, small_faces=options.small_faces)
    answer = jsonify(render.detection_answer(detected.faces))
    return all_told(answer, detected.left_out, detected.remarks)


def verify(parts: Parts) -> ResponseReturnValue:
    """Tell whether the largest faces of two pictures are one person's."""
    first: Encoded
    second: Encoded
    options: wire.VerifyOptions
    data = bodies.files("image1", "image2") if bodies.is_form() else [bodies.json()]
    with parts.service.admission():
        if bodies.is_form():
            first, second = data
            options = wire.parse_text(wire.VerifyOptions, request.form)
        else:
            options = asked = wire.parse_json(wire.VerifyRequest, *data)
            first, second = asked.image1, asked.image2
        verification = parts.service.verify(
            first, second, max_distance=options.min_distance, small_faces=options.small_faces
        )
    return all_told(jsonify(render.verification_answer(verification)), 0, verification.remarks)


def clear_samples(parts: Parts) -> ResponseReturnValue:
    """Remove every sample."""
    parts.gallery.clear()
    return jsonify(answers.Cleared(success=CLEARED))


def delete_samples(parts: Parts) -> ResponseReturnValue:
    """Remove every sample, those of a name, or the one of an id, whatever it is."""
    asked = wire.parse_text(wire.DeleteQuery, query())
    if asked.id is not None:
        parts.service.delete(asked.id)
        return jsonify(answers.Cleared(success=CLEARED, deleted=1))
    if asked.name is not None:
        return jsonify(answers.Cleared(success=CLEARED, deleted=parts.gallery.delete_named(asked.name)))
    return clear_samples(parts)


def list_samples(parts: Parts) -> ResponseReturnValue:
    """List samples, page by page."""
    asked = wire.parse_text(wire.SamplesQuery, query())
    page = parts.service.samples(limit=asked.limit, after=asked.after, name=asked.name, person=asked.person)
    return jsonify(render.page_answer(page))


def count_samples(parts: Parts) -> ResponseReturnValue:
    """Count all samples, or those of a name or a person."""
    asked = wire.parse_text(wire.CountQuery, query())
    return jsonify(answers.Count(count=parts.gallery.count(asked.name, asked.person)))


def show_sample(parts: Parts, sample_id: str) -> ResponseReturnValue:
    """Show one sample."""
    return jsonify(render.sample_answer(parts.service.sample(wire.parse_id(sample_id))))


def delete_sample(parts: Parts, sample_id: str) -> ResponseReturnValue:
    """Remove one sample."""
    parts.service.delete(wire.parse_id(sample_id))
    return jsonify(answers.Deleted(success=[sample_id]))


def show_face(parts: Parts, sample_id: str) -> ResponseReturnValue:
    """Send the picture that is kept of a sample's face.

    The path of a sample whose own id ends in `/face` shows that sample, as it always has.
    """
    sample_id = wire.parse_id(sample_id)
    if (named_so := parts.gallery.get(f"{sample_id}{FACE}")) is not None:
        parts.service.read("show", [named_so.id])
        return jsonify(render.sample_answer(named_so))
    kept = faces.get(parts.gallery, sample_id)
    parts.service.read("show", [sample_id])
    answer = Response(kept.jpeg, mimetype=JPEG, headers=PRIVATE)
    answer.add_etag()
    return answer.make_conditional(request)


def export_samples(parts: Parts) -> ResponseReturnValue:
    """Write the gallery, with its vectors, as a file."""
    asked = wire.parse_text(wire.ExportQuery, query())
    pieces = transfer.export(parts.gallery, faces=asked.faces)
    return Response(pieces, mimetype=NDJSON, headers=AS_FILE)


def import_samples(parts: Parts) -> ResponseReturnValue:
    """Store the samples of such a file, unless newer ones are there."""
    with bodies.as_file("file", NDJSON, OCTETS) as file:
        outcome = transfer.import_file(
            parts.gallery, file, parts.service.check_comparable, keep_faces=parts.service.enroller.keep_faces
        )
    return jsonify(render.import_answer(*outcome))


def file_or_json() -> bytes:
    """Receive the body; whoever parses it waits for a turn first."""
    return bodies.files("file")[0] if bodies.is_form() else bodies.json()


def picture_and_options(
    data: bytes, body: type[WithPicture], form: type[Options]
) -> tuple[Encoded, WithPicture | Options]:
    """Parse what `file_or_json` has received."""
    if bodies.is_form():
        return data, wire.parse_text(form, request.form)
    asked = wire.parse_json(body, data)
    return asked.image, asked


def all_told(response: Response, left_out: int, remarks: Sequence[Remark]) -> Response:
    """Say in headers, because the answers are arrays, how many faces were left out, and what was remarked."""
    if left_out:
        response.headers[LEFT_OUT] = str(left_out)
    if remarks:
        response.headers[WARNINGS] = render.warning_codes(remarks)
    return response


def _prefers_jpeg() -> bool:
    return request.accept_mimetypes.best_match([JSON, JPEG]) == JPEG
