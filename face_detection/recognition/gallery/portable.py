"""A gallery as a file of JSON lines, which any gallery of the same model takes, whatever its database.

first line   {"gallery": 2, "fingerprint": "...", "dimension": d}, the last two null where there is no sample;
             and "faces": true in a file that has the kept faces
one a sample {"id", "person", "name", "spelling", "metadata", "action", "created", "modified", "expires_at",
             "quality", "picture", "vector"}: ids ascending, times in ISO 8601, the vector as base64 of
             little-endian float32, the id and the name of the person, how the name was spelt that the sample
             came with, the quality of the face and the digest of its picture in base64, null if not known;
             and if one is kept "face": {"jpeg": base64, "confidence", "bbox": [x, y, w, h], "landmarks": five
             [x, y] or null} in pixels of that picture
one a person {"person", "name", "metadata", "by_hand", "created", "modified", "expires_at"}: ids ascending
one an event {"event": as GET /events has it, "picture": a JPEG in base64, null if none is kept}: ids
             ascending; only in the file of one person, and passed over by whoever takes it in
last line    {"samples": n, "persons": m, "sha256": "..."}: of all bytes before it

Files of version 1 are read, too: their samples have no "person" and no "spelling", and there are no people.
"quality" and "picture" may be missing.

A file without its last line is an export that was broken off; with another checksum it was changed since.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated, Any, Literal, TypeVar

import numpy as np
import pydantic_core
from numpy.typing import NDArray
from pydantic import Base64Bytes, BaseModel, Field, JsonValue, ValidationError

from recognition import names
from recognition.bounds import Action, Id, Metadata, Moment, StoredName
from recognition.errors import DamagedGallery
from recognition.faces import Person, Sample
from recognition.gallery import kept
from recognition.visits import Event, as_json, from_json
from serving.validation import faults_of

VERSION = 2
FLOAT32 = np.dtype("<f4")
PART = ".part"  # behind the name of a file that is not complete
MAX_LINE_BYTES = 2**20  # an id, a name, an action, metadata, a vector and a face at their largest stay below
LARGEST = (
    1e15  # the squares of 10,000 such values still have a sum in float32; vectors have a length of 20 at most
)
MAX_DIGEST_BYTES = 64
STEP = 1000  # samples of which `advance` is told at once


@dataclass(frozen=True, slots=True)
class Seen:
    """An event, and the picture that is kept of it, a JPEG."""

    event: Event
    picture: bytes | None


Record = tuple[Sample, NDArray[np.float32]]
Entry = Record | Person | Seen
SAMPLES, PEOPLE, EVENTS = range(3)
Place = tuple[int, str]  # of an entry: which of these it is among, and its id; in ascending order in the file
Page = Callable[[Place | None], Sequence[Entry]]
Advance = Callable[[int], object]  # takes the number of samples of each step
Resumed = tuple[Any, int, str | None]  # the digest of what is written already, its samples, and the last id


@dataclass(frozen=True, slots=True)
class Header:
    """What the vectors of a file are: of which model, and how many values each; None where there are none.

    faces: whether the file has kept faces.
    """

    fingerprint: str | None
    dimension: int | None
    faces: bool = False


class _First(BaseModel):
    gallery: Literal[1, 2]
    fingerprint: Annotated[str, Field(min_length=1, max_length=200)] | None
    dimension: Annotated[int, Field(gt=0)] | None
    faces: bool = False


class _Line(BaseModel):
    id: Id
    name: StoredName
    metadata: Metadata
    action: Action | None
    created: Moment
    modified: Moment
    expires_at: Moment | None = None
    person: Id | None = None
    spelling: StoredName | None = None
    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    picture: Annotated[Base64Bytes, Field(min_length=1, max_length=MAX_DIGEST_BYTES)] | None = None
    vector: str
    face: kept.FaceLine | None = None


class _PersonLine(BaseModel):
    person: Id
    name: StoredName
    metadata: Metadata
    created: Moment
    modified: Moment
    expires_at: Moment | None
    by_hand: bool


class _EventLine(BaseModel):
    event: dict[str, JsonValue]
    picture: str | None


class _Last(BaseModel):
    samples: int
    persons: int = 0
    sha256: str


Part = TypeVar("Part", bound=BaseModel)


def pieces(header: Header, page: Page, resumed: Resumed | None = None) -> Iterator[tuple[bytes, int]]:
    """Render a gallery page by page: bytes of the file, and how many samples are in them.

    Args:
        header: of the vectors.
        page: returns the next entries after a place (None: the first ones), ascending; none at the end.
        resumed: goes on behind these entries.
    """
    digest, samples, last_id = resumed or (hashlib.sha256(), 0, None)
    people, after = 0, None if last_id is None else (SAMPLES, last_id)
    lines = [_line(_first_of(header))] if after is None else []
    while entries := page(after):
        lines += [_line(_rendered(entry)) for entry in entries]
        piece = b"".join(lines)
        digest.update(piece)
        new_people = sum(isinstance(entry, Person) for entry in entries)
        new_samples = sum(isinstance(entry, tuple) for entry in entries)
        yield piece, new_samples
        lines, samples, people, after = [], samples + new_samples, people + new_people, place_of(entries[-1])
    rest = b"".join(lines)
    digest.update(rest)
    last = {"samples": samples, "persons": people, "sha256": digest.hexdigest()}
    yield rest + _line(last), 0


def place_of(entry: Entry) -> Place:
    """Return the place of an entry in the file."""
    if isinstance(entry, Seen):
        return EVENTS, entry.event.id
    return (PEOPLE, entry.id) if isinstance(entry, Person) else (SAMPLES, entry[0].id)


def write(path: Path, header: Header, page: Page, advance: Advance) -> int:
    """Write a gallery page by page; a broken-off export of the same model goes on where it stopped.

    Args:
        path: is there when all is written; until then the file has `.part` behind its name.
        header, page: as for `pieces`.
        advance: is told the number of samples of each step.

    Returns:
        The number of samples in the file.

    Raises:
        DamagedGallery: the broken-off export is of another model, or one of them is with faces.
        OSError.
    """
    part = path.with_name(path.name + PART)
    part.touch(mode=0o600)  # faces are nobody else's business
    with part.open("r+b") as file:
        resumed = _resumed(file, header)
        count = resumed[1]
        advance(count)
        for piece, samples in pieces(header, page, resumed):
            file.write(piece)
            count += samples
            advance(samples)
    part.replace(path)
    return count


def check(file: IO[bytes], advance: Advance = lambda samples: None) -> tuple[Header, int]:
    """Read a file from its beginning to its end, where its checksum is.

    Returns:
        What its vectors are, and the number of its samples.

    Raises:
        DamagedGallery, OSError.
    """
    count = 0
    for entry in read(file):
        count += isinstance(entry, tuple)
        if count % STEP == 0 and isinstance(entry, tuple):
            advance(STEP)
    file.seek(0)
    return _header(_next_line(file)), count


def read(file: IO[bytes]) -> Iterator[Entry]:
    """Read a file entry by entry, and check it on the way: its checksum is known only at the end.

    Raises:
        DamagedGallery, OSError.
    """
    digest = hashlib.sha256()
    file.seek(0)
    line = _next_line(file)
    header = _header(line)
    number, samples, people = 2, 0, 0
    before: Place | None = None
    while True:
        digest.update(line)
        line = _next_line(file)
        value = _parsed(line, number)
        if "sha256" in value:
            break
        entry = _entry(value, header, number)
        place = place_of(entry)
        if before is not None and place <= before:
            raise DamagedGallery(f"line {number}: ids are not in ascending order")
        number, before = number + 1, place
        samples, people = samples + (place[0] == SAMPLES), people + (place[0] == PEOPLE)
        yield entry
    last = _valid(_Last, value, number)
    counted = (samples, people, digest.hexdigest())
    if (last.samples, last.persons, last.sha256) != counted:
        raise DamagedGallery("the checksum is not that of the lines: the file was changed")
    if file.read(1):
        raise DamagedGallery("there is more behind the last line")


def _resumed(file: IO[bytes], header: Header) -> Resumed:
    """Cut off what is behind the last whole line of a sample; the file stands at its new end.

    People come again, since samples may have come before them by now. A file that an older version began is
    begun anew.
    """
    file.seek(0)
    first = file.readline()
    digest, whole, count, after = hashlib.sha256(first), len(first), 0, None
    if first.endswith(b"\n"):
        if _header(first) != header:
            raise DamagedGallery(
                "a broken-off export of another model, or one of the two with faces, is in the way; delete it"
            )
        for number, line in enumerate(file if _parsed(first, 1)["gallery"] == VERSION else (), 2):
            if not line.endswith(b"\n"):
                break
            value = _parsed(line, number)
            if "vector" not in value:
                break
            digest.update(line)
            whole += len(line)
            count, after = count + 1, value["id"]
    if after is None:
        digest, whole = hashlib.sha256(), 0
    file.truncate(whole)
    file.seek(whole)
    return digest, count, after


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _first_of(header: Header) -> dict[str, Any]:
    line = {"gallery": VERSION, **asdict(header)}
    return line if header.faces else {name: value for name, value in line.items() if name != "faces"}


def _rendered(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Seen):
        return {"event": as_json(entry.event), "picture": entry.picture and kept.rendered_jpeg(entry.picture)}
    if isinstance(entry, Person):
        return {
            "person": entry.id,
            "name": entry.name,
            "metadata": entry.metadata,
            "by_hand": entry.by_hand,
            "created": entry.created.isoformat(),
            "modified": entry.modified.isoformat(),
            "expires_at": entry.expires_at.isoformat() if entry.expires_at else None,
        }
    sample, vector = entry
    return {
        "id": sample.id,
        "person": sample.person,
        "name": sample.name,
        "spelling": sample.spelling,
        "metadata": sample.metadata,
        "action": sample.action,
        "created": sample.created.isoformat(),
        "modified": sample.modified.isoformat(),
        "expires_at": sample.expires_at.isoformat() if sample.expires_at else None,
        "quality": sample.quality,
        "picture": None if sample.picture is None else base64.b64encode(sample.picture).decode("ascii"),
        "vector": base64.b64encode(vector.astype(FLOAT32).tobytes()).decode("ascii"),
        **({} if sample.face is None else {"face": kept.rendered(sample.face)}),
    }


def _next_line(file: IO[bytes]) -> bytes:
    line = file.readline(MAX_LINE_BYTES)
    if not line:
        raise DamagedGallery("the end is missing: the export was broken off")
    return line


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    try:
        value = pydantic_core.from_json(line)  # which bounds how deep values are nested
    except ValueError as e:
        raise DamagedGallery(f"line {number} is not JSON") from e
    if not isinstance(value, dict):
        raise DamagedGallery(f"line {number} is not an object")
    return value


def _valid(part: type[Part], value: dict[str, Any], number: int) -> Part:
    try:
        return part.model_validate(value)
    except ValidationError as e:
        raise DamagedGallery(f"line {number}: {faults_of(e)}") from e


def _header(line: bytes) -> Header:
    first = _valid(_First, _parsed(line, 1), 1)
    return Header(first.fingerprint, first.dimension, first.faces)


def _entry(value: dict[str, Any], header: Header, number: int) -> Entry:
    if "event" in value:
        return _seen(_valid(_EventLine, value, number), number)
    if "vector" not in value and "id" not in value:
        line = _valid(_PersonLine, value, number)
        name = names.stored(line.name, line.person)
        about = (line.person, name, line.metadata, line.created, line.modified, line.expires_at)
        return Person(*about, by_hand=line.by_hand)
    return _sample(_valid(_Line, value, number), header, number)


def _seen(line: _EventLine, number: int) -> Seen:
    try:
        event = from_json(line.event)
        return Seen(event, None if line.picture is None else kept.parsed_jpeg(line.picture))
    except (LookupError, TypeError, ValueError) as e:
        raise DamagedGallery(f"line {number}: no event, or its picture is not base64 of a JPEG") from e


def _sample(line: _Line, header: Header, number: int) -> Record:
    try:
        vector = np.frombuffer(base64.b64decode(line.vector, validate=True), FLOAT32)
    except ValueError as e:
        raise DamagedGallery(f"line {number}: the vector is not base64 of float32") from e
    if vector.shape != (header.dimension,) or not (np.abs(vector) < LARGEST).all():
        raise DamagedGallery(f"line {number}: not a vector of {header.dimension} finite numbers")
    if line.face is not None and not header.faces:
        raise DamagedGallery(f"line {number}: a face in a file without faces")
    try:
        face = None if line.face is None else kept.parsed(line.face)
    except ValueError as e:
        raise DamagedGallery(f"line {number}: the kept face is not base64 of a JPEG") from e
    name = names.stored(line.name, line.id)
    about = (line.id, name, line.metadata, line.action, line.created, line.modified, line.expires_at)
    return Sample(*about, line.person, line.spelling, line.quality, line.picture, face), vector
