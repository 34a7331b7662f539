"""What a sample may hold, wherever it comes from: a request, or a file. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue

from recognition import names
from recognition.faces import NEVER, Never
from serving.keys import GALLERY

DOTS = (".", "..")
CALLS = ("/merge", "/unmerge", "/export")
MAX_NAME = 1000
MAX_CAMERA = 100
MAX_METADATA_BYTES = 64 * 1024  # as compact JSON in UTF-8
MAX_METADATA_DEPTH = 32


def _depth(value: JsonValue) -> int:
    """Levels of arrays and objects: 0 for a number, 1 for `[]`. The parser has refused more than 201."""
    if not isinstance(value, list | dict):
        return 0
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(map(_depth, inside), default=0)


def _bounded(value: JsonValue) -> JsonValue:
    # raises ValueError on NaN and infinities, which are not JSON
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"more than {MAX_METADATA_BYTES} bytes of JSON")
    if _depth(value) > MAX_METADATA_DEPTH:
        raise ValueError(f"nested more than {MAX_METADATA_DEPTH} levels deep")
    return value


def _name(text: str) -> str:
    name = names.normalised(text)
    if len(name) > MAX_NAME:  # a few characters of NFC are several
        raise ValueError(f"more than {MAX_NAME} characters in NFC")
    return name


def _camera(text: str) -> str:
    camera = names.normalised(text)
    if len(camera) > MAX_CAMERA:
        raise ValueError(f"more than {MAX_CAMERA} characters in NFC")
    return camera


def _reachable(sample_id: str) -> str:
    # Clients take `.` and `..` out of a path (RFC 3986, 5.2.4), percent-encoded, too (WHATWG's URL, 4.4).
    if sample_id in DOTS:
        raise ValueError("no client could ask for it: paths lose a part that is . or ..")
    return sample_id


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("not a UUID, such as 0b4cba0e-6f37-4f0c-9b5a-7a2f6d1e8c11") from None


def _without_a_calls_name(person_id: str) -> str:
    if person_id.endswith(CALLS):
        raise ValueError(f"it may not end in {', '.join(CALLS)}: these are calls on a person")
    return person_id


def _moment(value: Any) -> datetime:
    # pydantic's own reading takes numbers, too, for seconds since 1970.
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass  # the library's message quotes what was sent
    raise ValueError("not a time in ISO 8601 with its offset from UTC, such as 2026-01-31T12:00:00+01:00")


def _expiry(value: Any) -> datetime | Never:
    if value == NEVER:
        return NEVER
    try:
        return _moment(value)
    except ValueError as e:
        raise ValueError(f"{e}, or `{NEVER}`") from None


# Databases bound what an index entry may hold (PostgreSQL 2,704 bytes), and PostgreSQL's text takes no NUL.
NO_NUL = r"^[^\x00]*$"
Id = Annotated[str, Field(min_length=1, max_length=500, pattern=NO_NUL)]
NewId = Annotated[Id, AfterValidator(_reachable)]
NewPersonId = Annotated[NewId, AfterValidator(_without_a_calls_name)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME, pattern=NO_NUL), AfterValidator(_name)]
CameraName = Annotated[
    str, Field(min_length=1, max_length=MAX_CAMERA, pattern=NO_NUL), AfterValidator(_camera)
]
EventId = Annotated[str, AfterValidator(_uuid)]  # in the form of RFC 9562, section 4
# Of what was stored when any text was a name; NFC is at most three times as long, says UAX #15, section 12.
StoredName = Annotated[str, Field(min_length=1, max_length=3 * MAX_NAME, pattern=NO_NUL)]
Action = Annotated[str, Field(max_length=1000, pattern=NO_NUL)]
Metadata = Annotated[JsonValue, AfterValidator(_bounded)]
GalleryName = Annotated[str, Field(pattern=f"^{GALLERY}$")]
Moment = Annotated[datetime, BeforeValidator(_moment)]  # becomes UTC
NewExpiry = Annotated[datetime | Never, BeforeValidator(_expiry)]
