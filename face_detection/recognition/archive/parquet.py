"""Writes what an index has of folders as Parquet, for other programs: a row for each face.

    path, size, modified     the file; what stands in its name and is no UTF-8 is replaced
    width, height            of the upright picture, in pixels
    face, x, y, w, h         its number from 1 on, the largest first, and its box, in pixels of that picture
    confidence, quality      in [0, 1]
    vector                   float32 (d,), of the model that the schema's metadata names
    code, detail             why nothing was seen

A picture without a face has one row, without those of the face; so has one that was refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recognition.archive.buckets import NEEDS
from recognition.archive.entries import IndexUnavailable, Outcome, Refused
from recognition.archive.index import Index

ROWS_PER_FILE = 50_000  # some 30 MB at 128 values
FILES = "faces-" + 6 * "[0-9]" + ".parquet"


def prepare(folder: Path) -> None:
    """Make the folder, so that whoever waits for hours knows that it can be written.

    Raises:
        IndexUnavailable: the library is not there; OSError: the folder cannot be made.
    """
    try:
        import pyarrow  # noqa: F401  here: few need it
    except ModuleNotFoundError as e:
        raise IndexUnavailable(NEEDS.replace("s3://", "--parquet")) from e
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write(index: Index, roots: Sequence[bytes], fingerprint: str, dimension: int, folder: Path) -> int:
    """Write what an index has of folders, in the place of what this has written into a folder before.

    Files get their names once all are written, so that nobody reads half of one; only their owner can.

    Args:
        index: what is known.
        roots: the folders.
        fingerprint, dimension: of the model of the vectors.
        folder: where the files go, which `prepare` has made.

    Returns:
        The number of rows.

    Raises:
        IndexUnavailable: a vector is damaged.
        OSError: the files cannot be written.
    """
    import pyarrow
    from pyarrow import parquet

    schema = _schema(pyarrow, fingerprint, dimension)
    for left in folder.glob(f".{FILES}"):
        left.unlink()
    written: list[Path] = []
    number = 0
    for rows in _portions(index, roots, fingerprint, dimension):
        part = folder / f".faces-{len(written):06}.parquet"
        part.touch(mode=0o600)
        parquet.write_table(pyarrow.Table.from_pylist(rows, schema), part)
        written.append(part)
        number += len(rows)
    named = [part.replace(part.with_name(part.name.removeprefix("."))) for part in written]
    for file in {*folder.glob(FILES)}.difference(named):
        file.unlink()
    return number


def _portions(
    index: Index, roots: Sequence[bytes], fingerprint: str, dimension: int
) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for outcomes in index.every(fingerprint, roots, dimension):
        for outcome in outcomes:
            rows += _rows_of(outcome)
        if len(rows) >= ROWS_PER_FILE:
            yield rows
            rows = []
    if rows:
        yield rows


def _rows_of(outcome: Outcome) -> list[dict[str, Any]]:
    """Render a picture; what a row lacks is null."""
    file = outcome.file
    row = {
        "path": os.fsdecode(file.path).encode(errors="replace").decode(),
        "size": file.size,
        "modified": file.modified_ns if file.modified_ns >= 0 else None,
    }
    if isinstance(outcome, Refused):
        return [row | {"code": outcome.code, "detail": outcome.detail}]
    row |= {"width": outcome.width, "height": outcome.height}
    faces = [
        {
            **{"face": number, "x": face.box.x, "y": face.box.y, "w": face.box.w, "h": face.box.h},
            **{"confidence": face.confidence, "quality": face.quality, "vector": face.vector},
        }
        for number, face in enumerate(outcome.faces, 1)
    ]
    return [row | face for face in faces] or [row]


def _schema(pyarrow: Any, fingerprint: str, dimension: int) -> Any:
    whole, real = pyarrow.int32(), pyarrow.float32()
    return pyarrow.schema(
        {
            "path": pyarrow.string(),
            "size": pyarrow.int64(),
            "modified": pyarrow.timestamp("ns", "UTC"),
            **dict.fromkeys(("width", "height", "face"), whole),
            **dict.fromkeys(("x", "y", "w", "h", "confidence", "quality"), real),
            "vector": pyarrow.list_(real, dimension),
            **dict.fromkeys(("code", "detail"), pyarrow.string()),
        },
        {"model": fingerprint},
    )
