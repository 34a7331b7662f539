"""Handlers of examples: the samples of a service's gallery."""

from __future__ import annotations

import uuid
from typing import Any

from flask import jsonify
from flask.typing import ResponseReturnValue

from recognition import client_keys
from recognition.compreface import json_bodies, options
from recognition.compreface.failures import Code, Missing, Refused, Unreadable
from recognition.compreface.subjects import stored
from recognition.compreface.table import CREATED, Parts
from recognition.compreface.uploads import received
from recognition.faces import Enrolment
from recognition.gallery import subjects
from recognition.results import Example

PAGE_SIZE, LARGEST_PAGE = 20, 2000  # examples: CompreFace's default, and the most that it has
MOST_PAGES = 10**9
MOST_IDS = 10_000  # that one request may delete


def add(parts: Parts) -> ResponseReturnValue:
    """Enrol the only face of a picture as an example of a subject, who is made if need be."""
    sent = received("file")
    subject = options.values().get("subject")
    if subject is None:
        raise Refused(Code.MISSING_PARAMETER, "Required parameter subject is missing")
    if sent.files is not None:  # CompreFace looks at it before the file, but after a body
        stored(subject)
    example = Example(str(uuid.uuid4()), subject)
    with parts.service.admission():
        (picture,), asked = sent.read(options.OF_ENROLMENT)
        parts.probing.enrol(
            Enrolment(
                example.id,
                stored(subject),
                picture,
                face="only",
                accept_low_quality=parts.take_all,
                surer_than=asked.threshold,
            )
        )
    return jsonify(_rendered(example)), CREATED


def show(parts: Parts) -> ResponseReturnValue:
    """List examples, page by page."""
    given = options.values()
    number = _counted(given.get("page"), 0, least=0, most=MOST_PAGES)
    size = _counted(given.get("size"), PAGE_SIZE, least=1, most=LARGEST_PAGE)
    page, total = subjects.page(
        parts.gallery, offset=number * size, limit=size, name=given.get("subject") or None
    )
    return jsonify(
        faces=[_rendered(each) for each in page],
        page_number=number,
        page_size=size,
        total_pages=-(-total // size),
        total_elements=total,
    )


def delete_some(parts: Parts) -> ResponseReturnValue:
    """Remove a subject with its examples, or all of them; a name that is blank is no mistake for all."""
    subject = options.values().get("subject")
    if subject is None:
        _, deleted = subjects.clear(parts.gallery)
    else:
        _, deleted = subjects.remove(parts.gallery, stored(subject))
    return jsonify(deleted=deleted)


def delete(parts: Parts, image_id: str) -> ResponseReturnValue:
    """Remove an example; its subject stays."""
    image_id = parse_id(image_id)
    removed = subjects.remove_examples(parts.gallery, [image_id])
    if not removed:
        raise Missing(Code.NO_EXAMPLE, f"Image {image_id} not found")
    return jsonify(_rendered(removed[0]))


def delete_several(parts: Parts) -> ResponseReturnValue:
    """Remove examples, and tell which of them there were; their subjects stay."""
    ids = [parse_id(each) for each in json_bodies.a_list(json_bodies.received())]
    if len(ids) > MOST_IDS:
        raise Refused(Code.UNFORESEEN, f"More than {MOST_IDS} ids")
    return jsonify([_rendered(each) for each in subjects.remove_examples(parts.gallery, ids)])


def parse_id(value: Any) -> str:
    """Return the id of an example as it is stored.

    Raises:
        Unreadable: it is no UUID.
    """
    if not isinstance(value, str) or client_keys.UUID.fullmatch(value) is None:
        raise Unreadable("An id is not a UUID.")
    return value.lower()


def _counted(text: str | None, default: int, *, least: int, most: int) -> int:
    """Read a number of a page as CompreFace does: what is none, or too small, is as if it were absent."""
    if not text or not text.isascii() or not text.isdigit() or int(text[:20]) < least:
        return default
    return min(int(text[:20]), most)


def _rendered(example: Example) -> dict[str, str]:
    return {"image_id": example.id, "subject": example.subject}
