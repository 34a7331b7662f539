"""Handlers of unknown people, as thin as those of handlers.py."""

from __future__ import annotations

from functools import partial

from flask import Response, jsonify, request
from flask.typing import ResponseReturnValue

from recognition.gallery import unknowns
from recognition.web import answers_unknowns, render_unknowns, wire, wire_unknowns
from recognition.web.handlers import JPEG, PRIVATE, Parts
from serving import bodies
from serving.routes import query

FORGOTTEN = "Unknown people have been removed successfully"


def list_unknowns(parts: Parts) -> ResponseReturnValue:
    """List people whom nobody has named, those with the most faces first, page by page.

    Their faces are kept where KEEP_UNKNOWN is set: faces that are like no sample's, and good enough.
    """
    asked = wire.parse_text(wire_unknowns.UnknownsQuery, query())
    some = partial(unknowns.page, limit=asked.limit, after=asked.after, ignored=asked.ignored)
    page = parts.service.examine(some)
    return jsonify(render_unknowns.unknowns_answer(page, keeping=parts.service.keep is not None))


def show_unknown(parts: Parts, unknown_id: str) -> ResponseReturnValue:
    """Show an unknown person, and all faces that are kept."""
    unknown_id = wire_unknowns.parse_unknown_id(unknown_id)
    unknown = parts.service.examine(partial(unknowns.get, unknown_id=unknown_id))
    return jsonify(render_unknowns.shown_answer(unknown))


def show_unknown_face(parts: Parts, unknown_id: str, face_id: str) -> ResponseReturnValue:
    """Send the picture that is kept of a face of an unknown person."""
    ids = map(wire_unknowns.parse_unknown_id, (unknown_id, face_id))
    kept = unknowns.picture(parts.gallery, *ids)
    answer = Response(kept.jpeg, mimetype=JPEG, headers=PRIVATE)
    answer.add_etag()
    return answer.make_conditional(request)


def act_on_unknown(parts: Parts, unknown_id: str) -> ResponseReturnValue:
    """Say who an unknown person is, or the same as another one; ignore or forget them.

    Deleting the person, or the samples, of the answer to `name` takes that back: then they are unknown again.
    """
    unknown_id = wire_unknowns.parse_unknown_id(unknown_id)
    asked = wire.parse_small(wire_unknowns.UnknownAction, bodies.json())
    enroller = parts.service.enroller
    named = unknowns.act(
        parts.gallery,
        unknown_id,
        asked.deed(),
        keep_faces=enroller.keep_faces,
        kept_for=enroller.kept_for,
    )
    return jsonify(render_unknowns.acted_answer(unknown_id, named))


def forget_unknowns(parts: Parts) -> ResponseReturnValue:
    """Remove all unknown people with their faces, and those who are ignored, too, unless they are to stay."""
    asked = wire.parse_text(wire_unknowns.ForgetQuery, query())
    deleted = unknowns.forget_all(parts.gallery, keep_ignored=asked.keep_ignored)
    return jsonify(answers_unknowns.Forgotten(success=FORGOTTEN, deleted=deleted))
