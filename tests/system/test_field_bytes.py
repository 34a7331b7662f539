"""Pictures as people have them, over HTTP and on the command line: any format, cut off, deep, wrapped."""

from __future__ import annotations

import base64
import codecs
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import imagecodecs
import numpy as np
import pytest
import requests
from click.testing import CliRunner
from PIL import Image

from pictures import png_of, tiff_of
from recognition.__main__ import cli
from running import Pair
from serving.readers import every_format

TIMEOUT_S = 60
NEAR = 4.0  # a distance that another coding of the same picture stays below
every_format()  # whose writers make the pictures

Send = Callable[[bytes], requests.Response]


@pytest.fixture(scope="module")
def portrait(demo: Path) -> Image.Image:
    return Image.open(sorted((demo / "train" / "madonna").iterdir())[0]).convert("RGB")


@pytest.fixture
def enrolled(pair: Pair, portrait: Image.Image) -> Pair:
    """The services, which know the portrait."""
    sample = {"id": "1", "name": "Madonna", "image": base64.b64encode(encoded(portrait, "PNG")).decode()}
    answer = requests.post(f"{pair.url}/update-samples", json=[sample], timeout=TIMEOUT_S)
    assert answer.json()["success"] == ["1"]
    return pair


@pytest.fixture
def send(enrolled: Pair) -> Send:
    return lambda data: requests.post(
        f"{enrolled.url}/face-recognition", files={"file": ("x", data)}, timeout=TIMEOUT_S
    )


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def assert_recognised(answer: requests.Response) -> None:
    assert answer.status_code == 200, answer.text
    assert [face["name"] for face in answer.json()][:1] == ["Madonna"], answer.text
    assert answer.json()[0]["distance"] < NEAR


FORMATS: dict[str, Callable[[Image.Image], bytes]] = {
    "HEIC": lambda image: encoded(image, "HEIF"),
    "HEIC of tiles": lambda image: encoded(image, "HEIF", tile_size=64),
    "HEIC with alpha": lambda image: encoded(image.convert("RGBA"), "HEIF"),
    "AVIF": lambda image: encoded(image, "AVIF"),
    "AVIF, 10 bits": lambda image: imagecodecs.avif_encode(deep(image, 1023), level=90, bitspersample=10),
    "JP2": lambda image: encoded(image, "JPEG2000"),
    "J2K of tiles": lambda image: encoded(image, "JPEG2000", no_jp2=True, tile_size=(64, 64)),
    "JPEG XL": lambda image: imagecodecs.jpegxl_encode(np.asarray(image), level=90),
    "PNG, 12 of 16 bits": lambda image: png_of(deep(image, 4095)),
    "grey PNG, 10 of 16 bits": lambda image: png_of(deep(image.convert("L"), 1023)),
    "TIFF, 14 of 16 bits": lambda image: tiff_of(deep(image, 16383), deflate=True),
    "TIFF, floats from 0 to 1": lambda image: tiff_of((np.asarray(image.convert("L")) / 255).astype("f4")),
    "TIFF, white is zero": lambda image: tiff_of(4095 - deep(image.convert("L"), 4095), photometric=0),
}


def deep(image: Image.Image, white: int) -> np.ndarray:
    return (np.asarray(image) / 255 * white).astype("u2")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_recognised(send: Send, portrait: Image.Image, form: str) -> None:
    answer = send(FORMATS[form](portrait))
    assert_recognised(answer)
    assert "X-Picture-Warnings" not in answer.headers


@pytest.mark.parametrize("orientation", [3, 6, 8])
@pytest.mark.parametrize("form", ["HEIF", "AVIF", "TIFF", "PNG"])
def test_an_orientation_is_applied_once(
    send: Send, portrait: Image.Image, form: str, orientation: int
) -> None:
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    exif = Image.Exif()
    exif[0x0112] = orientation
    answer = send(encoded(portrait.transpose(turn[orientation]), form, exif=exif.tobytes()))
    assert_recognised(answer)


def test_feature_extraction_reads_the_same(pair: Pair, portrait: Image.Image) -> None:
    names = ["HEIC", "AVIF", "JP2", "PNG, 12 of 16 bits"]
    files = [("image", (name, FORMATS[name](portrait))) for name in names]
    ids = json.dumps([{"id": name} for name in names])
    answer = requests.post(
        f"{pair.extraction.url}/", data={"face_data": ids}, files=files, timeout=TIMEOUT_S
    ).json()
    vectors = np.array([face["vector"] for face in answer])
    assert (np.linalg.norm(vectors - vectors[0], axis=1) < NEAR).all()


# --- cut off


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_recognised_with_a_warning(
    send: Send, portrait: Image.Image, progressive: bool
) -> None:
    data = encoded(portrait, "JPEG", progressive=progressive)
    for end in (len(data) - 2, int(0.95 * len(data))):
        answer = send(data[:end])
        assert_recognised(answer)
        assert answer.headers["X-Picture-Warnings"] == "truncated"
    less = send(data[: int(0.35 * len(data))])
    assert (less.status_code, less.json()["code"]) == (400, "invalid_image")
    assert "less than half" in less.json()["detail"]


def test_an_enrolment_says_which_picture_was_cut_off(pair: Pair, portrait: Image.Image) -> None:
    data = encoded(portrait, "JPEG")
    samples = [
        {"id": str(number), "name": "x", "image": base64.b64encode(part).decode()}
        for number, part in enumerate((data, data[:-2], data[: len(data) // 3]))
    ]
    answer = requests.post(f"{pair.url}/update-samples", json=samples, timeout=TIMEOUT_S).json()
    assert (answer["success"], answer["fail"]) == (["0", "1"], ["2"])
    codes = {id_: [each["code"] for each in seen["warnings"]] for id_, seen in answer["samples"].items()}
    assert ("truncated" in codes["0"], "truncated" in codes["1"]) == (False, True)


# --- wrapped


WRAPPED: dict[str, Callable[[str], str]] = {
    "URL-safe, without padding": lambda text: text.translate(str.maketrans("+/", "-_")).rstrip("="),
    "percent-encoded": lambda text: quote(text, safe=""),
    "in lines": lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
    "a data URI without a type": lambda text: f"data:;base64,{text}",
    "a data URI that shouts": lambda text: f"DATA:IMAGE/JPEG;CHARSET=UTF-8;BASE64,{text}",
}


@pytest.mark.parametrize("how", WRAPPED)
def test_base_64_is_read_however_it_is_written(enrolled: Pair, portrait: Image.Image, how: str) -> None:
    image = WRAPPED[how](base64.b64encode(encoded(portrait, "JPEG")).decode())
    answer = requests.post(f"{enrolled.url}/face-recognition", json={"image": image}, timeout=TIMEOUT_S)
    assert_recognised(answer)


def test_a_byte_order_mark_is_no_obstacle(enrolled: Pair, portrait: Image.Image) -> None:
    body = json.dumps({"image": base64.b64encode(encoded(portrait, "JPEG")).decode()})
    url, headers = f"{enrolled.url}/face-recognition", {"Content-Type": "application/json"}
    marked = requests.post(url, data=codecs.BOM_UTF8 + body.encode(), headers=headers, timeout=TIMEOUT_S)
    assert_recognised(marked)
    wide = requests.post(url, data=body.encode("utf-16"), headers=headers, timeout=TIMEOUT_S)
    assert (wide.status_code, "UTF-8" in wide.json()["detail"]) == (400, True)


# --- something else

OTHERS = {
    "PDF": b"%PDF-1.7\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "HTML": b"<!doctype html><title>404</title>",
    "MP4": b"\0\0\0\x18ftypisom\0\0\0\0isommp42",
    "CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
    "empty": b"",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_picture_is_named(send: Send, name: str) -> None:
    answer = send(OTHERS[name])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_image")
    assert name in answer.json()["detail"]


def test_the_thumbnail_of_a_raw_picture_is_not_recognised(send: Send, portrait: Image.Image) -> None:
    answer = send(tiff_of(np.asarray(portrait), more=((50706, 4, 0x01020000), (254, 4, 1))))
    assert (answer.status_code, "raw picture" in answer.json()["detail"]) == (400, True)


# --- the command line


@pytest.fixture
def folder(tmp_path: Path, portrait: Image.Image) -> Iterator[Path]:
    """A folder as a telephone, a camera and a download leave it."""
    people = tmp_path / "people" / "Madonna"
    people.mkdir(parents=True)
    files = {
        "IMG_0001.HEIC": encoded(portrait, "HEIF"),
        "download.jfif": encoded(portrait, "JPEG", quality=90),
        "b.JPE": encoded(portrait, "JPEG", quality=91),
        "c.avif": encoded(portrait, "AVIF"),
        "d.jp2": encoded(portrait, "JPEG2000"),
        "e.jxl": FORMATS["JPEG XL"](portrait),
        "without an ending": encoded(portrait, "PNG"),
        "cut.jpg": encoded(portrait, "JPEG", quality=92)[:-2],
        "IMG_0002.CR2": OTHERS["CR2"],
        "notes.txt": b"to do",
        "paper.pdf": OTHERS["PDF"],
        "empty.jpg": b"",
        ".DS_Store": b"\0\0\0\1Bud1\0",
        "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "._IMG_0001.HEIC": b"\0\5\x16\7\0\2\0\0Mac OS X",
    }
    for name, data in files.items():
        (people / name).write_bytes(data)
    yield tmp_path / "people"
    shutil.rmtree(tmp_path / "people")


def test_a_folder_is_enrolled_by_what_its_files_are(pair: Pair, folder: Path) -> None:
    result = CliRunner().invoke(cli, ["enrol", str(folder), "--host", pair.url, "--json"])
    (report,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert {Path(path).name for path in report["enrolled"]} == {
        "IMG_0001.HEIC",
        "download.jfif",
        "b.JPE",
        "c.avif",
        "d.jp2",
        "e.jxl",
        "without an ending",
        "cut.jpg",
    }
    refused = {Path(path).name: error["detail"] for path, error in report["refused"].items()}
    assert set(refused) == {"IMG_0002.CR2", "notes.txt", "paper.pdf", "empty.jpg"}
    words = {"IMG_0002.CR2": "CR2", "notes.txt": "text", "paper.pdf": "PDF", "empty.jpg": "empty"}
    assert all(word in refused[name] for name, word in words.items())
    assert [each["code"] for each in report["warnings"]["Madonna/cut.jpg"]] == ["truncated"]
    for name in refused:
        (folder / "Madonna" / name).unlink()
    again = CliRunner().invoke(cli, ["enrol", str(folder), "--host", pair.url, "--json"])
    assert (again.exit_code, len(json.loads(again.stdout)["already"])) == (0, 8)


def test_recognise_names_what_it_cannot_read(enrolled: Pair, folder: Path) -> None:
    names = ("IMG_0001.HEIC", "paper.pdf", "IMG_0002.CR2", "download.jfif")
    files = [folder / "Madonna" / name for name in names]
    result = CliRunner().invoke(cli, ["recognise", *map(str, files), "--host", enrolled.url])
    assert result.exit_code == 1
    first, pdf, raw, last = result.stdout.splitlines()
    assert "Madonna" in first and "Madonna" in last
    assert "a PDF" in pdf and "CR2" in raw
