"""Pictures of more than 8 bits: whatever their samples' type, they come out as bright as they were."""

from __future__ import annotations

import io
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import pytest
from PIL import Image

import recognition
from pictures import png_of, tiff_of
from serving import pictures as images

LIMIT = 1_000_000
PORTRAIT = Path(recognition.__file__).parent / "static" / "ready.jpg"
COLOUR = np.asarray(Image.open(PORTRAIT).convert("RGB").resize((64, 64)))
COLOUR = (255.0 * (COLOUR - COLOUR.min()) / np.ptp(COLOUR)).astype(np.uint8)  # from black to white
GREY = np.asarray(Image.fromarray(COLOUR).convert("L"))
GREY = (255.0 * (GREY - GREY.min()) / np.ptp(GREY)).astype(np.uint8)
HALF = np.concatenate([np.zeros_like(GREY[:32]), np.full_like(GREY[32:], 255)])[..., np.newaxis]


def assert_like(data: bytes, expected: np.ndarray, tolerance: int = 1) -> None:
    pixels = images.decode(data, LIMIT).pixels.astype(int)
    expected = expected if expected.ndim == 3 else expected[..., np.newaxis]
    assert np.abs(pixels - expected).max() <= tolerance


def scaled(picture: np.ndarray, white: float, kind: str = "u2") -> np.ndarray:
    return (picture / 255 * white + (0.5 if kind[0] != "f" else 0)).astype(kind)


BITS = pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])


@BITS
@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_what_has_16_bits_may_hold_fewer(bits: int, picture: np.ndarray) -> None:
    samples = scaled(picture, 2**bits - 1)
    for data in (
        png_of(samples),
        tiff_of(samples),
        tiff_of(samples, deflate=True),
        tiff_of(samples, order=">"),
    ):
        assert_like(data, picture)


@BITS
@pytest.mark.parametrize("alpha_bits", [8, 12, 16])
def test_alpha_may_hold_another_number_of_bits(bits: int, alpha_bits: int) -> None:
    alpha = scaled(HALF, 2**alpha_bits - 1)
    over_white = np.where(HALF == 0, 255, COLOUR)
    assert_like(png_of(np.concatenate([scaled(COLOUR, 2**bits - 1), alpha], axis=2)), over_white)
    grey = scaled(GREY, 2**bits - 1)[..., np.newaxis]
    assert_like(
        png_of(np.concatenate([grey, alpha], axis=2)), np.where(HALF == 0, 255, GREY[..., np.newaxis])
    )


def test_a_dark_picture_with_a_bright_pixel_stays_dark() -> None:
    for picture in (GREY, COLOUR):
        samples = scaled(picture, 4095)
        samples[0, 0] = 65535
        decoded = images.decode(png_of(samples), LIMIT).pixels
        assert decoded.max() == 255
        assert decoded[1:].max() <= 16


@pytest.mark.parametrize(
    ("kind", "white"),
    [
        *(("f4", white) for white in (1, 255, 65535)),
        *(("i2", white) for white in (4095, 32767)),
        *(("i4", white) for white in (255, 2**31 - 1)),
        *(("u4", white) for white in (255, 65535, 2**32 - 1)),
    ],
)
def test_grey_of_other_types(kind: str, white: float) -> None:
    samples = scaled(GREY, white, kind) if white < 2**31 - 1 else (GREY / 255 * white).astype(kind)
    assert_like(tiff_of(samples), GREY)
    assert_like(tiff_of(samples, deflate=True), GREY)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("kind", "white"),
    [
        *((kind, white) for kind in ("f2", "f4", "f8") for white in (1, 255)),
        *(("i2", white) for white in (4095, 32767)),
        *(("u4", white) for white in (255, 65535, 2**32 - 1)),
    ],
)
def test_colours_of_other_types(kind: str, white: float, order: str) -> None:
    for picture in (GREY, COLOUR):
        samples = (picture / 255 * white + (0.5 if kind[0] != "f" and white < 2**31 else 0)).astype(kind)
        assert_like(tiff_of(samples, order=order), picture)
        assert_like(tiff_of(samples, deflate=True, order=order), picture)


def test_colours_of_other_types_may_have_alpha_planes_and_orientation() -> None:
    floats = np.concatenate([COLOUR, HALF], axis=2).astype("f4") / 255
    assert_like(tiff_of(floats), np.where(HALF == 0, 255, COLOUR))
    planes = np.ascontiguousarray(np.moveaxis(floats[..., :3], -1, 0)).reshape(64, 64, 3)
    assert_like(tiff_of(planes, more=((284, 3, 2),)), COLOUR)
    assert_like(tiff_of(np.rot90(floats[..., :3]), more=((274, 3, 6),)), COLOUR)


@pytest.mark.parametrize(
    "samples",
    [
        (GREY / 127.5 - 1).astype("f4"),
        (GREY.astype(int) * 257 - 32768).astype("i2"),
        (GREY.astype(int) * 16 - 2048).astype("i2"),
    ],
    ids=["floats from -1 to 1", "signed, 16 bits", "signed, 12 bits"],
)
def test_zero_may_be_grey(samples: np.ndarray) -> None:
    assert_like(tiff_of(samples), GREY, tolerance=2)


def test_what_a_filter_leaves_below_black_and_above_white_is_cut_off() -> None:
    samples = (GREY / 255).astype("f4")
    samples[0, :2] = (-0.2, 1.3)
    decoded = images.decode(tiff_of(samples), LIMIT).pixels
    assert np.abs(decoded[1:].astype(int) - GREY[1:, :, np.newaxis]).max() <= 1
    assert decoded[0, :2, 0].tolist() == [0, 255]


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_white_may_be_zero(kind: str) -> None:
    white = {"u1": 255, "u2": 4095, "f4": 1}[kind]
    assert_like(tiff_of(scaled(255 - GREY, white, kind), photometric=0), GREY)


def test_what_has_one_shade_or_no_number_is_a_picture_all_the_same() -> None:
    for value in (0.0, np.nan, np.inf, -np.inf, -7.0):
        assert images.decode(tiff_of(np.full((4, 5), value, "f4")), LIMIT).pixels.shape == (4, 5, 3)
    assert images.decode(png_of(np.zeros((4, 5, 3), "u2")), LIMIT).pixels.max() == 0


def test_orientation_and_depth_go_together() -> None:
    samples = scaled(GREY, 4095)
    turned = np.rot90(samples)  # as a camera stores it that was held upright
    assert_like(tiff_of(turned, more=((274, 3, 6),)), GREY)
    assert_like(tiff_of(np.rot90(scaled(COLOUR, 4095)), more=((274, 3, 6),)), COLOUR)


@pytest.mark.parametrize("bits", [10, 12])
def test_hdr_heic_and_avif_keep_their_brightness(bits: int) -> None:
    samples = scaled(COLOUR, 2**bits - 1)
    stream = io.BytesIO()
    heif = pillow_heif.from_bytes("RGB;16", (64, 64), scaled(COLOUR, 65535).tobytes())
    pillow_heif.options.SAVE_HDR_TO_12_BIT = bits == 12
    heif.save(stream, quality=-1, chroma=444)
    for data in (stream.getvalue(), imagecodecs.avif_encode(samples, level=100, bitspersample=bits)):
        assert_like(data, COLOUR, tolerance=6)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_jpeg_xl_of_any_depth(picture: np.ndarray, kind: str) -> None:
    samples = scaled(picture, {"u1": 255, "u2": 65535, "f4": 1}[kind], kind)
    assert_like(imagecodecs.jpegxl_encode(samples, lossless=True), picture)


def test_deep_jpeg_2000_keeps_its_brightness() -> None:
    """But for white itself, which Pillow 13 rounds up to 256, that is 0."""
    for bits in (8, 10, 12, 16):
        for picture in (np.minimum(GREY, 254), np.minimum(COLOUR, 254)):
            samples = scaled(picture, 2**bits - 1, "u1" if bits == 8 else "u2")
            data = imagecodecs.jpeg2k_encode(samples, reversible=True, bitspersample=bits)
            assert_like(data, picture, tolerance=2)
