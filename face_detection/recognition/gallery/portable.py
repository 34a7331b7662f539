"""A gallery as a file of JSON lines, which any gallery of the same model takes, whatever its database.

first line   {"gallery": 1, "fingerprint": "...", "dimension": d}
one a sample {"id", "name", "metadata", "action", "created", "modified", "expires_at", "vector"}, ids
             ascending, times in ISO 8601, the vector as base64 of little-endian float32
last line    {"samples": n, "sha256": "..."}: of all bytes before it

A file without its last line is an export that was broken off; with another checksum it was changed since.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Sample

VERSION = 1
FLOAT32 = np.dtype("<f4")
PART = ".part"  # behind the name of a file that is not complete

Record = tuple[Sample, NDArray[np.float32]]


class Damaged(Exception):
    """The file is not a gallery, not complete, or not what was written; the text says which, and where."""


@dataclass(frozen=True, slots=True)
class Header:
    """What the vectors of a file are: of which model, and how many values each."""

    fingerprint: str
    dimension: int


def write(
    path: Path, header: Header, page: Callable[[str | None], list[Record]], told: Callable[[int], object]
) -> int:
    """Write a gallery page by page; a broken-off export of the same model goes on where it stopped.

    Args:
        path: is there when all is written; until then the file has `.part` behind its name.
        page: returns the next records after an id (None: the first ones), ascending; none at the end.
        told: is given the number of samples of each step.

    Returns:
        The number of samples in the file.

    Raises:
        Damaged: the broken-off export is of another model.
        OSError.
    """
    part = path.with_name(path.name + PART)
    part.touch(mode=0o600)  # faces are nobody else's business
    with part.open("r+b") as file:
        digest, count, after = _resumed(file, header)
        told(count)

        def add(value: dict[str, Any]) -> None:
            line = _line(value)
            file.write(line)
            digest.update(line)

        if not file.tell():
            add({"gallery": VERSION, "fingerprint": header.fingerprint, "dimension": header.dimension})
        while records := page(after):
            for sample, vector in records:
                add(_record(sample, vector))
            count, after = count + len(records), records[-1][0].id
            told(len(records))
        file.write(_line({"samples": count, "sha256": digest.hexdigest()}))
    part.replace(path)
    return count


def read_header(path: Path) -> Header:
    """Read what the vectors of a file are.

    Raises:
        Damaged, OSError.
    """
    with path.open("rb") as file:
        return _header(file.readline())


def read(path: Path) -> Iterator[Record]:
    """Read a file record by record, and check it on the way: its checksum is known only at the end.

    Raises:
        Damaged, OSError.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        line = file.readline()
        header = _header(line)
        count, before = 0, ""
        while True:
            digest.update(line)
            line = file.readline()
            value = _parsed(line, count + 2)
            if "sha256" in value:
                break
            sample, vector = _sample(value, header, count + 2)
            if count and sample.id <= before:
                raise Damaged(f"line {count + 2}: ids are not in ascending order")
            count, before = count + 1, sample.id
            yield sample, vector
        if (value.get("samples"), value["sha256"]) != (count, digest.hexdigest()):
            raise Damaged("the checksum is not that of the lines: the file was changed")
        if file.read(1):
            raise Damaged("there is more behind the last line")


def _resumed(file: BinaryIO, header: Header) -> tuple[Any, int, str | None]:
    """Cut off what is behind the last whole line: checksum, samples and last id of what stays."""
    digest, whole, count, after = hashlib.sha256(), 0, 0, None
    file.seek(0)
    for line in file:
        if not line.endswith(b"\n"):
            break
        value = _parsed(line, count + 1)
        if "sha256" in value:  # only its renaming was missing; there may be more samples by now
            break
        if not whole and _header(line) != header:
            raise Damaged("a broken-off export of another model is in the way; delete it")
        if whole:
            count, after = count + 1, value["id"]
        digest.update(line)
        whole += len(line)
    file.truncate(whole)
    file.seek(whole)
    return digest, count, after


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _record(sample: Sample, vector: NDArray[np.float32]) -> dict[str, Any]:
    return {
        "id": sample.id,
        "name": sample.name,
        "metadata": sample.metadata,
        "action": sample.action,
        "created": sample.created.isoformat(),
        "modified": sample.modified.isoformat(),
        "expires_at": sample.expires_at.isoformat() if sample.expires_at else None,
        "vector": base64.b64encode(vector.astype(FLOAT32).tobytes()).decode("ascii"),
    }


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    if not line:
        raise Damaged("the end is missing: the export was broken off")
    try:
        value = json.loads(line)
    except ValueError as e:
        raise Damaged(f"line {number} is not JSON") from e
    if not isinstance(value, dict):
        raise Damaged(f"line {number} is not an object")
    return value


def _header(line: bytes) -> Header:
    value = _parsed(line, 1)
    if value.get("gallery") != VERSION:
        raise Damaged(f"not a gallery file of version {VERSION}")
    try:
        return Header(str(value["fingerprint"]), int(value["dimension"]))
    except (KeyError, TypeError, ValueError) as e:
        raise Damaged("line 1: fingerprint or dimension is missing") from e


def _sample(value: dict[str, Any], header: Header, number: int) -> Record:
    try:
        vector = np.frombuffer(base64.b64decode(value["vector"], validate=True), FLOAT32)
        created, modified = (datetime.fromisoformat(value[key]) for key in ("created", "modified"))
        expires_at = value.get("expires_at") and datetime.fromisoformat(value["expires_at"])
        sample = Sample(
            value["id"], value["name"], value["metadata"], value["action"], created, modified, expires_at
        )
    except (KeyError, TypeError, ValueError) as e:
        raise Damaged(f"line {number} is not a sample") from e
    if not (
        _is_text(sample.id) and _is_text(sample.name) and (sample.action is None or _is_text(sample.action))
    ):
        raise Damaged(f"line {number}: id, name or action is not text")
    if vector.shape != (header.dimension,) or not np.isfinite(vector).all():
        raise Damaged(f"line {number}: not a vector of {header.dimension} finite numbers")
    return sample, vector


def _is_text(value: object) -> bool:
    return isinstance(value, str) and "\x00" not in value  # which no database takes
