"""Bytes to pixels: formats, colours, orientation, base64, and what is refused."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from pictures import png_that_claims
from recognition.pictures.encoded import from_base64
from serving import pictures as images
from serving.errors import ImageTooLarge, InvalidImage

LIMIT = 1_000_000

# Left half red, right half blue, so that every turn and flip shows; the top row's left pixel is green.
PIXELS = np.zeros((24, 32, 3), np.uint8)
PIXELS[:, :16] = (200, 0, 0)
PIXELS[:, 16:] = (0, 0, 200)
PIXELS[:8, :16] = (0, 200, 0)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "WEBP", "JPEG", "GIF", "JPEG2000"])
def test_every_format_decodes_to_the_same_rgb(form: str) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    decoded = images.decode(encoded(Image.fromarray(PIXELS), form, **options), LIMIT).pixels
    assert decoded.dtype == np.uint8
    assert decoded.flags["C_CONTIGUOUS"]
    tolerance = 12 if form == "JPEG" else 1
    inside = np.abs(decoded.astype(int) - PIXELS)[::8, ::8]
    assert inside.max() <= tolerance


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    form = "JPEG" if mode in ("CMYK", "YCbCr") else "TIFF" if mode == "PA" else "PNG"
    if mode == "PA":
        mode, form = "P", "PNG"
    decoded = images.decode(encoded(Image.new("RGB", (9, 7), "white").convert(mode), form), LIMIT).pixels
    assert decoded.shape == (7, 9, 3)
    assert decoded.min() >= 254


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_its_brightness(form: str) -> None:
    grey = np.array([[0, 32768, 65535]], np.uint16)
    decoded = images.decode(encoded(Image.fromarray(grey), form), LIMIT).pixels
    assert decoded[0, :, 0].tolist() == pytest.approx([0, 127, 255], abs=1)
    assert (decoded[..., 0] == decoded[..., 2]).all()


def test_float_grey_with_holes_is_a_picture() -> None:
    grey = np.array([[0.0, 128.0, np.nan, np.inf, -5.0]], np.float32)
    decoded = images.decode(encoded(Image.fromarray(grey), "TIFF"), LIMIT).pixels
    assert decoded.shape == (1, 5, 3)


def test_transparent_parts_become_white() -> None:
    hidden = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    assert (images.decode(encoded(hidden, "PNG"), LIMIT).pixels == 255).all()
    assert (images.decode(encoded(hidden, "WEBP", lossless=True), LIMIT).pixels == 255).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_stands_the_picture_upright(form: str, orientation: int) -> None:
    stored = {
        1: PIXELS,
        2: PIXELS[:, ::-1],
        3: PIXELS[::-1, ::-1],
        4: PIXELS[::-1],
        5: PIXELS.transpose(1, 0, 2),
        6: np.rot90(PIXELS),
        7: PIXELS.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(PIXELS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif, **options)
    picture = images.decode(data, LIMIT)
    assert (picture.pixels.shape, picture.orientation) == (PIXELS.shape, orientation)
    assert np.abs(picture.pixels.astype(int) - PIXELS)[4::8, 4::8].max() <= 12


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert images.decode(data, LIMIT).pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("size", [(64250, 64250), (1001, 1000), (2**31 - 1, 1)])
def test_a_picture_too_large_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLarge):
        images.decode(png_that_claims(*size), LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"%PDF-1.4",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"P6 2 2 255 aaaaaaaaaaaa",
        png_that_claims(10, 10),
        encoded(Image.fromarray(PIXELS), "PNG")[:50],
        encoded(Image.fromarray(PIXELS), "JPEG")[:200],
        bytes(1000),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidImage):
        images.decode(data, LIMIT)


DATA = bytes(range(256))  # has + and / in base64, and padding
BARE = base64.b64encode(DATA).decode()
LINES = base64.encodebytes(DATA).decode()
URL_SAFE = base64.urlsafe_b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        BARE,
        f"data:image/jpeg;base64,{BARE}",
        f"data:image/svg+xml;charset=utf-8;base64,{BARE}",
        f"DATA:IMAGE/PNG;BASE64,{BARE}",
        f'data:image/png; charset="utf-8"; name=a.png ;base64, {BARE}',
        f"data:;base64,{BARE}",
        f"data:application/octet-stream;base64,{BARE}",
        f"image/jpeg;base64,{BARE}",
        f"\ufeff{BARE}",
        f"  {BARE}\n",
        LINES,
        LINES.replace("\n", "\r\n"),
        LINES.replace("\n", " \n"),
        LINES.replace("\n", "\n    "),
        LINES.replace("\n", " "),  # as YAML and HTML fold lines
        URL_SAFE,
        URL_SAFE.rstrip("="),
        URL_SAFE.replace("-", "+"),
        BARE.rstrip("="),
        BARE.removesuffix("="),
        BARE + "=",
        f"data:image/jpeg;base64,{URL_SAFE.rstrip('=')}",
        quote(BARE, safe=""),
        quote(LINES, safe=""),
        BARE.replace("+", "%2b"),
        f"data:image/jpeg;base64,{quote(BARE)}",
    ],
)
def test_base64_in_all_its_dresses(text: str) -> None:
    assert from_base64(text) == DATA


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "abcde",
        "ab=c",
        "aGk=aGk=",
        "****",
        "a,b.",
        "data:text/plain;base64,aGk=",
        "data:image/png,aGk=",
        "äöü",
        "\ud800",
        "%",
        "%zz",
        "aGk%C3%A4",
        BARE.replace("+", " "),
        BARE.replace("+", " ").rstrip("="),
        "ab cde f",
    ],
)
def test_what_is_no_base64_or_in_doubt_is_refused(text: str) -> None:
    with pytest.raises(InvalidImage):
        from_base64(text)


@pytest.mark.parametrize(
    "part", [" ", " a", "a ", "a\n", "a \n", "\n ", "%41", "%20", "=", "-", "data:", ";a=a"]
)
def test_hostile_base64_takes_no_longer_than_its_length(part: str) -> None:
    with suppress(InvalidImage):
        from_base64(part * 2_000_000)
