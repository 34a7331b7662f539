"""The index of an archive: real files in real folders, a real SQLite file, and what is seen made up."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fakes import FACE, ConstantEmbedder
from galleries import vectors_of
from recognition.archive import updating, walking
from recognition.archive.entries import File, IndexUnavailable, Outcome, Refused, Seen, SeenFace
from recognition.archive.finding import of_face
from recognition.archive.index import Index, open_index
from recognition.archive.looking import Looker
from recognition.faces import Box
from recognition.results import Found
from recognition.seeing import Sight
from serving.errors import InvalidImage
from serving.remarks import Picture

PRINT = "a fingerprint"
JPEG = b"\xff\xd8\xff"
KEY = bytes(range(32))
DIMENSION = len(vectors_of(1)[0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "b").mkdir(parents=True)
    for name in ("1.jpg", "b/2.jpg", "b/3.jpg"):
        (folder / name).write_bytes(JPEG + name.encode())
    return folder


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with closing(open_index(tmp_path / "archive.sqlite3", create=True)) as index:
        yield index


def a_face(seed: int = 1) -> SeenFace:
    return SeenFace(Box(1.5, 2, 30, 40), 0.99, 0.75, vectors_of(seed)[0])


class Eye:
    """Sees one face in each file, and remembers which it has looked at."""

    def __init__(self, fails: dict[str, str] | None = None) -> None:
        self.looked: list[str] = []
        self.fails = fails or {}

    def __call__(self, files: Iterable[File]) -> Iterator[Outcome]:
        for file in files:
            name = os.fsdecode(file.path).rpartition("/")[2]
            self.looked.append(name)
            if name in self.fails:
                yield Refused(file, self.fails[name], "Why.", passing=self.fails[name] == "file")
            else:
                yield Seen(file, 640, 480, 1, (a_face(len(self.looked)),))


def root_of(folder: Path) -> bytes:
    return os.fsencode(folder.resolve())


def update(index: Index, *folders: Path, eye: Eye, fingerprint: str = PRINT, again: bool = False) -> int:
    roots = updating.outermost(map(root_of, folders))
    due = updating.pending(index, roots, fingerprint, again=again)
    return updating.update(index, due, eye, fingerprint, again=again)


def looked(index: Index, *folders: Path, **options: object) -> list[str]:
    eye = Eye()
    update(index, *folders, eye=eye, **options)  # type: ignore[arg-type]
    return eye.looked


def paths(index: Index, folder: Path) -> list[str]:
    return [
        os.fsdecode(path).removeprefix(f"{folder.resolve()}/")
        for some in index.paths(root_of(folder))
        for path in some
    ]


def test_only_what_is_new_or_has_changed_is_looked_at(index: Index, folder: Path) -> None:
    assert looked(index, folder) == ["1.jpg", "2.jpg", "3.jpg"]
    assert looked(index, folder) == []
    (folder / "b" / "2.jpg").write_bytes(JPEG + b"more")
    (folder / "4.jpg").write_bytes(JPEG)
    assert looked(index, folder) == ["4.jpg", "2.jpg"]
    os.utime(folder / "1.jpg", ns=(1, 1))
    assert looked(index, folder) == ["1.jpg"]
    assert looked(index, folder, again=True) == ["1.jpg", "4.jpg", "2.jpg", "3.jpg"]
    assert looked(index, folder, fingerprint="another model's") == ["1.jpg", "4.jpg", "2.jpg", "3.jpg"]
    assert index.summary(PRINT).outdated == 4


def test_what_is_gone_is_forgotten_and_what_moves_is_looked_at(index: Index, folder: Path) -> None:
    looked(index, folder)
    (folder / "b" / "2.jpg").rename(folder / "5.jpg")
    eye = Eye()
    assert update(index, folder, eye=eye) == 1
    assert eye.looked == ["5.jpg"]
    assert paths(index, folder) == ["1.jpg", "5.jpg", "b/3.jpg"]
    (folder / "b" / "3.jpg").unlink()
    assert update(index, folder, eye=Eye()) == 1
    assert index.summary(None).faces == 2


def test_a_missing_disk_does_not_empty_the_index(index: Index, folder: Path) -> None:
    looked(index, folder)
    for path in [*folder.rglob("*.jpg")]:
        path.unlink()
    with pytest.raises(IndexUnavailable, match="is a disk missing"):
        update(index, folder, eye=Eye())
    assert index.count(root_of(folder)) == 3
    assert index.forget(root_of(folder)) == 3
    assert looked(index, folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_keeps_what_is_known(index: Index, folder: Path) -> None:
    looked(index, folder)
    (folder / "b").chmod(0)
    try:
        assert update(index, folder, eye=Eye()) == 0
        assert [each.code for each in index.refusals([root_of(folder)])] == ["file"]
        assert len(paths(index, folder)) == 4
    finally:
        (folder / "b").chmod(0o700)
    assert looked(index, folder) == []
    assert index.summary(None).refused.total() == 0


def test_refusals_are_kept_unless_their_reason_may_pass(index: Index, folder: Path) -> None:
    eye = Eye({"1.jpg": "invalid_image", "2.jpg": "file", "3.jpg": "no_picture"})
    update(index, folder, eye=eye)
    summary = index.summary(None, [root_of(folder)])
    assert summary.refused == {("invalid_image", "Why."): 1, ("file", "Why."): 1}
    assert (summary.pictures, summary.others) == (0, 1)
    assert [each.file.path.rpartition(b"/")[2] for each in index.refusals([root_of(folder)])] == [
        b"1.jpg",
        b"2.jpg",
    ]
    assert looked(index, folder) == ["2.jpg"]
    assert index.summary(None).pictures == 1


def test_what_was_stored_before_an_end_is_not_looked_at_again(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(100):
        (folder / f"{number:03}.jpg").write_bytes(JPEG)

    class Stopped(Eye):
        def __call__(self, files: Iterable[File]) -> Iterator[Outcome]:
            for number, outcome in enumerate(super().__call__(files)):
                if number == 70:
                    raise KeyboardInterrupt
                yield outcome

    with pytest.raises(KeyboardInterrupt):
        update(index, folder, eye=Stopped())
    assert looked(index, folder) == [f"{number:03}.jpg" for number in range(64, 100)]


def test_a_folder_within_another_is_looked_at_once(index: Index, folder: Path) -> None:
    assert looked(index, folder / "b", folder, folder) == ["1.jpg", "2.jpg", "3.jpg"]
    assert updating.outermost([b"/", b"/a"]) == [b"/"]
    assert updating.outermost([b"/a/b", b"/a b", b"/a"]) == [b"/a", b"/a b"]


def test_folders_with_like_names_are_not_mixed_up(index: Index, tmp_path: Path) -> None:
    for name in ("a", "a.b", "ab", "a0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(JPEG)
        looked(index, tmp_path / name)
    assert index.forget(root_of(tmp_path / "a")) == 1
    assert index.summary(None).pictures == 3


def test_what_is_seen_comes_back(index: Index, folder: Path) -> None:
    update(index, folder, eye=Eye())
    (page,) = index.seen(PRINT)
    assert [(each.width, each.height, each.orientation) for each in page] == [(640, 480, 1)] * 3
    face = page[0].faces[0]
    assert (face.box, face.confidence, face.quality) == (Box(1.5, 2, 30, 40), 0.99, 0.75)
    np.testing.assert_array_equal(face.vector, vectors_of(1)[0])
    (page,) = index.seen(PRINT, root_of(folder / "b"))
    assert len(page) == 2
    assert list(index.seen("another model's")) == []
    files = [each for each in walking.files_below(root_of(folder)) if isinstance(each, File)]
    assert set(index.known(files, PRINT)) == {file.path for file in files}
    assert index.known([File(files[0].path, 1, 1)], PRINT) == {}


def test_a_face_is_found_best_first(index: Index, folder: Path) -> None:
    update(index, folder, eye=Eye())
    wanted = vectors_of(2)[0]
    (hit,) = of_face(index.seen(PRINT), wanted, 1.0, min_quality=0.25)
    assert (hit.file.path, hit.number) == (root_of(folder) + b"/b/2.jpg", 1)
    assert hit.distance == pytest.approx(0, abs=1e-4)
    every = of_face(index.seen(PRINT), wanted, 20.0, min_quality=0.25)
    assert [hit.distance for hit in every] == sorted(hit.distance for hit in every)
    assert len(every) == 3
    assert of_face(index.seen(PRINT), wanted, 20.0, min_quality=0.8) == []


def test_vectors_are_encrypted_with_the_key(tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "secret.sqlite3"
    with closing(open_index(file, create=True, key=KEY)) as index:
        update(index, folder, eye=Eye())
        (page,) = index.seen(PRINT)
        np.testing.assert_array_equal(page[0].faces[0].vector, vectors_of(1)[0])
    assert vectors_of(1)[0].tobytes() not in file.read_bytes()
    with pytest.raises(IndexUnavailable, match="is encrypted"):
        open_index(file, create=True)
    with pytest.raises(IndexUnavailable, match="is not the key"):
        open_index(file, create=True, key=bytes(32))
    plain = tmp_path / "plain.sqlite3"
    open_index(plain, create=True).close()
    with pytest.raises(IndexUnavailable, match="is not encrypted"):
        open_index(plain, create=True, key=KEY)


def test_the_file_is_its_owners_and_forgetting_overwrites(tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "new" / "archive.sqlite3"
    with closing(open_index(file, create=True)) as index:
        update(index, folder, eye=Eye())
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        index.empty_log()
        assert vectors_of(1)[0].tobytes() in file.read_bytes()
        assert index.forget(root_of(folder)) == 3
        everything = b"".join(each.read_bytes() for each in file.parent.iterdir())
        assert all(vectors_of(seed)[0].tobytes() not in everything for seed in (1, 2, 3))


def test_other_files_are_not_touched(tmp_path: Path) -> None:
    with pytest.raises(IndexUnavailable, match="There is no index"):
        open_index(tmp_path / "none.sqlite3", create=False)
    assert not list(tmp_path.iterdir())
    for name, content in (("text", b"not a database, and long enough not to be taken for one" * 40),):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(IndexUnavailable, match="is no index"):
            open_index(tmp_path / name, create=True)
        assert (tmp_path / name).read_bytes() == content
    other = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE a (b)")
    before = other.read_bytes()
    with pytest.raises(IndexUnavailable, match="is no index"):
        open_index(other, create=True)
    assert other.read_bytes() == before
    newer = tmp_path / "newer.sqlite3"
    open_index(newer, create=True).close()
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute("UPDATE about SET version = 99")
    with pytest.raises(IndexUnavailable, match="another version"):
        open_index(newer, create=True)


def test_one_process_writes_at_a_time(index: Index) -> None:
    again = index.writing_alone()
    with index.writing_alone(), pytest.raises(IndexUnavailable, match="Another process"), again:
        pass


# --- files


V1 = """
CREATE TABLE about (version INTEGER NOT NULL, key_check BLOB);
CREATE TABLE pictures (key INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE,
    size BIGINT NOT NULL, modified_ns BIGINT NOT NULL, code TEXT, detail TEXT, width INTEGER, height INTEGER,
    orientation INTEGER, fingerprint TEXT);
CREATE TABLE faces (picture INTEGER NOT NULL, number INTEGER NOT NULL, x FLOAT NOT NULL, y FLOAT NOT NULL,
    w FLOAT NOT NULL, h FLOAT NOT NULL, confidence FLOAT NOT NULL, quality FLOAT NOT NULL,
    vector BLOB NOT NULL, PRIMARY KEY (picture, number),
    FOREIGN KEY(picture) REFERENCES pictures (key) ON DELETE CASCADE);
INSERT INTO about VALUES (1, NULL);
"""


def test_an_index_of_the_first_version_is_brought_up_to_date(tmp_path: Path, folder: Path) -> None:
    file = tmp_path / "old.sqlite3"
    status = (folder / "1.jpg").stat()
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(V1)
        values = root_of(folder) + b"/1.jpg", status.st_size, status.st_mtime_ns, PRINT
        connection.execute(
            "INSERT INTO pictures (path, size, modified_ns, width, height, orientation, fingerprint)"
            " VALUES (?, ?, ?, 640, 480, 1, ?)",
            values,
        )
        box = 1.5, 2, 30, 40, 0.99, 0.75, a_face().vector.tobytes()
        connection.execute("INSERT INTO faces VALUES (1, 0, ?, ?, ?, ?, ?, ?, ?)", box)
        connection.commit()
    for _ in range(2):
        with closing(open_index(file, create=False)) as index:
            assert looked(index, folder) in (["2.jpg", "3.jpg"], [])
            seen = [each for some in index.seen(PRINT) for each in some]
            assert len(seen) == 3
            assert seen[0].faces[0].vector.tolist() == a_face().vector.tolist()
    with closing(sqlite3.connect(file)) as connection:
        new = tmp_path / "new.sqlite3"
        open_index(new, create=True).close()
        connection.execute("ATTACH ? AS new", [str(new)])
        columns = "SELECT name, lower(type), pk FROM {}pragma_table_info('faces'{}) ORDER BY name"
        of_new = connection.execute(columns.format("", ", 'new'")).fetchall()
        assert connection.execute(columns.format("", "")).fetchall() == of_new
        names = "SELECT name FROM {}.sqlite_master WHERE sql IS NOT NULL ORDER BY name"
        of_new = connection.execute(names.format("new")).fetchall()
        assert connection.execute(names.format("main")).fetchall() == of_new


@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "encrypted"])
@pytest.mark.parametrize("vector", [b"", b"abc", b"\0\0\xc0\x7f" * 4, b"\0" * 8, "text"])
def test_a_damaged_vector_is_named_and_looked_at_again(
    tmp_path: Path, folder: Path, key: bytes | None, vector: bytes | str
) -> None:
    file = tmp_path / "archive.sqlite3"
    with closing(open_index(file, create=True, key=key)) as index:
        looked(index, folder)
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("UPDATE faces SET vector = ? WHERE picture = 2", [vector])
            connection.commit()
        picture = folder / "b" / "2.jpg"
        files = [file_of(path) for path in (folder / "1.jpg", picture)]
        with pytest.raises(IndexUnavailable, match=r"2\.jpg is damaged.* index --again .*2\.jpg"):
            [*index.seen(PRINT, dimension=DIMENSION)]
        with pytest.raises(IndexUnavailable, match=r"2\.jpg is damaged"):
            index.known(files, PRINT, DIMENSION)
        assert looked(index, picture, again=True) == ["2.jpg"]
        assert len(index.known(files, PRINT, DIMENSION)) == 2


def names_below(folder: Path) -> list[str]:
    return [
        os.fsdecode((each.file if isinstance(each, Refused) else each).path).removeprefix(
            f"{folder.resolve()}/"
        )
        for each in walking.files_below(root_of(folder))
    ]


def test_links_pipes_sockets_and_hidden_files(folder: Path, tmp_path: Path) -> None:
    (folder / ".hidden.jpg").write_bytes(JPEG)
    for hidden in (".thumbnails", "@eaDir"):
        (folder / hidden).mkdir()
        (folder / hidden / "1.jpg").write_bytes(JPEG)
    (folder / "link.jpg").symlink_to(folder / "1.jpg")
    (folder / "loop").symlink_to(folder)
    (folder / "broken.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    assert names_below(folder) == ["1.jpg", "broken.jpg", "link.jpg", "b/2.jpg", "b/3.jpg"]
    (refused,) = [each for each in walking.files_below(root_of(folder)) if isinstance(each, Refused)]
    assert (refused.code, refused.passing) == ("file", True)
    (tmp_path / "linked").symlink_to(folder)
    assert names_below(tmp_path / "linked") == names_below(folder)


def test_names_that_are_no_utf8(index: Index, folder: Path) -> None:
    odd = root_of(folder) + b"/\xff\xfe\n.jpg"
    with open(odd, "wb") as file:  # noqa: PTH123
        file.write(JPEG)
    update(index, folder, eye=Eye())
    assert odd in [path for some in index.paths(root_of(folder)) for path in some]
    assert looked(index, folder) == []
    assert index.forget(odd) == 1


def file_of(path: Path) -> File:
    status = path.stat()
    return File(os.fsencode(path), status.st_size, status.st_mtime_ns)


def test_what_cannot_be_read_is_refused(folder: Path) -> None:
    def refusal(file: File, max_bytes: int = 100) -> tuple[str, bool]:
        refused = walking.read(file, max_bytes)
        assert isinstance(refused, Refused)
        return refused.code, refused.passing

    whole = file_of(folder / "1.jpg")
    assert walking.read(whole, 100) == JPEG + b"1.jpg"
    assert refusal(whole, max_bytes=5) == ("body_too_large", False)
    assert refusal(File(whole.path, whole.size + 1, whole.modified_ns)) == ("changed", True)
    assert refusal(File(whole.path, whole.size, whole.modified_ns + 1)) == ("changed", True)
    assert refusal(File(whole.path + b"x", 1, 1)) == ("file", True)
    (folder / "notes.txt").write_text("notes")
    (folder / "empty.jpg").touch()
    assert refusal(file_of(folder / "notes.txt")) == ("no_picture", False)
    assert refusal(file_of(folder / "empty.jpg")) == ("no_picture", False)
    os.mkfifo(folder / "pipe")
    assert refusal(File(os.fsencode(folder / "pipe"), 0, 0))[0] in ("no_picture", "file")


# --- what sees them


def test_pictures_are_seen_in_order_with_few_in_memory(folder: Path) -> None:
    """The n-th picture has n % 3 faces, and its vectors are its own."""
    for number in range(200):
        (folder / "b" / f"{number:03}.jpg").write_bytes(JPEG + bytes([number]))

    def decode(data: bytes) -> Picture:
        if data[3] == 13:
            raise InvalidImage("It is broken.")
        return Picture(np.full((20, 30, 3), data[3], np.uint8), orientation=6)

    class Embedder(ConstantEmbedder):
        def embed(self, crops: np.ndarray, model: object) -> np.ndarray:
            return np.repeat(crops[:, :1, 0, 0].astype(np.float32), 4, axis=1)

    sight = Sight(
        decode,
        detector=lambda pixels: [FACE] * (int(pixels[0, 0, 0]) % 3),
        find=lambda detector, picture, small_faces: Found(detector(picture)),
        small_faces=False,
        embedder=Embedder(),
        max_faces=10,
        min_quality=0,
        give_way=lambda: None,
    )
    files = [file_of(folder / "b" / f"{number:03}.jpg") for number in range(200)]
    taken: list[int] = []

    def some() -> Iterator[File]:
        for number, file in enumerate(files):
            taken.append(number)
            yield file

    with ThreadPoolExecutor(3) as pool:
        outcomes = []
        for number, outcome in enumerate(Looker(sight, pool, 3, Embedder().model(), 100)(some())):
            outcomes.append(outcome)
            assert taken[-1] - number <= 64 + 32 + 2 * 3
    assert [outcome.file for outcome in outcomes] == files
    for number, outcome in enumerate(outcomes):
        if number == 13:
            assert isinstance(outcome, Refused)
            assert (outcome.code, outcome.detail) == ("invalid_image", "It is broken.")
            continue
        assert isinstance(outcome, Seen)
        assert (outcome.width, outcome.height, outcome.orientation) == (30, 20, 6)
        assert [face.vector.tolist() for face in outcome.faces] == [[float(number)] * 4] * (number % 3)
