"""Icons: the largest picture counts, whichever way it is stored, and none is larger than it says."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from hostile_pictures import png
from serving.errors import ImageTooLarge, InvalidImage
from serving.icons import ENTRY, HEAD
from serving.pictures import decode

LIMIT = 100_000


def bitmap(colour: str, side: int) -> bytes:
    """A picture as it lies in an icon."""
    stream = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(stream, "ICO", sizes=[(side, side)], bitmap_format="bmp")
    return stream.getvalue()[HEAD.size + ENTRY.size :]


def icon(*pictures: tuple[int, int, int, bytes]) -> bytes:
    """An icon of pictures: width, height and bits a pixel that it says of each, and its bytes."""
    data, body = b"", b""
    start = HEAD.size + len(pictures) * ENTRY.size
    for width, height, bits, picture in pictures:
        data += ENTRY.pack(width % 256, height % 256, 0, 0, 1, bits, len(picture), start + len(body))
        body += picture
    return HEAD.pack(0, 1, len(pictures)) + data + body


def colour_of(data: bytes) -> tuple[tuple[int, ...], list[int]]:
    pixels = decode(data, LIMIT).pixels
    return pixels.shape, pixels[len(pixels) // 2, len(pixels) // 2].tolist()


def test_the_largest_picture_counts_and_of_equal_ones_that_with_most_colours() -> None:
    small, large, equal = (
        (16, 16, 24, bitmap("red", 16)),
        (32, 32, 24, bitmap("lime", 32)),
        bitmap("blue", 32),
    )
    assert colour_of(icon(small, large)) == ((32, 32, 3), [0, 255, 0])
    assert colour_of(icon(large, small)) == ((32, 32, 3), [0, 255, 0])
    assert colour_of(icon((32, 32, 8, equal), large)) == ((32, 32, 3), [0, 255, 0])


def test_a_png_in_an_icon_is_a_png() -> None:
    stream = io.BytesIO()
    Image.new("RGBA", (256, 256), (255, 0, 0, 0)).save(stream, "PNG")
    assert colour_of(icon((256, 256, 32, stream.getvalue()))) == ((256, 256, 3), [255, 255, 255])


def test_a_mask_becomes_white() -> None:
    side, noise = 48, np.random.default_rng(1).integers(0, 256, (48, 48, 4), np.uint8)
    noise[: side // 2, :, 3], noise[side // 2 :, :, 3] = 255, 0
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "ICO", sizes=[(side, side)], bitmap_format="bmp")
    pixels = decode(stream.getvalue(), LIMIT).pixels
    assert (pixels[: side // 2] == noise[: side // 2, :, :3]).all()
    assert (pixels[side // 2 :] == 255).all()


def test_a_large_png_is_refused_before_it_is_decoded_whatever_its_icon_says() -> None:
    with pytest.raises(ImageTooLarge):
        decode(icon((16, 16, 32, png(50_000, 50_000, data=b""))), LIMIT)


BROKEN = {
    "no picture": icon(),
    "a bitmap of another size": icon((64, 64, 24, bitmap("red", 16))),
    "a bitmap that claims to be large": icon(
        (16, 16, 24, struct.pack("<Iii", 40, 60_000, 60_000) + bytes(28))
    ),
    "an icon in an icon": icon((16, 16, 24, icon((16, 16, 24, bitmap("red", 16))))),
    "itself": HEAD.pack(0, 1, 1) + ENTRY.pack(16, 16, 0, 0, 1, 24, 22, 0),
    "an entry beyond the end": HEAD.pack(0, 1, 1) + ENTRY.pack(16, 16, 0, 0, 1, 24, 2**32 - 1, 2**32 - 1),
    "entries cut off": HEAD.pack(0, 1, 65_535),
    "a bitmap cut off": icon((16, 16, 24, bitmap("red", 16)))[:200],
    "something else": icon((16, 16, 24, b"GIF89a" + bytes(100))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_icons_are_refused(name: str) -> None:
    with pytest.raises(InvalidImage, match="this ICO is damaged"):
        decode(BROKEN[name], LIMIT)
