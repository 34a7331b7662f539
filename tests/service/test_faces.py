"""Faces that are kept: one a sample, shown, moved in files, encrypted, and gone with the sample."""

from __future__ import annotations

import base64
import io
import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import sqlalchemy as sa
from click.testing import CliRunner
from flask.testing import FlaskClient
from PIL import Image

from fakes import FACE, ConstantEmbedder, refused
from galleries import MODEL, FakeClock, a_kept_face, a_sample, vectors_of
from recognition.app import create_app
from recognition.cli.main import cli
from recognition.config import read
from recognition.errors import DamagedGallery, GalleryUnavailable
from recognition.faces import KeptFace
from recognition.gallery import Gallery, faces, open_gallery, people, portable, transfer
from recognition.gallery.database import transaction
from recognition.gallery.tables import faces as table
from recognition.gallery.tables import samples
from serving.errors import NotFound

LATER = datetime(2100, 1, 1, tzinfo=UTC)
KEY, ANOTHER = bytes(range(32)), bytes(range(1, 33))
NDJSON = "application/x-ndjson"


@pytest.fixture
def gallery(url: str, clock: FakeClock) -> Iterator[Gallery]:
    gallery = open_gallery(url, lock_timeout_s=5, clock=clock)
    yield gallery
    gallery.close()


def client_of(gallery: Gallery, **settings: str) -> FlaskClient:
    def detector(pixels: np.ndarray) -> list[Any]:
        return [] if pixels[0, 0, 0] == 255 else [FACE]

    settings = {"MIN_QUALITY": "0", **settings}
    return create_app(
        read(settings), detector=detector, embedder=ConstantEmbedder(), gallery=gallery
    ).test_client()


@pytest.fixture
def client(gallery: Gallery) -> FlaskClient:
    return client_of(gallery)


def store(gallery: Gallery, **kept: KeptFace | None) -> None:
    """Store samples with these faces, each of its own person, until LATER."""
    new = [a_sample(each, face=face, expires_at=LATER) for each, face in kept.items()]
    gallery.upsert(new, vectors_of(*range(len(new))), MODEL)


def there(gallery: Gallery) -> int:
    with transaction(gallery.engine) as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def assert_same(kept: KeptFace, expected: KeptFace) -> None:
    assert kept.jpeg == expected.jpeg
    assert kept.face.box == expected.face.box
    assert (kept.face.confidence, kept.face.quarters) == (expected.face.confidence, 0)
    np.testing.assert_array_equal(kept.face.landmarks, expected.face.landmarks)
    assert kept.face.landmarks.dtype == np.float32


def none_kept(gallery: Gallery, sample_id: str) -> str:
    with pytest.raises(NotFound) as refused:
        faces.get(gallery, sample_id)
    return refused.value.detail


def test_a_face_comes_back_as_it_was_stored(gallery: Gallery, other: Gallery) -> None:
    store(gallery, a=a_kept_face(1), b=None, c=a_kept_face(3))
    assert_same(faces.get(gallery, "a"), a_kept_face(1))
    assert_same(faces.get(other, "c"), a_kept_face(3))
    assert none_kept(gallery, "b") == "No face is kept of this sample."
    assert none_kept(gallery, "d") == "There is no sample with this id."
    assert gallery.page(limit=1)[0].face is None  # nobody has looked for it
    assert list(transfer.faults(gallery)) == []


WAYS: dict[str, Callable[[Gallery, FakeClock], object]] = {
    "deleted": lambda gallery, _: gallery.delete("b"),
    "deleted by name": lambda gallery, _: gallery.delete_named("name of b"),
    "the person is deleted": lambda gallery, _: people.delete(gallery, str(gallery.get("b").person)),  # type: ignore[union-attr]
    "cleared": lambda gallery, _: gallery.clear(),
    "expired": lambda gallery, clock: (setattr(clock, "now", LATER), gallery.remove_expired()),
    "replaced": lambda gallery, _: gallery.upsert([a_sample("b")], vectors_of(9), MODEL),
    "replaced by another": lambda gallery, _: gallery.upsert(
        [a_sample("b", face=a_kept_face(7))], vectors_of(9), MODEL
    ),
    "of another model": lambda gallery, _: (
        [gallery.delete(each) for each in "abc"],
        gallery.upsert([a_sample("z")], np.ones((1, 4), np.float32), "model-b"),
    ),
    "forgotten": lambda gallery, _: faces.forget(gallery),
}


@pytest.mark.parametrize("how", WAYS)
def test_it_goes_with_its_sample(
    gallery: Gallery, other: Gallery, clock: FakeClock, tmp_path: Path, how: str
) -> None:
    """From the table of both kinds of databases; and of SQLite's files no part of it remains."""
    store(gallery, a=a_kept_face(1), b=a_kept_face(2, side=256), c=a_kept_face(3))
    other.load()
    jpeg = a_kept_face(2, side=256).jpeg
    pieces = [
        jpeg[start : start + 32] for start in range(800, len(jpeg) - 32, 32)
    ]  # the tables before are alike
    files = [path for path in tmp_path.rglob("gallery.sqlite3*") if path.suffix != ".opening"]
    assert not files or any(piece in path.read_bytes() for path in files for piece in pieces)
    WAYS[how](gallery, clock)
    kept = {"replaced": 2, "deleted": 2, "deleted by name": 2, "the person is deleted": 2}
    assert there(gallery) == kept.get(how, 3 if how == "replaced by another" else 0)
    if how == "replaced by another":
        assert_same(faces.get(other, "b"), a_kept_face(7))
    else:
        none_kept(other, "b")
    for path in files:
        data = path.read_bytes()
        assert not any(piece in data for piece in pieces), path
    assert list(transfer.faults(gallery)) == []


def test_it_stays_while_its_sample_moves_and_changes(gallery: Gallery) -> None:
    store(gallery, a=a_kept_face(1), b=a_kept_face(2))
    people.change_sample(gallery, "a", {"name": "name of b", "metadata": 1})
    people.merge(gallery, gallery.get("b").person or "", people.make(gallery, "c", person_id="c").id)  # type: ignore[union-attr]
    assert_same(faces.get(gallery, "a"), a_kept_face(1))
    assert_same(faces.get(gallery, "b"), a_kept_face(2))


def test_a_face_that_is_replaced_while_it_is_read_is_one_of_the_two(gallery: Gallery, other: Gallery) -> None:
    store(gallery, a=a_kept_face(1, side=256))
    left = [a_sample("a", face=a_kept_face(2, side=256))]

    def replace_first(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if left and "faces" in statement:
            other.upsert([left.pop()], vectors_of(2), MODEL)

    sa.event.listen(gallery.engine, "before_cursor_execute", replace_first)
    assert faces.get(gallery, "a").jpeg == a_kept_face(1, side=256).jpeg  # of the state it began with
    assert not left
    assert faces.get(gallery, "a").jpeg == a_kept_face(2, side=256).jpeg


def test_more_faces_than_go_in_one_step_are_forgotten(gallery: Gallery, other: Gallery) -> None:
    kept = a_kept_face(1, side=8)
    store(gallery, **{str(number): kept for number in range(1100)})
    assert faces.forget(other) == 1100
    assert there(gallery) == 0 and gallery.count() == 1100
    assert faces.forget(gallery) == 0


def test_what_has_expired_is_not_shown(gallery: Gallery, clock: FakeClock) -> None:
    store(gallery, a=a_kept_face(1))
    clock.now = LATER
    assert none_kept(gallery, "a") == "There is no sample with this id."
    assert there(gallery) == 1  # nobody has written since


# Over HTTP


def picture(colour: int, size: tuple[int, int] = (20, 20)) -> bytes:
    """A picture with a face; without one if it is white, 255."""
    stream = io.BytesIO()
    Image.new("RGB", size, (colour, colour, colour)).save(stream, "PNG")
    return stream.getvalue()


def enrol(client: FlaskClient, *ids: str, colour: int = 90) -> None:
    image = base64.b64encode(picture(colour)).decode("ascii")
    body = [{"id": each, "name": f"name of {each}", "image": image} for each in ids]
    assert client.post("/update-samples", json=body).json["success"] == list(ids)  # type: ignore[index]


def test_the_kept_face_is_a_jpeg(client: FlaskClient) -> None:
    enrol(client, "a/1")
    answer = client.get("/samples/a%2F1/face")
    assert (answer.status_code, answer.mimetype) == (200, "image/jpeg")
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    pixels = simplejpeg.decode_jpeg(answer.data, "RGB")
    assert np.abs(pixels.astype(int) - 90).max() <= 1
    assert max(pixels.shape) < 20  # not the whole picture
    unchanged = {"If-None-Match": answer.headers["ETag"]}
    assert client.get("/samples/a/1/face", headers=unchanged).status_code == 304
    enrol(client, "a/1", colour=180)
    assert client.get("/samples/a/1/face", headers=unchanged).status_code == 200
    assert client.post("/samples/a%2F1/face").status_code == 405
    refused(client.get("/samples/a%2F1/face?size=1"), 400, "invalid_request")


@pytest.mark.parametrize("sample_id", ["b", "face", "%00", "x" * 501])
def test_where_none_is_kept_there_is_none(client: FlaskClient, sample_id: str) -> None:
    enrol(client, "a")
    refused(client.get(f"/samples/{sample_id}/face"), 404, "not_found")


def test_a_sample_whose_id_ends_like_the_path_is_shown_as_ever(client: FlaskClient) -> None:
    enrol(client, "a", "a/face")
    for path in ("/samples/a%2Fface", "/samples/a/face"):
        shown: Any = client.get(path).json
        assert shown["id"] == "a/face"
    assert client.get("/samples/a%2Fface/face").mimetype == "image/jpeg"
    assert client.delete("/samples/a%2Fface").json == {"success": ["a/face"]}
    assert client.get("/samples/a/face").mimetype == "image/jpeg"


def test_uploads_keep_faces_too(client: FlaskClient) -> None:
    data = {"file": (io.BytesIO(picture(90)), "x.png"), "name": "Ann"}
    answer: Any = client.post("/samples", data=data).json
    (sample_id,) = answer["success"]
    assert client.get(f"/samples/{sample_id}/face").status_code == 200


def test_keep_faces_0_keeps_none_and_gives_up_that_of_a_sample_enrolled_again(gallery: Gallery) -> None:
    enrol(client_of(gallery), "a", "b")
    without = client_of(gallery, KEEP_FACES="0")
    enrol(without, "a", "c")
    assert there(gallery) == 1
    for sample_id in ("a", "c"):
        detail = refused(without.get(f"/samples/{sample_id}/face"), 404, "not_found")
        assert detail == "No face is kept of this sample."
    assert without.get("/samples/b/face").status_code == 200


def test_what_is_refused_leaves_the_face_of_before(client: FlaskClient) -> None:
    enrol(client, "a")
    before = client.get("/samples/a/face").data
    image = base64.b64encode(picture(255)).decode("ascii")
    answer: Any = client.post("/update-samples", json=[{"id": "a", "name": "a", "image": image}]).json
    assert answer["fail"] == ["a"]
    assert client.get("/samples/a/face").data == before


# In files


def fresh(tmp_path: Path, **options: Any) -> Gallery:
    return open_gallery(f"sqlite:///{tmp_path / 'fresh.sqlite3'}", lock_timeout_s=5, **options)


def imported(gallery: Gallery, data: bytes, **options: bool) -> tuple[int, int, int]:
    return transfer.import_file(gallery, io.BytesIO(data), **options)  # type: ignore[arg-type]


def test_files_have_faces_only_if_they_are_asked_for(gallery: Gallery, client: FlaskClient) -> None:
    before = {each: a_kept_face(number) for number, each in enumerate("abc")}
    store(gallery, **before, d=None)
    plain = client.get("/export").data
    assert b'"face' not in plain
    assert client.get("/export?faces=0").data == plain
    lines = [json.loads(line) for line in client.get("/export?faces=1").data.splitlines()]
    assert lines[0]["faces"] is True
    assert ["face" in line for line in lines[1:5]] == [True, True, True, False]
    assert lines[1]["face"] == {
        "jpeg": base64.b64encode(before["a"].jpeg).decode("ascii"),
        "confidence": 0.75,
        "bbox": [10.5, 8.0, 40.0, 48.0],
        "landmarks": [[20.5, 25.0], [44.0, 25.25], [32.0, 36.0], [24.0, 48.0], None],
    }
    refused(client.get("/export?faces=maybe"), 400, "invalid_request")


def test_faces_go_out_and_come_back(gallery: Gallery, tmp_path: Path) -> None:
    kept = {f"id{number:03}": a_kept_face(number) for number in range(250)}
    store(gallery, **kept)
    data = b"".join(transfer.export(gallery, faces=True))
    target = fresh(tmp_path)
    assert imported(target, data) == (250, 0, 0)
    for sample_id, face in kept.items():
        assert_same(faces.get(target, sample_id), face)
    assert b"".join(transfer.export(target, faces=True)) == data
    assert b"".join(transfer.export(target)) == b"".join(transfer.export(gallery))
    assert imported(target, data) == (0, 250, 0)
    target.close()


def test_what_a_file_replaces_has_the_files_face_or_none(gallery: Gallery) -> None:
    store(gallery, a=a_kept_face(1), b=a_kept_face(2))
    newer = [a_sample(each, modified=LATER, face=a_kept_face(5)) for each in "ab"]
    source = [(sample, vector) for sample, vector in zip(newer, vectors_of(3, 4), strict=True)]
    for with_faces, expected in ((False, 0), (True, 2)):
        header = portable.Header(MODEL, 128, with_faces)
        entries = [
            (
                a_sample(
                    s.id, modified=LATER + timedelta(days=with_faces), face=s.face if with_faces else None
                ),
                v,
            )
            for s, v in source
        ]
        pieces = portable.pieces(header, lambda after, entries=entries: entries if after is None else [])
        assert imported(gallery, b"".join(piece for piece, _ in pieces)) == (2, 0, 0)
        assert there(gallery) == expected


@pytest.mark.parametrize(("keep", "expected"), [("0", 0), ("1", 1)])
def test_keep_faces_0_leaves_the_faces_of_files_out(gallery: Gallery, keep: str, expected: int) -> None:
    enrol(client_of(gallery), "a")
    client = client_of(gallery, KEEP_FACES=keep)
    data = client.get("/export?faces=1").data
    gallery.clear()
    answer = client.post("/import", data=data, content_type=NDJSON)
    assert answer.json == {"imported": 1, "unchanged": 0}
    assert there(gallery) == expected


def test_one_persons_file_has_the_faces(gallery: Gallery, client: FlaskClient) -> None:
    store(gallery, a=a_kept_face(1), b=a_kept_face(2))
    answer = client.get(f"/persons/{gallery.get('b').person}/export")  # type: ignore[union-attr]
    lines = [json.loads(line) for line in answer.data.splitlines()]
    assert [line.get("face", {}).get("confidence") for line in lines] == [None, 0.75, None, None]


def test_a_broken_off_export_with_faces_is_not_continued_without(gallery: Gallery, tmp_path: Path) -> None:
    store(gallery, a=a_kept_face(1), b=a_kept_face(2))
    transfer.export_to(gallery, tmp_path / "whole", faces=True)
    lines = (tmp_path / "whole").read_bytes().splitlines(keepends=True)
    part = tmp_path / "again.part"
    part.write_bytes(b"".join(lines[:2]) + lines[2][:50])
    with pytest.raises(DamagedGallery, match="in the way"):
        transfer.export_to(gallery, tmp_path / "again")
    transfer.export_to(gallery, tmp_path / "again", faces=True)
    assert (tmp_path / "again").read_bytes() == b"".join(lines)


def changed(line: bytes, **values: Any) -> bytes:
    value = json.loads(line)
    return json.dumps(value | {"face": value["face"] | values}).encode() + b"\n"


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


DAMAGES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "no base64": lambda lines: [lines[0], changed(lines[1], jpeg="***"), *lines[2:]],
    "no JPEG": lambda lines: [lines[0], changed(lines[1], jpeg=text_of(b"GIF89a")), *lines[2:]],
    "cut off": lambda lines: [
        lines[0],
        changed(lines[1], jpeg=text_of(a_kept_face(1).jpeg[:-2])),
        *lines[2:],
    ],
    "huge": lambda lines: [
        lines[0],
        changed(lines[1], jpeg=text_of(b"\xff\xd8\xff" + bytes(2**18) + b"\xff\xd9")),
        *lines[2:],
    ],
    "four landmarks": lambda lines: [lines[0], changed(lines[1], landmarks=4 * [[1, 2]]), *lines[2:]],
    "landmarks of text": lambda lines: [lines[0], changed(lines[1], landmarks=5 * ["x"]), *lines[2:]],
    "an infinite box": lambda lines: [lines[0], changed(lines[1], bbox=[0, 0, 1, 1e300]), *lines[2:]],
    "no confidence": lambda lines: [lines[0], changed(lines[1], confidence=7), *lines[2:]],
    "faces that the header denies": lambda lines: [lines[0].replace(b',"faces":true', b""), *lines[1:]],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_with_a_damaged_face_changes_nothing(gallery: Gallery, damage: str) -> None:
    store(gallery, a=a_kept_face(1))
    lines = b"".join(transfer.export(gallery, faces=True)).splitlines(keepends=True)
    gallery.clear()
    with pytest.raises(DamagedGallery, match="line 2"):
        imported(gallery, b"".join(DAMAGES[damage](lines)))
    assert gallery.count() == there(gallery) == 0


# Damaged, and encrypted


DAMAGE: dict[str, bytes] = {"cut": b"\xff\xd8", "nothing": b"", "another": bytes(5000)}


# Only a key tells one face from another.
DAMAGED = [
    *(pytest.param(None, damage, id=f"plain-{damage}") for damage in DAMAGE),
    *(pytest.param(KEY, damage, id=f"encrypted-{damage}") for damage in (*DAMAGE, "swapped")),
]


@pytest.mark.parametrize(("key", "damage"), DAMAGED)
def test_a_damaged_face_is_not_shown_and_named(
    url: str, key: bytes | None, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = open_gallery(url, lock_timeout_s=5, key=key)
    store(gallery, a=a_kept_face(1), b=a_kept_face(2))
    with transaction(gallery.engine, write=True) as connection:
        of = {
            row.sample_id: row
            for row in connection.execute(
                sa.select(samples.c.sample_id, samples.c.key, table.c.face).join_from(samples, table)
            )
        }
        data = of["a"].face if damage == "swapped" else DAMAGE[damage]
        connection.execute(table.update().where(table.c.sample == of["b"].key).values(face=data))
    assert_same(faces.get(gallery, "a"), a_kept_face(1))
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        assert none_kept(gallery, "b") == "The face that was kept of this sample is damaged."
        exported = b"".join(transfer.export(gallery, faces=True)).splitlines()
    what = "its kept face cannot be decrypted" if key else "its kept face is none"
    assert caplog.messages == [
        f"sample 'b': {what}; enrol it again or delete it",
        f"sample 'b' is exported without its face: {what}",
    ]
    assert ["face" in json.loads(line) for line in exported[1:3]] == [True, False]
    assert list(transfer.faults(gallery)) == [f"sample 'b': {what}"]
    assert refused(client_of(gallery).get("/samples/b/face"), 404, "not_found")
    gallery.upsert([a_sample("b", face=a_kept_face(4))], vectors_of(1), MODEL)
    assert_same(faces.get(gallery, "b"), a_kept_face(4))
    gallery.close()


def lies(url: str, gallery: Gallery, jpeg: bytes) -> bool:
    """Tell whether a part of it lies in the table."""
    with transaction(gallery.engine) as connection:
        stored = connection.execute(sa.select(table.c.face)).scalars().all()
    return any(jpeg[start : start + 32] in data for data in stored for start in range(0, len(jpeg) - 32, 32))


def test_the_key_encrypts_faces_in_both_databases(url: str) -> None:
    gallery = open_gallery(url, lock_timeout_s=5, key=KEY)
    store(gallery, a=a_kept_face(1), b=a_kept_face(1))
    assert not lies(url, gallery, a_kept_face(1).jpeg)
    assert_same(faces.get(gallery, "b"), a_kept_face(1))
    (matches,) = gallery.nearest(vectors_of(1), 1, MODEL)
    assert matches[0].sample.id == "b" and matches[0].distance == 0
    with transaction(gallery.engine) as connection:
        one, two = connection.execute(sa.select(table.c.face)).scalars().all()
    assert one != two
    for wrong, sentence in ((None, "GALLERY_KEY is not set"), (ANOTHER, "not the key of this gallery")):
        with pytest.raises(GalleryUnavailable, match=sentence):
            open_gallery(url, lock_timeout_s=5, key=wrong)
    gallery.close()


def test_a_gallery_with_plain_faces_refuses_a_key(url: str) -> None:
    gallery = open_gallery(url, lock_timeout_s=5)
    store(gallery, a=a_kept_face(1))
    with pytest.raises(GalleryUnavailable, match="GALLERY_KEY is set, but the gallery is not encrypted"):
        open_gallery(url, lock_timeout_s=5, key=KEY)
    assert_same(faces.get(gallery, "a"), a_kept_face(1))
    gallery.close()


@pytest.mark.parametrize("backend", ["postgresql"])
def test_postgresqls_gallery_takes_a_key_as_long_as_it_keeps_no_faces(
    backend: str, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    plain = open_gallery(url, lock_timeout_s=5)
    store(plain, a=a_kept_face(1))
    assert faces.forget(plain) == 1
    with caplog.at_level(logging.WARNING):
        gallery = open_gallery(url, lock_timeout_s=5, key=KEY)
    assert "not PostgreSQL's vectors" in caplog.text
    store(gallery, b=a_kept_face(2))
    assert not lies(url, gallery, a_kept_face(2).jpeg)
    assert gallery.nearest(vectors_of(0), 1, MODEL)[0][0].sample.id in "ab"
    with pytest.raises(GalleryUnavailable, match="GALLERY_KEY is not set"):
        plain.count()  # it was opened before
    assert list(transfer.faults(gallery)) == []
    for opened in (plain, gallery):
        opened.close()


def test_files_set_change_and_remove_the_key(url: str, tmp_path: Path) -> None:
    first = open_gallery(url, lock_timeout_s=5)
    store(first, a=a_kept_face(1), b=a_kept_face(2))
    data = b"".join(transfer.export(first, faces=True))
    first.clear()
    first.close()
    for key in (KEY, ANOTHER, None):
        gallery = open_gallery(f"sqlite:///{tmp_path / str(key and key[0])}", lock_timeout_s=5, key=key)
        assert imported(gallery, data) == (2, 0, 0)
        assert_same(faces.get(gallery, "b"), a_kept_face(2))
        assert lies(url, gallery, a_kept_face(2).jpeg) == (key is None)
        again = b"".join(transfer.export(gallery, faces=True))
        assert again == data
        gallery.close()


# The commands


def run(url: str, *arguments: object, **environment: str) -> str:
    result = CliRunner(env={"DATABASE_URL": url, **environment}).invoke(cli, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_commands_of_the_database(url: str, gallery: Gallery, tmp_path: Path) -> None:
    store(gallery, a=a_kept_face(1), b=a_kept_face(2))
    run(url, "gallery", "export", "--faces", tmp_path / "file")
    run(url, "gallery", "export", tmp_path / "without")
    assert (tmp_path / "file").stat().st_size > (tmp_path / "without").stat().st_size + 2000
    assert run(url, "gallery", "verify", tmp_path / "file") == "2 samples, undamaged.\n"
    assert run(url, "gallery", "forget-faces", "--yes") == "2 faces deleted.\n"
    assert there(gallery) == 0 and gallery.count() == 2
    for keep, expected in (("0", 0), ("1", 2)):
        gallery.clear()
        run(url, "gallery", "import", tmp_path / "file", KEEP_FACES=keep)
        assert there(gallery) == expected
    assert run(url, "gallery", "verify") == "2 samples, no faults.\n"


def test_a_backup_has_the_faces(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'gallery.sqlite3'}"
    with closing(open_gallery(url, lock_timeout_s=5)) as gallery:
        store(gallery, a=a_kept_face(1))
    run(url, "gallery", "backup", tmp_path / "copy")
    with closing(sqlite3.connect(tmp_path / "copy")) as connection:
        assert connection.execute("SELECT count(*) FROM faces").fetchone() == (1,)
