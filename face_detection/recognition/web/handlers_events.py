"""Handlers of what cameras see, as thin as those of handlers.py."""

from __future__ import annotations

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue

from recognition import visiting
from recognition.gallery import events
from recognition.visits import as_json
from recognition.web import answers, answers_events, render, wire, wire_events
from recognition.web.handlers import JPEG, PRIVATE, Parts, all_told, file_or_json, picture_and_options
from serving import bodies
from serving.routes import query

REMOVED = "Events have been removed successfully"


def describe(parts: Parts) -> ResponseReturnValue:
    """Find the faces of a picture, largest first, with the vector of each.

    Whoever watches a camera compares the vectors from frame to frame, and sends those of a visit's best
    frames to `POST /events`.
    """
    data = file_or_json()
    with parts.service.admission():
        picture, options = picture_and_options(data, wire_events.DescribeRequest, wire_events.DescribeOptions)
        described = visiting.describe(
            parts.service, picture, limit=options.limit, small_faces=options.small_faces
        )
    answer = jsonify(render.description_answer(described))
    return all_told(answer, described.faces.left_out, described.faces.remarks)


def record(parts: Parts) -> ResponseReturnValue:
    """Tell who a visit to a camera was of, and keep it as an event.

    The mean of the vectors decides, as `POST /face-recognition` does. The same `id` again replaces the event,
    so that a visit can be told while it lasts, and a request sent again does nothing twice. Without vectors
    it only changes when the visit was: so it ends also after the gallery has got another model.
    """
    body = bodies.json()
    with parts.service.admission():
        new = wire.parse_json(wire_events.NewVisit, body)
        del body
        event = visiting.record(parts.service, parts.gallery, new.visit(), new.fingerprint, new.search())
    return jsonify(as_json(event))


def list_events(parts: Parts) -> ResponseReturnValue:
    """List what cameras saw, the newest first, page by page."""
    asked = wire.parse_text(wire_events.EventsQuery, query())
    page = events.page(
        parts.gallery,
        _which(asked),
        parts.service.events_kept_for,
        limit=asked.limit,
        after=asked.after,
    )
    return jsonify(render.events_answer(page))


def show_event(parts: Parts, event_id: str) -> ResponseReturnValue:
    """Show one event."""
    event_id = wire_events.parse_event_id(event_id)
    return jsonify(as_json(events.get(parts.gallery, event_id, parts.service.events_kept_for)))


def show_picture(parts: Parts, event_id: str) -> ResponseReturnValue:
    """Send the picture that is kept of an event."""
    event_id = wire_events.parse_event_id(event_id)
    picture = events.picture(parts.gallery, event_id, parts.service.events_kept_for)
    answer = Response(picture, mimetype=JPEG, headers=PRIVATE)
    answer.add_etag()
    return answer.make_conditional(request)


def delete_event(parts: Parts, event_id: str) -> ResponseReturnValue:
    """Remove one event."""
    event_id = wire_events.parse_event_id(event_id)
    events.delete(parts.gallery, event_id)
    return jsonify(answers.Deleted(success=[event_id]))


def delete_events(parts: Parts) -> ResponseReturnValue:
    """Remove all events, or those of a camera, of a person, or of a time."""
    which = _which(wire.parse_text(wire_events.WhichEvents, query()))
    removed = events.delete_some(parts.gallery, which)
    return jsonify(answers_events.EventsRemoved(success=REMOVED, deleted=removed))


def _which(asked: wire_events.WhichEvents) -> events.Which:
    return events.Which(asked.camera, asked.person, asked.since, asked.until)
