"""Hostile pictures through the real decoding process: what they are taken for, and what they cost."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hostile_pictures import INVALID, READABLE, SMALL, TOO_LARGE, encoded
from processes import children, status
from serving.errors import ImageTooLarge, InvalidImage
from serving.sandbox import Decoder

MAX_PIXELS = 30_000_000
MEMORY_LIMIT_KB = 60_000  # of a process that has refused them all; measured: 41,000
FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "AVIF", "HEIF"]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="elsewhere pictures are decoded in the worker"
)


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=60)) as decoder:
        yield decoder


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_claims_to_be_too_large(decoder: Decoder, name: str) -> None:
    assert len(TOO_LARGE[name]) < 10_000
    with pytest.raises(ImageTooLarge):
        decoder(TOO_LARGE[name])


@pytest.mark.parametrize("name", INVALID)
def test_what_cannot_be_read(decoder: Decoder, name: str) -> None:
    with pytest.raises(InvalidImage):
        decoder(INVALID[name])


def test_refusing_costs_no_memory() -> None:
    before = children()
    with closing(Decoder(max_pixels=MAX_PIXELS, timeout_s=60)) as decoder:
        decoder.start()
        (process,) = children().keys() - before.keys()
        # Of one it shows only once it is decoded.
        for data in [
            *TOO_LARGE.values(),
            *(INVALID[name] for name in INVALID if name != "JPEG without pixels"),
        ]:
            with pytest.raises((ImageTooLarge, InvalidImage)):
                decoder(data)
        assert children().keys() - before.keys() == {process}  # the first one still: none has died
        assert status(process, "VmHWM") < MEMORY_LIMIT_KB


@pytest.mark.parametrize("name", READABLE)
def test_what_is_only_odd(decoder: Decoder, name: str) -> None:
    data, shape = READABLE[name]
    assert decoder(data).pixels.shape == (*shape, 3)


@pytest.mark.parametrize("form", FORMATS)
def test_a_truncated_picture_is_refused_wherever_it_ends(decoder: Decoder, form: str) -> None:
    data = encoded(SMALL, form)
    for end in [*range(0, len(data) // 2, 1 + len(data) // 60), len(data) // 2]:
        with pytest.raises((InvalidImage, ImageTooLarge)):
            decoder(data[:end])


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "PNG", "TIFF", "AVIF", "HEIF"])
def test_the_same_face_in_every_orientation(demo: Path, decoder: Decoder, form: str) -> None:
    upright = Image.open(next(iter(sorted(demo.rglob("*.jpg"))))).convert("RGB").resize((120, 160))
    turns = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    options = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
        "HEIF": {"quality": -1, "chroma": 444},
    }.get(form, {})
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if turn is None else upright.transpose(turn)
        # pillow-heif turns EXIF into HEIF's own properties if it gets bytes, and else leaves it alone.
        for sent in (exif, exif.tobytes()):
            pixels = decoder(encoded(stored, form, exif=sent, **options)).pixels
            assert np.abs(pixels.astype(int) - np.asarray(upright)).max() <= 12, orientation


def test_warnings_of_the_libraries_reach_no_log(decoder: Decoder, capfd: pytest.CaptureFixture[str]) -> None:
    stream = io.BytesIO()
    Image.new("1", (64, 48)).save(stream, "TIFF", compression="group4")
    data = bytearray(stream.getvalue())
    data[8:12] = b"\x13\x57\x9b\xdf"  # libtiff complains of bad code words
    for complained_of in (bytes(data), READABLE["EXIF in PNG"][0]):
        decoder(complained_of)
    assert capfd.readouterr() == ("", "")
