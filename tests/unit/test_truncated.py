"""Pictures that end too early: taken and remarked if half is there, else refused; never taken silently."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import recognition
from serving import pictures as images
from serving.errors import InvalidImage
from serving.readers import every_format
from serving.remarks import DAMAGED, TRUNCATED

LIMIT = 1_000_000
PORTRAIT = Path(recognition.__file__).parent / "static" / "ready.jpg"
PICTURE = Image.open(PORTRAIT).convert("RGB").resize((320, 480))
EOI = b"\xff\xd9"
every_format()  # whose writers make the pictures


def encoded(form: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    PICTURE.convert(mode).save(stream, form, **options)
    return stream.getvalue()


def rows_like(data: bytes, whole: bytes) -> float:
    """The share of rows that came out as they were meant."""
    pixels, expected = (images.decode(each, LIMIT).pixels.astype(int) for each in (data, whole))
    return float((np.abs(pixels - expected).max(axis=(1, 2)) <= 40).mean())


JPEGS = {
    "baseline": encoded("JPEG"),
    "with restarts": encoded("JPEG", restart_marker_rows=2),
    "progressive": encoded("JPEG", progressive=True),
    "grey": encoded("JPEG", "L"),
    "grey, progressive": encoded("JPEG", "L", progressive=True),
    "CMYK": encoded("JPEG", "CMYK"),
    "with a thumbnail": b"",
}
thumbnail = encoded("JPEG")
JPEGS["with a thumbnail"] = (
    JPEGS["baseline"][:2]
    + struct.pack(">BBH", 0xFF, 0xE5, len(thumbnail) + 2)
    + thumbnail
    + JPEGS["baseline"][2:]
)
each_jpeg = pytest.mark.parametrize("name", JPEGS)
# But CMYK, cut off and closed: only Pillow reads it, and libjpeg's warnings do not reach it.
each_jpeg_and_end = pytest.mark.parametrize(
    ("name", "end"), [(name, b"") for name in JPEGS] + [(name, EOI) for name in JPEGS if name != "CMYK"]
)


@each_jpeg
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_without_its_end_is_whole(name: str, missing: int) -> None:
    cut = images.decode(JPEGS[name][:-missing], LIMIT)
    assert cut.remarks == (TRUNCATED,)
    assert (cut.pixels == images.decode(JPEGS[name], LIMIT).pixels).all()


@each_jpeg_and_end
@pytest.mark.parametrize("share", [0.999, 0.95, 0.8])
def test_a_jpeg_of_which_most_is_there_is_taken(name: str, share: float, end: bytes) -> None:
    whole = JPEGS[name]
    start = len(thumbnail) * (name == "with a thumbnail")
    data = whole[: start + int((len(whole) - start) * share)] + end
    assert images.decode(data, LIMIT).remarks == (TRUNCATED,)
    assert rows_like(data, whole) >= 0.5


@each_jpeg_and_end
@pytest.mark.parametrize("share", [0.4, 0.2, 0.01])
def test_a_jpeg_of_which_less_than_half_is_there_is_refused(name: str, share: float, end: bytes) -> None:
    whole = JPEGS[name]
    start = len(thumbnail) * (name == "with a thumbnail")
    with pytest.raises(InvalidImage):
        images.decode(whole[: start + int((len(whole) - start) * share)] + end, LIMIT)


def test_a_jpeg_that_goes_wrong_in_the_middle_is_remarked_where_it_shows() -> None:
    data = bytearray(JPEGS["with restarts"])
    restart = data.index(b"\xff\xd3", len(data) // 3)
    data[restart + 1] = 0xD6
    assert images.decode(bytes(data), LIMIT).remarks == (DAMAGED,)


def test_bytes_between_the_segments_of_a_jpeg_harm_nobody() -> None:
    data = JPEGS["baseline"]
    assert images.decode(data[:-2] + b"\0\0\0" + data[-2:], LIMIT).remarks == ()
    assert images.decode(data + b"trailer", LIMIT).remarks == ()


BY_ROWS = {
    "PNG": encoded("PNG"),
    "PNG, palette": encoded("PNG", "P"),
    "PNG, one bit": encoded("PNG", "1"),
    "PNG, alpha": encoded("PNG", "RGBA"),
    "PNG, grey and alpha": encoded("PNG", "LA"),
    "PNG, 16 bits": encoded("PNG", "I;16"),
    "GIF": encoded("GIF"),
    "GIF, grey": encoded("GIF", "L"),
    "BMP": encoded("BMP"),
    "BMP, palette": encoded("BMP", "P"),
    "TIFF": encoded("TIFF"),
    "TIFF, float": encoded("TIFF", "F"),
    "TIFF, CMYK": encoded("TIFF", "CMYK"),
    "HEIF of tiles": encoded("HEIF", tile_size=64),
}


@pytest.mark.parametrize("name", BY_ROWS)
def test_other_formats_that_come_row_by_row_are_taken_too(name: str) -> None:
    whole = BY_ROWS[name]
    for share in (0.95, 0.8):
        data = whole[: int(len(whole) * share)]
        assert images.decode(data, LIMIT).remarks == (TRUNCATED,)
        assert rows_like(data, whole) >= 0.5
    assert images.decode(whole, LIMIT).remarks == ()
    for share in (0.4, 0.1):
        with pytest.raises(InvalidImage):
            images.decode(whole[: int(len(whole) * share)], LIMIT)


@pytest.mark.parametrize("form", ["WEBP", "JPEG2000", "AVIF", "HEIF"])
def test_formats_that_need_all_their_data_are_refused_and_named(form: str) -> None:
    whole = encoded(form)
    name = {"WEBP": "WebP", "JPEG2000": "JPEG 2000", "HEIF": "HEIC"}.get(form, form)
    for share in (0.99, 0.95, 0.7):
        with pytest.raises(InvalidImage, match=name):
            images.decode(whole[: int(len(whole) * share)], LIMIT)


def test_a_truncated_picture_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for form in ("JPEG", "PNG", "TIFF"):
        whole = encoded(form, exif=exif)
        cut = images.decode(whole[: int(len(whole) * 0.9)], LIMIT)
        assert cut.remarks == (TRUNCATED,)
        assert cut.pixels.shape == (320, 480, 3)
        expected = images.decode(whole, LIMIT).pixels
        assert np.abs(cut.pixels[:, 240:].astype(int) - expected[:, 240:]).max() <= 1
