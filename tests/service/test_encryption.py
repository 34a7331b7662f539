"""Vectors encrypted at rest: none in the files, and a clear word where key and gallery do not fit."""

from __future__ import annotations

import base64
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from galleries import MODEL, a_sample, enrol, nearest_ids, vectors_of
from recognition.app import load_gallery
from recognition.config import SettingsError, read
from recognition.errors import GalleryUnavailable
from recognition.gallery import Gallery, open_gallery
from recognition.gallery.__main__ import cli
from recognition.gallery.cipher import Cipher

KEY, ANOTHER = bytes(range(32)), bytes(range(1, 33))
TEXT = base64.b64encode(KEY).decode("ascii")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gallery.sqlite3"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


@pytest.fixture
def gallery(url: str) -> Any:
    gallery = open_gallery(url, lock_timeout_s=5, key=KEY)
    yield gallery
    gallery.close()


def test_it_is_searched_as_ever_and_no_vector_lies_in_the_files(
    file: Path, url: str, gallery: Gallery
) -> None:
    enrol(gallery, ["a", "b", "c"], [1, 2, 3])
    enrol(gallery, ["b"], [4])
    for seed in (1, 3, 4):
        vector = vectors_of(seed)[0].tobytes()
        pieces = [vector[start : start + 16] for start in range(0, len(vector), 16)]
        for path in file.parent.glob(f"{file.name}*"):
            assert not any(piece in path.read_bytes() for piece in pieces)
    other = open_gallery(url, lock_timeout_s=5, key=KEY)
    other.load()
    for worker in (gallery, other):
        assert nearest_ids(worker, 4, k=9)[0] == "b"
        assert worker.nearest(vectors_of(3), 1, MODEL)[0][0].distance == 0
    enrol(other, ["d"], [5])
    assert nearest_ids(gallery, 5) == ["d"]
    gallery.clear()
    enrol(gallery, ["e"], [6])
    assert nearest_ids(other, 6, k=9) == ["e"]
    other.close()


def test_no_digest_of_a_picture_lies_in_the_files(file: Path, url: str, gallery: Gallery) -> None:
    samples = [a_sample(sample_id, picture=b"a digest") for sample_id in "ab"]
    gallery.upsert(samples, vectors_of(1, 2), MODEL)
    for path in file.parent.glob(f"{file.name}*"):
        assert b"a digest" not in path.read_bytes()
    with closing(sqlite3.connect(file)) as connection:
        (one, two) = connection.execute("SELECT picture FROM samples").fetchall()
        connection.execute("UPDATE samples SET picture = ? WHERE sample_id = 'b'", one)
        connection.commit()
    assert one != two
    (around,) = gallery.around([a_sample("c")], vectors_of(1), MODEL, (), reach=99, double=99)
    found = {match.sample.id: match.sample.picture for match in around.doubles}
    assert found == {"a": b"a digest", "b": None}  # that of another sample cannot be passed off as its own


def test_equal_vectors_look_different(file: Path, gallery: Gallery) -> None:
    enrol(gallery, ["a", "b"], [1, 1])
    with closing(sqlite3.connect(file)) as connection:
        (one, two) = connection.execute("SELECT vector FROM samples").fetchall()
    assert one != two


@given(st.binary(max_size=40), st.text(min_size=1), st.text(min_size=1))
def test_what_was_sealed_opens_for_the_same_sample_and_model_alone(plain: bytes, one: str, two: str) -> None:
    cipher = Cipher(KEY)
    try:
        sealed = cipher.seal(plain, one, MODEL)
    except UnicodeEncodeError:
        return
    assert len(sealed) == len(plain) + cipher.overhead
    assert cipher.open(sealed, one, MODEL) == plain
    changed = bytes([sealed[0] ^ 1]) + sealed[1:]
    for other, data, sample_id, model in (
        (Cipher(ANOTHER), sealed, one, MODEL),
        (cipher, sealed, one, "model-b"),
        (cipher, sealed, one + "x", MODEL),
        (cipher, changed, one, MODEL),
        (cipher, sealed[:-1], one, MODEL),
        (cipher, b"", one, MODEL),
    ):
        with pytest.raises(GalleryUnavailable):
            other.open(data, sample_id, model)


CHANGES = {
    "swapped": "UPDATE samples SET vector = (SELECT vector FROM samples WHERE sample_id = 'a'), revision = 9",
    "cut": "UPDATE samples SET vector = zeroblob(540), revision = 9",
    "plain": "UPDATE samples SET vector = zeroblob(512), revision = 9",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_vector_that_was_changed_in_the_file_is_noticed(
    file: Path, url: str, gallery: Gallery, change: str
) -> None:
    enrol(gallery, ["a", "b"], [1, 2])
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(CHANGES[change] + " WHERE sample_id = 'b'")
        connection.execute("UPDATE galleries SET revision = 9")
    assert nearest_ids(gallery, 1, k=9) == ["a"]
    assert gallery.damaged() == 1
    result = CliRunner(env={"GALLERY_KEY": TEXT}).invoke(cli, ["--database", url, "verify"])
    assert result.exit_code == 1
    assert "sample 'b': its vector cannot be decrypted\n" in result.output


SENTENCES = [
    (None, KEY, "GALLERY_KEY is set, but the gallery is not encrypted"),
    (KEY, None, "The gallery is encrypted, and GALLERY_KEY is not set."),
    (KEY, ANOTHER, "GALLERY_KEY is not the key of this gallery."),
]


@pytest.mark.parametrize(("made_with", "opened_with", "sentence"), SENTENCES)
def test_a_key_that_does_not_fit_stops_the_start_and_is_not_shown(
    url: str,
    capsys: pytest.CaptureFixture[str],
    made_with: bytes | None,
    opened_with: bytes | None,
    sentence: str,
) -> None:
    made = open_gallery(url, lock_timeout_s=5, key=made_with)
    enrol(made, ["a"], [1])
    made.close()
    text = base64.b64encode(opened_with).decode("ascii") if opened_with else ""
    with pytest.raises(SystemExit) as stopped:
        load_gallery(read({"DATABASE_URL": url, "GALLERY_KEY": text}))
    assert stopped.value.code == 3
    said = capsys.readouterr().err
    assert said.startswith(f"face_detection cannot start: DATABASE_URL: {sentence}")
    assert said.count("\n") == 1
    assert not text or text not in said
    made = open_gallery(url, lock_timeout_s=5, key=made_with)  # nothing has changed
    assert nearest_ids(made, 1) == ["a"]
    made.close()


def test_an_empty_gallery_begins_with_the_key_it_is_opened_with(url: str) -> None:
    open_gallery(url, lock_timeout_s=5).close()
    plain = open_gallery(url, lock_timeout_s=5)
    open_gallery(url, lock_timeout_s=5, key=KEY).close()
    with pytest.raises(GalleryUnavailable, match="GALLERY_KEY is not set"):
        enrol(plain, ["a"], [1])  # it was opened before
    with pytest.raises(GalleryUnavailable, match="GALLERY_KEY is not set"):
        plain.count()
    plain.close()


def test_a_plain_file_in_the_place_of_an_encrypted_one_is_noticed(
    file: Path, gallery: Gallery, tmp_path: Path
) -> None:
    enrol(gallery, ["a"], [1])
    plain = open_gallery(f"sqlite:///{tmp_path / 'plain'}", lock_timeout_s=5)
    enrol(plain, ["a"], [1])
    plain.close()
    (tmp_path / "plain").replace(file)
    for beside in ("-wal", "-shm"):
        file.with_name(file.name + beside).unlink(missing_ok=True)
    with pytest.raises(GalleryUnavailable, match="not encrypted"):
        nearest_ids(gallery, 1)


def command(url: str, key: bytes | None, *arguments: object) -> str:
    environment = {"GALLERY_KEY": base64.b64encode(key).decode("ascii") if key else ""}
    result = CliRunner(env=environment).invoke(cli, ["--database", url, *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_export_and_import_encrypt_change_the_key_and_decrypt(tmp_path: Path) -> None:
    for number, (old, new) in enumerate([(None, KEY), (KEY, ANOTHER), (ANOTHER, None)]):
        source, target = (f"sqlite:///{tmp_path / str(n)}" for n in (number, number + 1))
        if number == 0:
            first = open_gallery(source, lock_timeout_s=5)
            enrol(first, ["a", "b"], [1, 2])
            first.close()
        command(source, old, "export", tmp_path / f"file-{number}")
        assert command(target, new, "import", tmp_path / f"file-{number}").startswith("2 of 2")
        assert command(target, new, "verify") == "2 samples, no faults.\n"
        moved = open_gallery(target, lock_timeout_s=5, key=new)
        assert nearest_ids(moved, 2, k=9) == ["b", "a"]
        moved.close()
    assert (tmp_path / "file-0").read_bytes() == (tmp_path / "file-2").read_bytes()


def test_a_backup_keeps_its_key(url: str, gallery: Gallery, tmp_path: Path) -> None:
    enrol(gallery, ["a"], [1])
    command(url, KEY, "backup", tmp_path / "copy")
    copied = open_gallery(f"sqlite:///{tmp_path / 'copy'}", lock_timeout_s=5, key=KEY)
    assert nearest_ids(copied, 1) == ["a"]
    copied.close()


@pytest.mark.parametrize(
    "text", ["secret", TEXT[:-4], TEXT + "AAAA", "!" * 44, base64.b64encode(KEY[1:]).decode()]
)
def test_a_key_that_is_none_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(SettingsError, match=r"GALLERY_KEY.*openssl rand -base64 32") as refused:
        read({"GALLERY_KEY": text})
    assert text not in str(refused.value)
    assert TEXT not in repr(read({"GALLERY_KEY": TEXT}))
    assert str(KEY) not in repr(read({"GALLERY_KEY": TEXT}))


def test_vectors_of_any_dimension_are_loaded(url: str, gallery: Gallery) -> None:
    wide = vectors_of(1, 2, dimension=512)
    gallery.upsert([a_sample("a"), a_sample("b")], wide, "wide")
    started = open_gallery(url, lock_timeout_s=5, key=KEY)
    started.load()
    assert started.nearest(wide[1:], 1, "wide")[0][0].sample.id == "b"
    assert np.array_equal(started._search()._index._vectors[:2], wide)  # type: ignore[attr-defined]
    started.close()
