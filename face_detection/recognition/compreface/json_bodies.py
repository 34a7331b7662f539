"""JSON as CompreFace reads it: whatever the content type says, with fields that nobody knows."""

from __future__ import annotations

import codecs
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

from recognition.compreface.failures import Code, Refused, Unreadable
from serving import bodies
from serving.json_size import check_size


def received() -> Any:
    """Return the body of the request under way.

    Raises:
        Unreadable: it is not JSON.
    """
    return parsed(bodies.whole())


def parsed(body: bytes) -> Any:
    """Read JSON in UTF-8, with or without a byte order mark.

    Raises:
        Unreadable: it is something else.
        InvalidRequest: it has more values than an honest request, which take a hundred times the memory.
    """
    check_size(body)
    try:
        return from_json(body.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
    except ValueError as e:
        raise Unreadable("The body is not JSON.") from e


def an_object(value: Any) -> Mapping[str, Any]:
    """Make sure that a value is an object.

    Raises:
        Unreadable: it is not.
    """
    if not isinstance(value, dict):
        raise Unreadable("It is not an object.")
    return value


def a_list(value: Any) -> list[Any]:
    """Make sure that a value is a list.

    Raises:
        Unreadable: it is not.
    """
    if not isinstance(value, list):
        raise Unreadable("It is not a list.")
    return value


def text(value: Any) -> str | None:
    """Read a text, or null; numbers and the like count as their texts.

    Raises:
        Unreadable: it is a list or an object.
    """
    if isinstance(value, list | dict):
        raise Unreadable("It is not a text.")
    return value if value is None or isinstance(value, str) else json.dumps(value)


def vector(value: Any) -> list[float]:
    """Read a list of numbers.

    Raises:
        Unreadable: it is something else.
    """
    if not all(type(number) in (int, float) for number in a_list(value)):
        raise Unreadable("It is not a list of numbers.")
    try:
        return list(map(float, value))
    except OverflowError as e:
        raise Unreadable("A number is too large.") from e


def given(value: Any, name: str) -> Any:
    """Make sure that a field is there, and not empty.

    Raises:
        Refused: it is not.
    """
    if value is None or value == []:
        raise Refused(Code.EMPTY_FIELD, f"Field {name} cannot be empty")
    return value
