"""Handlers of subjects: the people of a service's gallery, by their names."""

from __future__ import annotations

import re

from flask import jsonify
from flask.typing import ResponseReturnValue
from pydantic import TypeAdapter

from recognition.bounds import MAX_NAME, Name
from recognition.compreface import json_bodies
from recognition.compreface.failures import Code, Missing, Refused, instead
from recognition.compreface.table import CREATED, Parts
from recognition.errors import PersonExists
from recognition.gallery import subjects
from serving.errors import NotFound

NAME: TypeAdapter[str] = TypeAdapter(Name)
LONGEST = 50  # characters of a name that is given by itself; those of examples may be longer
FORBIDDEN = re.compile(r"[;/\\]")
TOO_LONG = "Subject name size must be between 1 and {}"
EMPTY, EMPTY_PARAMETER = "Subject name cannot be empty", "Subject name is empty; "


def show(parts: Parts) -> ResponseReturnValue:
    """List all names."""
    return jsonify(subjects=subjects.names(parts.gallery))


def make(parts: Parts) -> ResponseReturnValue:
    """Make a subject without examples."""
    sent = _new_name()
    with instead(PersonExists, Refused(Code.SUBJECT_EXISTS, "Subject already exists")):
        subjects.make(parts.gallery, stored(sent, EMPTY), kept_for=parts.service.enroller.kept_for)
    return jsonify(subject=sent), CREATED


def rename(parts: Parts, subject: str) -> ResponseReturnValue:
    """Give a subject another name; that of another one gives that all its examples."""
    old, new = stored(subject), _new_name()
    with instead(NotFound, no_subject(subject)):
        updated = subjects.rename(parts.gallery, old, stored(new, EMPTY))
    return jsonify(updated=updated)


def delete(parts: Parts, subject: str) -> ResponseReturnValue:
    """Remove a subject with its examples."""
    name, _ = subjects.remove(parts.gallery, stored(subject))
    if name is None:
        raise no_subject(subject)
    return jsonify(subject=name)


def delete_all(parts: Parts) -> ResponseReturnValue:
    """Remove all subjects with their examples."""
    number, _ = subjects.clear(parts.gallery)
    return jsonify(deleted=number)


def no_subject(name: str) -> Missing:
    """Say that there is no such subject."""
    return Missing(Code.NO_SUBJECT, f"Subject {name} not found")


def stored(name: str, if_blank: str = EMPTY_PARAMETER) -> str:
    """Return a name as it is stored.

    Raises:
        Refused: nothing in it can be seen, or it is longer than a name may be.
    """
    if len(name) > MAX_NAME:
        raise Refused(Code.BAD_VALUE, TOO_LONG.format(MAX_NAME))
    try:
        return NAME.validate_python(name)
    except ValueError as e:
        raise Refused(Code.BAD_VALUE, if_blank) from e


def _new_name() -> str:
    """Return the name that the body has.

    Raises:
        Unreadable, Refused: it has none, or one that CompreFace does not take.
    """
    name = json_bodies.text(json_bodies.an_object(json_bodies.received()).get("subject")) or ""
    if not name.strip():
        raise Refused(Code.BAD_VALUE, EMPTY)
    if len(name) > LONGEST:
        raise Refused(Code.BAD_VALUE, TOO_LONG.format(LONGEST))
    check_characters(name)
    return name


def check_characters(name: str) -> None:
    """Make sure that a name can be one of a path.

    Raises:
        Refused: it cannot.
    """
    if FORBIDDEN.search(name):
        text = "The name cannot contain the following special characters: ';', '/', '\\'"
        raise Refused(Code.BAD_CHARACTER, text)
