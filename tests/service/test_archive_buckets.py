"""An archive in S3, for which moto stands in; what becomes of an index: Parquet, and a gallery's samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import requests
from pyarrow import dataset

from buckets import Bucket, running_bucket
from fakes import FACE
from galleries import vectors_of
from recognition.archive import buckets, parquet, updating, walking
from recognition.archive.entries import File, IndexUnavailable, Outcome, Portrait, Refused, Seen, SeenFace
from recognition.archive.index import Index, open_index
from recognition.cli import archives
from recognition.cli.portraits import Enrolled, enrolling
from recognition.config import from_environment
from recognition.faces import Box, KeptFace
from recognition.gallery import open_gallery
from serving.formats import START_BYTES

PRINT = "a fingerprint"
JPEG = b"\xff\xd8\xff"
ROOT = b"s3://pictures"
DIMENSION = len(vectors_of(1)[0])


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with running_bucket() as bucket:
        yield bucket


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with closing(open_index(tmp_path / "archive.sqlite3", create=True)) as index:
        yield index


def eye(files: Iterable[File], faces: int = 2) -> Iterator[Outcome]:
    """See so many faces in each file, which is read, with a portrait of the first."""
    for file in files:
        data = walking.read(file, 1000)
        if isinstance(data, Refused):
            yield data
            continue
        some = tuple(
            SeenFace(Box(1.5, 2, 30, 40), 0.99, 0.75, vectors_of(seed)[0]) for seed in range(1, 1 + faces)
        )
        portrait = Portrait(KeptFace(b"a JPEG", FACE), b"12345678", data.hex()[-64:])
        yield Seen(file, 640, 480, 1, some, portrait if faces else None)


def update(index: Index, *roots: bytes, look: updating.Look = eye) -> tuple[int, int]:
    """How many were new or had changed, and how many were gone."""
    due = updating.pending(index, roots, PRINT)
    return due.waiting, updating.update(index, due, look, PRINT)


def names(root: bytes) -> list[str]:
    return [each.path.decode() for each in walking.files_below(root) if isinstance(each, File)]


def test_objects_are_files_in_folders(bucket: Bucket) -> None:
    for name in ("a/2.jpg", "a/1.jpg", "a/.hidden.jpg", "@eaDir/1.jpg", ".trash/1.jpg", "a b?ü%20.jpg"):
        bucket.put(f"tree/{name}", JPEG)
    assert names(ROOT + b"/tree") == [
        "s3://pictures/tree/a b?ü%20.jpg",
        "s3://pictures/tree/a/1.jpg",
        "s3://pictures/tree/a/2.jpg",
    ]
    assert names(ROOT + b"/tree/a/1.jpg") == ["s3://pictures/tree/a/1.jpg"]
    assert names(ROOT + b"/nothing") == []
    assert [buckets.exists(ROOT + name) for name in (b"/tree", b"/tree/a/1.jpg", b"/tre")] == [
        True,
        True,
        False,
    ]
    for each in walking.files_below("s3://pictures/tree/a b?ü%20.jpg".encode()):
        assert isinstance(each, File)
        assert walking.read(each, 100) == JPEG


def test_only_what_is_new_or_has_changed_is_read_and_what_is_gone_is_forgotten(
    bucket: Bucket, index: Index
) -> None:
    root = ROOT + b"/again"
    for number in range(3):
        bucket.put(f"again/{number}.jpg", JPEG + bytes([number]))
    assert update(index, root) == (3, 0)
    assert update(index, root) == (0, 0)
    bucket.put("again/1.jpg", JPEG + b"another")
    bucket.remove("again/2.jpg")
    assert update(index, root) == (1, 1)
    assert index.count(root) == 2
    for number in range(2):
        bucket.remove(f"again/{number}.jpg")
    with pytest.raises(IndexUnavailable, match="There is nothing in s3://pictures/again"):
        update(index, root)


def test_a_name_with_an_empty_part_is_refused_and_ends_nothing(bucket: Bucket) -> None:
    bucket.put("slashes/a/1.jpg", JPEG)
    # Which Arrow itself would not write.
    assert requests.put(f"{bucket.url}/pictures/slashes/a//2.jpg", JPEG, timeout=30).ok
    found = list(walking.files_below(ROOT + b"/slashes"))
    assert [each.path for each in found if isinstance(each, File)] == [ROOT + b"/slashes/a/1.jpg"]
    (refused,) = [each for each in found if isinstance(each, Refused)]
    assert (refused.file.path, refused.passing) == (ROOT + b"/slashes/a//", True)


@pytest.mark.parametrize("name", ["s3://", "s3://bucket//a", "s3:///a", "s3://b/\udcff"])
def test_what_only_begins_like_a_name_in_a_bucket_is_none(name: str) -> None:
    with pytest.raises(click.BadParameter, match="s3://BUCKET"):
        archives.path_of(name)


def test_a_folder_that_cannot_be_listed_is_refused_and_not_forgotten(
    bucket: Bucket, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = ROOT + b"/throttled"
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
        bucket.put(f"throttled/{name}", JPEG)
    assert update(index, root) == (3, 0)
    bucket.remove("throttled/b/2.jpg")
    bucket.put("throttled/b/3.jpg", JPEG)
    real = buckets._files()

    class Throttled:
        def get_file_info(self, which: Any) -> Any:
            if getattr(which, "base_dir", "") == "pictures/throttled/a":
                raise OSError("503 SlowDown")
            return real.get_file_info(which)

        open_input_stream = real.open_input_stream

    with monkeypatch.context() as patch:
        patch.setattr(buckets, "_files", Throttled)
        assert update(index, root) == (2, 1)  # the folder, and what is new; b/2.jpg has gone
    assert [each.file.path for each in index.refusals([root])] == [root + b"/a"]
    assert index.count(root) == 4
    assert update(index, root) == (0, 0)
    assert list(index.refusals([root])) == []


def test_what_is_none_of_ours_is_refused(bucket: Bucket) -> None:
    bucket.put("odd/notes.txt", b"notes")
    bucket.put("odd/large.jpg", JPEG + bytes(3 * 2**20))
    large, notes = [each for each in walking.files_below(ROOT + b"/odd") if isinstance(each, File)]
    codes = []
    for file, most in ((notes, 100), (large, 100), (large, 4 * 2**20)):
        read = walking.read(file, most)
        codes.append(read.code if isinstance(read, Refused) else str(len(read)))
    assert codes == ["no_picture", "body_too_large", str(3 * 2**20 + 3)]
    bucket.put("odd/large.jpg", JPEG)
    changed = walking.read(large, 4 * 2**20)
    assert isinstance(changed, Refused)
    assert (changed.code, changed.passing) == ("changed", True)
    bucket.remove("odd/large.jpg")
    missing = walking.read(large, 4 * 2**20)
    assert isinstance(missing, Refused)
    assert (missing.code, missing.passing) == ("file", True)
    assert list(walking.files_below(b"s3://nobodys")) == []


@pytest.mark.parametrize("size", [0, START_BYTES - 2, START_BYTES - 1])
def test_a_file_that_has_grown_since_it_was_found_has_changed(tmp_path: Path, size: int) -> None:
    (tmp_path / "1.jpg").write_bytes(JPEG + bytes(10 * START_BYTES))
    read = walking.read(File(os.fsencode(tmp_path / "1.jpg"), size, 0), 2**20)
    assert isinstance(read, Refused)
    assert read.code == "changed"


def folder_with(tmp_path: Path, *names: str) -> bytes:
    for name in names:
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(JPEG + name.encode())
    return os.fsencode((tmp_path / "pictures").resolve())


def test_parquet_has_a_row_for_each_face_and_what_was_refused(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_with(tmp_path, "1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "pictures" / "notes.txt").write_text("notes")
    (tmp_path / "pictures" / "large.jpg").write_bytes(JPEG + bytes(1000))
    update(index, root)
    monkeypatch.setattr(parquet, "ROWS_PER_FILE", 2)
    target = tmp_path / "out"
    parquet.prepare(target)
    others = {target / name for name in ("faces-0.parquet", "faces-2024.parquet", "faces-of-ann.parquet")}
    for each in others:
        each.write_text("somebody else's")
    monkeypatch.setattr("recognition.archive.index.PICTURES_AT_ONCE", 1)
    assert parquet.write(index, [root], PRINT, DIMENSION, target) == 7
    table = dataset.dataset(sorted({*target.iterdir()} - others)).to_table()
    assert table.schema.metadata[b"model"] == PRINT.encode()
    rows = {(Path(row["path"]).name, row["face"]): row for row in table.to_pylist()}
    assert rows.keys() == {(f"{n}.jpg", face) for n in (1, 2, 3) for face in (1, 2)} | {("large.jpg", None)}
    one = rows["1.jpg", 2]
    assert (one["x"], one["w"], one["size"], one["width"]) == (1.5, 30, 8, 640)
    np.testing.assert_array_equal(np.float32(one["vector"]), vectors_of(2)[0])
    assert (rows["large.jpg", None]["code"], rows["large.jpg", None]["vector"]) == ("body_too_large", None)
    files = sorted(each.name for each in {*target.iterdir()} - others)
    assert files == [f"faces-{number:06}.parquet" for number in range(len(files))]
    assert {(target / each).stat().st_mode & 0o777 for each in files} == {0o600}
    # Written anew, it has no more than there is by then.
    for number in (1, 2):
        (tmp_path / "pictures" / f"{number}.jpg").unlink()
    update(index, root)
    (target / ".faces-000009.parquet").touch()  # of one that was killed
    assert parquet.write(index, [root], PRINT, DIMENSION, target) == 3
    left = {*target.iterdir()} - others
    assert dataset.dataset(sorted(left)).to_table().num_rows == 3
    assert len(left) < len(files)
    assert {each.read_text() for each in others} == {"somebody else's"}
    assert not list(target.glob(".*"))


def test_faces_become_samples_once_under_the_names_of_their_folders(
    index: Index, tmp_path: Path, sqlite_url: str
) -> None:
    root = folder_with(tmp_path, "ann/1.jpg", "ann/2.jpg", "2020/ben/1.jpg", "carol.jpg", "\u200b/1.jpg")
    settings = from_environment()
    gallery = open_gallery(sqlite_url, lock_timeout_s=5)
    report = Enrolled()
    look = enrolling(eye, gallery, PRINT, settings, [root], report)
    assert update(index, root, look=look) == (5, 0)
    assert (report.enrolled, report.poor, sum(report.failed.values())) == (4, 0, 1)
    list(look(each for each in walking.files_below(root) if isinstance(each, File)))  # as after a kill
    assert gallery.count() == 4
    found = {(each.name, each.metadata["path"]) for each in gallery.page(limit=10)}
    assert found == {
        ("ann", "ann/1.jpg"),
        ("ann", "ann/2.jpg"),
        ("ben", "2020/ben/1.jpg"),
        ("carol", "carol.jpg"),
    }
    beside = root.replace(b"/pictures", b"/pictures2")  # which begins like the other folder
    Path(os.fsdecode(beside)).mkdir()
    Path(os.fsdecode(beside), "dora.jpg").write_bytes(JPEG)
    look = enrolling(eye, gallery, PRINT, settings, [root, beside], report)
    list(look(each for each in walking.files_below(beside) if isinstance(each, File)))
    assert gallery.count("dora") == 1
    nobody = enrolling(lambda files: eye(files, 0), gallery, PRINT, settings, [root], poor := Enrolled())
    list(nobody(each for each in walking.files_below(root) if isinstance(each, File)))
    assert (poor.enrolled, poor.poor) == (0, 5)
    gallery.close()
