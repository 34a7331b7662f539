"""Which gallery a request is in, and handlers of galleries as such, as thin as those of handlers.py."""

from __future__ import annotations

from dataclasses import replace

from flask import g, jsonify
from flask.typing import ResponseReturnValue

from recognition.gallery import galleries
from recognition.gallery.tables import DEFAULT_NAME
from recognition.web import answers, render, wire
from recognition.web.handlers import Parts
from serving import bodies
from serving.errors import Forbidden
from serving.routes import Route, query


def in_gallery(parts: Parts, route: Route) -> Parts:
    """Return what a handler works with: its gallery is that of the caller's key, or the one asked for.

    So a handler needs to know nothing of galleries, and one that forgets to ask sees no other.

    Raises:
        InvalidRequest: the query is not what the route takes.
        Forbidden: the key is for another gallery, whether the one asked for is there or not.
        NotFound: there is no such gallery, and the route is about what is in one.
        GalleryUnavailable: the database cannot be reached or is locked.
    """
    model = route.query if route.query and issubclass(route.query, wire.InGallery) else None
    asked = wire.parse_text(model, query()).gallery if model else None
    own: str | None = g.get("gallery")
    if own is not None and asked not in (own, None):
        raise Forbidden("This key is for another gallery.")
    name = own or asked or DEFAULT_NAME
    if name == DEFAULT_NAME:
        return replace(parts, bound=True) if own else parts
    gallery = parts.gallery.of(name)
    if model:
        gallery.check_there()
    service = replace(parts.service, gallery=gallery, audit=gallery.audit, read=gallery.audit.read)
    return replace(parts, service=service, gallery=gallery, bound=own is not None)


def list_galleries(parts: Parts) -> ResponseReturnValue:
    """List the galleries, with how much is in each; a key for one gallery sees that one."""
    return jsonify(render.galleries_answer(galleries.listed(parts.gallery, alone=parts.bound)))


def make_gallery(parts: Parts) -> ResponseReturnValue:
    """Make an empty gallery."""
    name = wire.parse_small(wire.NewGallery, bodies.json()).name
    return jsonify(render.gallery_answer(galleries.make(parts.gallery, name)))


def delete_gallery(parts: Parts, gallery: str) -> ResponseReturnValue:
    """Remove a gallery with all samples, people and events in it; `default` cannot be removed."""
    galleries.delete(parts.gallery.of(gallery))
    return jsonify(answers.Deleted(success=[gallery]))
