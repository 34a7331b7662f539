"""Handlers of a gallery's change to another model, as thin as those of handlers.py."""

from __future__ import annotations

from flask import jsonify
from flask.typing import ResponseReturnValue

from recognition.gallery import changes, models
from recognition.web import render_models, wire
from recognition.web.handlers import Parts
from serving import bodies

LISTED = 100  # ids of samples that wait


def show_change(parts: Parts) -> ResponseReturnValue:
    """Tell which models a gallery has, and how far a change is."""
    listed, _ = models.waiting(parts.gallery, LISTED)
    return jsonify(render_models.change_answer(models.status(parts.gallery), listed))


def begin_change(parts: Parts) -> ResponseReturnValue:
    """Change a gallery to another model, by the faces that are kept; or back to the one before.

    It is done in the background, while the gallery is searched and changed as ever. Vectors that are there
    already, as after a change to take back, are used. If it was interrupted, or some samples had no face,
    the same call goes on with it.
    """
    asked = wire.parse_small(wire.NewModel, bodies.json())
    parts.service.changer.begin(parts.gallery, asked.model, asked.without_face)
    return show_change(parts)


def stop_change(parts: Parts) -> ResponseReturnValue:
    """Stop a change that is under way; the gallery stays with the model that it has."""
    changes.release(parts.gallery)
    return show_change(parts)
