"""What pydantic finds wrong with a request or a file, in words for the caller. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from serving.errors import InvalidRequest

FAULTS_SHOWN = 5
NAME_SHOWN = 100  # characters of a field's name that somebody else chose


def faults_of(error: ValidationError, known: tuple[str, ...] = ()) -> str:
    """Say what is wrong and where, for the first few faults, without repeating the values that were sent.

    known: the fields that exist, of which an unknown one may be a misspelling.
    """
    faults = error.errors(include_url=False, include_input=False, include_context=False)
    shown = "; ".join(f"{_place(fault['loc'])}: {_message(fault, known)}" for fault in faults[:FAULTS_SHOWN])
    more = len(faults) - FAULTS_SHOWN
    return f"{shown} (and {more} more)" if more > 0 else shown


def unknown(name: str, known: tuple[str, ...]) -> str:
    """Say that a field does not exist, and which one it resembles."""
    similar = get_close_matches(name[:NAME_SHOWN].lower(), known, n=1)
    return f"unknown field; did you mean {similar[0]}?" if similar else "unknown field"


def unknown_field(name: str | None, known: tuple[str, ...] = ()) -> InvalidRequest:
    """Say the same as an error, of a field that may be without a name."""
    return InvalidRequest(f"{_shown(name)}: {unknown(name or '', known)}")


def check_once(pairs: Iterable[tuple[str | None, object]]) -> None:
    """Refuse parameters or fields of which one comes several times: only one of the values would count.

    pairs: name and value of each, in the order sent; a part of a form may be without a name.

    Raises:
        InvalidRequest: a name comes again.
    """
    names: set[str | None] = set()
    for name, _ in pairs:
        if name in names:
            raise InvalidRequest(f"{_shown(name)}: sent several times")
        names.add(name)


@contextmanager
def faults_told(*known: str) -> Iterator[None]:
    """Turn what pydantic finds wrong inside the block into an InvalidRequest.

    known: as for `faults_of`.
    """
    try:
        yield
    except ValidationError as e:
        raise InvalidRequest(faults_of(e, known)) from e


def _message(fault: Any, known: tuple[str, ...]) -> str:
    if fault["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return unknown(str(fault["loc"][-1]), known)
    return str(fault["msg"]).removeprefix("Value error, ")  # pydantic's, of what validators raise


def _shown(name: str | None) -> str:
    return name[:NAME_SHOWN] if name else "(no name)"


def _place(loc: tuple[int | str, ...]) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{part[:NAME_SHOWN]}" for part in loc)
    return "".join(parts).lstrip(".") or "body"
