"""What is kept of unknown people: encrypted where there is a key, gone from SQLite's files once removed."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from galleries import FakeClock, a_kept_face, enrol
from recognition.errors import GalleryUnavailable
from recognition.gallery import (
    Gallery,
    keep_up,
    open_gallery,
    transfer,
    unknown_keeping,
    unknown_rows,
    unknowns,
)
from recognition.gallery.backup import backup
from recognition.gallery.database import transaction
from recognition.gallery.tables import unknown_faces
from recognition.gallery.tables import unknowns as groups
from recognition.strangers import Deed
from strangers import LATER, SCALE, alike, keep, rows_there

KEY = bytes(range(32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "gallery.sqlite3"


@pytest.fixture
def kept(file: Path, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(f"sqlite:///{file}", lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


def lies_in(file: Path, seed: int, person: int = 1) -> list[str]:
    """Name the files that hold a part of a face: of its vector, or of its picture."""
    jpeg = a_kept_face(seed, 32).jpeg
    vector = alike(person, seed).tobytes()
    pieces = [vector[start : start + 32] for start in range(0, len(vector), 32)] + [
        jpeg[len(jpeg) // 2 :][:64]
    ]
    pieces.append(f"mark {seed}".encode())
    return sorted(
        path.name for path in file.parent.iterdir() if any(piece in path.read_bytes() for piece in pieces)
    )


def upkeep(gallery: Gallery) -> None:
    answers = [False, True]
    keep_up(gallery, lambda seconds: answers.pop(0), unknown_keeping.look_after)


def expire(gallery: Gallery, clock: FakeClock, unknown_id: str) -> None:
    clock.now = LATER
    upkeep(gallery)


def crowd_out(gallery: Gallery, clock: FakeClock, unknown_id: str) -> None:
    for number in range(unknown_rows.MAX_FACES):
        keep(gallery, 1, 1000 + number, face=False, quality=0.9)
    upkeep(gallery)


REMOVALS: dict[str, Callable[[Gallery, FakeClock, str], object]] = {
    "forgotten": lambda gallery, _, each: unknowns.forget(gallery, each),
    "ignored": lambda gallery, _, each: unknowns.ignore(gallery, each),
    "all forgotten": lambda gallery, *_: unknowns.forget_all(gallery),
    "cleared": lambda gallery, *_: gallery.clear(),
    "expired": expire,
    "better ones came": crowd_out,
}


@pytest.mark.parametrize("how", REMOVALS)
def test_nothing_of_a_face_stays_in_the_files(file: Path, kept: Gallery, clock: FakeClock, how: str) -> None:
    """Another worker has the gallery open, so that SQLite does not tidy up by itself."""
    upkeep(kept)
    other = open_gallery(f"sqlite:///{file}", lock_timeout_s=5, clock=clock)
    keep(kept, 2, 3)
    (unknown_id,) = keep(kept, 1, 2, quality=0.5)
    assert unknown_id is not None and lies_in(file, 2)
    REMOVALS[how](kept, clock, unknown_id)
    assert lies_in(file, 2) == []
    other.close()


def test_nothing_stays_of_those_that_become_no_samples(file: Path, kept: Gallery) -> None:
    seeds = range(30)
    (unknown_id, *_) = keep(kept, 1, *seeds)
    assert unknown_id is not None
    named = unknowns.act(kept, unknown_id, Deed("name", name="Ann"))
    assert named is not None and len(named.samples) == unknowns.MAX_SAMPLES
    left = [seed for seed in seeds if lies_in(file, seed)]
    assert len(left) == unknowns.MAX_SAMPLES
    kept.clear()
    assert [seed for seed in seeds if lies_in(file, seed)] == []


def test_with_a_key_nothing_of_a_face_lies_in_the_files(file: Path) -> None:
    gallery = open_gallery(f"sqlite:///{file}", lock_timeout_s=5, key=KEY)
    (first,) = keep(gallery, 1, 2)
    assert keep(gallery, 1, 2, 5) == [first, first]
    assert lies_in(file, 2) == [] == lies_in(file, 5)
    gallery.close()
    again = open_gallery(f"sqlite:///{file}", lock_timeout_s=5, key=KEY)
    assert keep(again, 1, 7) == [first]
    (unknown,) = unknowns.page(again, SCALE, limit=9).unknowns
    (face, *_) = unknown.faces
    assert unknowns.picture(again, unknown.id, face.id).jpeg.startswith(b"\xff\xd8")
    named = unknowns.act(again, unknown.id, Deed("name", name="Ann"))
    assert named is not None and again.nearest(alike(1, 2)[None], 1, SCALE.fingerprint)[0][0].distance == 0
    again.close()
    for key in (None, bytes(32)):
        with pytest.raises(GalleryUnavailable):
            open_gallery(f"sqlite:///{file}", lock_timeout_s=5, key=key)


def test_in_postgresql_too(bare_url: str) -> None:
    gallery = open_gallery(bare_url, lock_timeout_s=5, key=KEY)
    keep(gallery, 1, 2)
    with transaction(gallery.engine) as connection:
        stored = [
            *connection.execute(sa.select(unknown_faces)).one(),
            *connection.execute(sa.select(groups)).one(),
        ]
    everything = b"".join(bytes(value) for value in stored if isinstance(value, bytes | memoryview))
    assert alike(1, 2).tobytes()[:16] not in everything and b"mark 2" not in everything
    assert b"\xff\xd8\xff" not in everything
    gallery.close()


def test_a_gallery_with_plain_unknown_faces_takes_no_key(file: Path, kept: Gallery) -> None:
    keep(kept, 1, 1)
    with pytest.raises(GalleryUnavailable, match="not encrypted"):
        open_gallery(f"sqlite:///{file}", lock_timeout_s=5, key=KEY)


def test_what_was_changed_in_the_file_is_passed_over(file: Path, kept: Gallery, clock: FakeClock) -> None:
    (first,) = keep(kept, 1, 1)
    keep(kept, 2, 2)
    (third,) = keep(kept, 3, 3)
    assert first is not None and third is not None
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE unknown_faces SET face = 'no picture', vector = 3 WHERE key = 1")
        connection.execute("UPDATE unknowns SET sums = x'00' WHERE key = 2")
        connection.commit()
    fresh = open_gallery(f"sqlite:///{file}", lock_timeout_s=5, clock=clock)
    assert {each.id for each in unknowns.page(fresh, SCALE, limit=9).unknowns} >= {first, third}
    with pytest.raises(Exception, match="damaged"):
        face = unknowns.get(fresh, SCALE, first).faces[0]
        unknowns.picture(fresh, first, face.id)
    assert keep(fresh, 3, 4) == [third]
    assert keep(fresh, 2, 5) != [None]
    keep(fresh, 1, 6)
    fresh.close()


def test_a_backup_has_them_and_an_export_has_not(file: Path, kept: Gallery, tmp_path: Path) -> None:
    enrol(kept, ["a"], [77], SCALE.fingerprint)
    keep(kept, 1, 2)
    exported = b"".join(transfer.export(kept, faces=True))
    assert base64.b64encode(a_kept_face(2, 32).jpeg)[:40] not in exported
    assert len(exported.splitlines()) == len(
        [line for line in exported.splitlines() if b"unknown" not in line]
    )
    copy = tmp_path / "copy.sqlite3"
    backup(kept, copy)
    restored = open_gallery(f"sqlite:///{copy}", lock_timeout_s=5)
    assert rows_there(restored) == (1, 1)
    restored.close()


NAN = np.full(128, np.nan, np.float32).tobytes()


@pytest.mark.parametrize("vector", [b"\0\0\x80?", b"\0", 3, bytes(512), NAN])
def test_a_damaged_vector_fails_neither_keeping_nor_the_upkeep(
    file: Path, kept: Gallery, clock: FakeClock, vector: bytes | int
) -> None:
    upkeep(kept)
    first = keep(kept, 1, 1, 2)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE unknown_faces SET vector = ? WHERE key = 1", [vector])
        connection.commit()
    assert keep(kept, 1, 3) == first[:1]
    clock.now += timedelta(days=31)
    upkeep(kept)
    assert rows_there(kept) == (0, 0)
