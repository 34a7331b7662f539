"""JPEG XL for Pillow, by imagecodecs where the extra `jxl` has installed it. ISO/IEC 18181."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageFile

try:
    from imagecodecs import _jpegxl as codec  # the one codec: the package would load each on demand
except ImportError:  # the extra is not installed
    codec = None

FORMAT = "JXL"
CODESTREAM, CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
# 18181-1, SizeHeader: how many bits a side has that is no small multiple of 8, and width : height.
SIDE_BITS = (9, 13, 18, 30)
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))


def register() -> bool:
    """Teach Pillow the format. Returns whether it can be read."""
    if codec is None:
        return False
    Image.register_open(FORMAT, _JpegXLFile, lambda start: start.startswith((CODESTREAM, CONTAINER)))
    return True


class _JpegXLFile(ImageFile.ImageFile):
    format = FORMAT

    def _open(self) -> None:
        assert self.fp is not None
        self._data = self.fp.read()
        self._size, self._mode = stored_size(self._data), "RGB"
        self.tile = [ImageFile._Tile("imagecodecs", (0, 0, *self._size), 0, ())]

    def load(self) -> Any:
        if self.tile:
            # One thread, because there can be no other here, and the first frame. It comes upright already.
            pixels = codec.jpegxl_decode(self._data, index=0, numthreads=1)
            image = Image.fromarray(_eight_bits(pixels))
            self.im, self._mode, self._size, self.tile = image.im, image.mode, image.size, []
        return Image.Image.load(self)


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Scale what libjxl has scaled to the whole range of uint8, uint16 or float, of which 1 is white."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return (pixels >> 8).astype(np.uint8)
    return (np.nan_to_num(pixels.astype(np.float32)).clip(0, 1) * 255).astype(np.uint8)


def stored_size(data: bytes) -> tuple[int, int]:
    """Read width and height from the header, before anything is decoded.

    Raises:
        SyntaxError, as Pillow expects it: there is no header.
    """
    bits = _bits(_codestream(data).removeprefix(CODESTREAM))
    try:
        small = next(bits)
        height = _small_side(bits) if small else _side(bits)
        ratio = _number(bits, 3)
        if ratio:
            across, down = RATIOS[ratio - 1]
            return height * across // down, height
        return (_small_side(bits) if small else _side(bits)), height
    except (StopIteration, RuntimeError) as e:
        raise SyntaxError("JPEG XL without a header") from e


def _codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream: of the file itself, or in its box jxlc or first box jxlp."""
    if data.startswith(CODESTREAM):
        return data[:16]
    place = 0
    while place + 16 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        start = place + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        if name in (b"jxlc", b"jxlp"):
            start += 4 * (name == b"jxlp")  # behind the number of the part
            return data[start : start + 16]
        if size < 8:
            break
        place += size
    raise SyntaxError("JPEG XL without a codestream")


def _bits(data: bytes) -> Iterator[int]:
    return (byte >> bit & 1 for byte in data for bit in range(8))


def _number(bits: Iterator[int], length: int) -> int:
    return sum(next(bits) << place for place in range(length))


def _small_side(bits: Iterator[int]) -> int:
    return 8 * (_number(bits, 5) + 1)


def _side(bits: Iterator[int]) -> int:
    return _number(bits, SIDE_BITS[_number(bits, 2)]) + 1
