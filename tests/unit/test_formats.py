"""What bytes are told to be: formats that are read, and what people send in their stead."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import recognition
from pictures import tiff_of
from serving import pictures as images
from serving.errors import InvalidImage
from serving.formats import picture_format, unreadable
from serving.readers import every_format

PICTURE = (
    Image.open(Path(recognition.__file__).parent / "static" / "ready.jpg").convert("RGB").resize((64, 64))
)
GREY = np.asarray(PICTURE.convert("L"))
LIMIT = 10_000
every_format()  # whose writers make the pictures


def encoded(form: str) -> bytes:
    stream = io.BytesIO()
    PICTURE.save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("form", "name"),
    [(form, form) for form in ("JPEG", "PNG", "GIF", "BMP", "ICO", "TIFF", "AVIF")]
    + [("WEBP", "WebP"), ("HEIF", "HEIC"), ("JPEG2000", "JPEG 2000")],
)
def test_pictures_are_known_by_their_bytes(form: str, name: str) -> None:
    data = encoded(form)
    assert picture_format(data) == picture_format(data[:4096]) == name
    assert images.decode(data, LIMIT).pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("brand", [b"heix", b"mif1", b"mif2", b"msf1"])
def test_a_heic_may_have_any_of_its_brands(brand: bytes) -> None:
    data = encoded("HEIF").replace(b"ftypheic", b"ftyp" + brand, 1)
    assert picture_format(data) == "HEIC"
    assert images.decode(data, LIMIT).pixels.shape == (64, 64, 3)


def test_an_avif_may_call_itself_a_mif1() -> None:
    data = encoded("AVIF").replace(b"ftypavif", b"ftypmif1", 1)
    assert images.decode(data, LIMIT).pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("form", ["AVIF", "HEIF", "GIF", "TIFF"])
def test_the_first_of_several_pictures_counts(form: str) -> None:
    stream = io.BytesIO()
    first, second = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    first.save(stream, form, save_all=True, append_images=[second])
    assert images.decode(stream.getvalue(), LIMIT).pixels[..., 0].min() > 240


OTHERS = {
    "empty": b"",
    "zeros": bytes(1000),
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    "SVG": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "HTML": b"\n<!DOCTYPE html><title>Not found</title>",
    "MP4": b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2",
    "MOV": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    "Matroska": b"\x1a\x45\xdf\xa3\x93\x42\x82\x88matroska",
    "AVI": b"RIFF\x24\0\0\0AVI LIST",
    "CR2": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "RAF": b"FUJIFILMCCD-RAW 0201",
    "RW2": b"IIU\0\x08\0\0\0",
    "PSD": b"8BPS\0\1" + bytes(20),
    "CUR": b"\0\0\2\0\1\0\x10\x10" + bytes(20),
    "ZIP": b"PK\3\4\x14\0",
    "Netpbm": b"P6\n2 2\n255\n" + bytes(12),
    "text": b"dear madam, please find",
}
WORDS = {"Matroska": "video", "AVI": "video", "MP4": "MP4", "zeros": "zeros", "empty": "empty"}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_picture_is_named(name: str) -> None:
    with pytest.raises(InvalidImage, match=f"it is .*{WORDS.get(name, name)}"):
        images.decode(OTHERS[name], LIMIT)


def test_what_nobody_knows_is_of_an_unknown_format() -> None:
    assert "unknown" in unreadable(b"\x80\0\x01garbage\x02")


RAW = {
    "DNG": ((50706, 4, 0x01020000), (254, 4, 1)),
    "DNG without a thumbnail": ((50706, 4, 0x01020000),),
    "NEF": ((254, 4, 1), (330, 4, 8)),
}


@pytest.mark.parametrize("name", RAW)
def test_the_thumbnail_of_a_raw_picture_is_not_taken_for_it(name: str) -> None:
    with pytest.raises(InvalidImage, match="raw picture"):
        images.decode(tiff_of(GREY, more=RAW[name]), LIMIT)


def test_the_first_page_of_a_tiff_that_is_no_thumbnail_counts() -> None:
    stream = io.BytesIO()
    thumbnail, page = PICTURE.resize((8, 8)), Image.fromarray(np.asarray(PICTURE))
    thumbnail.save(stream, "TIFF", save_all=True, append_images=[page], tiffinfo={254: 1})
    entry = struct.pack("<HHI", 254, 4, 1)
    first, _, second = stream.getvalue().rpartition(entry)
    data = first + entry + struct.pack("<I", 0) + second[4:]
    assert (images.decode(data, LIMIT).pixels == np.asarray(PICTURE)).all()
    alone = images.decode(tiff_of(GREY, more=((254, 4, 1),)), LIMIT).pixels  # what else could it be?
    assert alone.shape == (64, 64, 3)


def test_a_thumbnail_says_nothing_of_what_else_is_there() -> None:
    for text in (unreadable(data) for data in OTHERS.values()):
        assert "/" not in text and len(text) < 120
