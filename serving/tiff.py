"""TIFFs whose samples Pillow has no mode for: colours in floats, 64 bits, signed colours, and so on. Pure.

Scientific programs write these, in strips without compression or with deflate; TIFF 6.0.
"""

from __future__ import annotations

import io
import math
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from serving.depth import PIXELS_AT_ONCE, WHITE_IS_ZERO, black_and_white

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, OFFSETS = 256, 257, 258, 259, 262, 273
ORIENTATION, SAMPLES, COUNTS, PLANAR, PREDICTOR, EXTRA, FORMAT = 274, 277, 279, 284, 317, 338, 339
SUBFILE_TYPE, DNG_VERSION = 254, 50706
NO_COMPRESSION, DEFLATE = 1, (8, 32946)
KINDS = {1: "u", 2: "i", 3: "f"}  # of FORMAT
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}

Tags = TiffImagePlugin.ImageFileDirectory_v2


def size(data: bytes) -> tuple[int, int]:
    """Return width and height, before anything is decoded. Raises whatever a broken TIFF provokes."""
    tags = _tags(data)
    return tags[WIDTH], tags[HEIGHT]


def read(data: bytes) -> Image.Image:
    """Decode the first page to 8 bits, upright but for what its EXIF orientation says.

    Raises:
        ValueError: it is of yet another kind; else whatever a broken TIFF provokes.
    """
    tags = _tags(data)
    photometric = tags.get(PHOTOMETRIC, 1)
    if photometric not in (0, 1, 2) or DNG_VERSION in tags or tags.get(SUBFILE_TYPE, 0) & 1:
        raise ValueError("neither grey nor RGB, or a thumbnail")
    samples = _samples(data, tags)
    number = samples.shape[2]
    alpha = number - (3 if photometric == 2 else 1)
    if alpha not in (0, 1):
        raise ValueError("more samples than colours and alpha")
    eight = np.empty(samples.shape, np.uint8)
    colours = number - alpha
    inverted = photometric == WHITE_IS_ZERO
    _scale(samples[..., :colours], eight[..., :colours], inverted=inverted)
    if alpha:
        _scale(samples[..., colours:], eight[..., colours:], inverted=False)
    image = Image.fromarray(eight[..., 0] if number == 1 else eight, MODES[number])
    image.getexif()[ORIENTATION] = tags.get(ORIENTATION, 1)
    return image


def _tags(data: bytes) -> Tags:
    start = data[:16] if data[2:3] == b"+" or data[3:4] == b"+" else data[:8]
    tags = Tags(start)
    stream = io.BytesIO(data)
    stream.seek(tags.next)
    tags.load(stream)
    return tags


def _samples(data: bytes, tags: Tags) -> NDArray[np.generic]:
    """Return the samples: (height, width, number), of whatever type they have."""
    width, height, number = tags[WIDTH], tags[HEIGHT], tags.get(SAMPLES, 1)
    (bits,) = {*tags.get(BITS, (1,))}
    (kind,) = {*tags.get(FORMAT, (1,))}
    order = "<" if data[:2] == b"II" else ">"
    dtype = np.dtype(f"{order}{KINDS[kind]}{bits // 8}")
    whole = math.prod((width, height, number, dtype.itemsize))
    compression = tags.get(COMPRESSION, NO_COMPRESSION)
    if compression not in (NO_COMPRESSION, *DEFLATE) or tags.get(PREDICTOR, 1) != 1 or bits % 8:
        raise ValueError("compressed in another way")
    content = bytearray()
    for offset, count in zip(tags[OFFSETS], tags[COUNTS], strict=True):
        strip = data[offset : offset + count]
        left = whole - len(content)
        if left <= 0:
            break
        content += zlib.decompressobj().decompress(strip, left) if compression in DEFLATE else strip
    planes = tags.get(PLANAR, 1) == 2
    shape = (number, height, width) if planes else (height, width, number)
    samples = np.frombuffer(content, dtype, math.prod(shape)).reshape(shape)
    return np.moveaxis(samples, 0, -1) if planes else samples


def _scale(samples: NDArray[np.generic], eight: NDArray[np.uint8], *, inverted: bool) -> None:
    """Scale samples (h, w, n) of any type into uint8 of the same shape."""
    rows = max(1, PIXELS_AT_ONCE // samples.shape[1])
    chunks = [slice(top, top + rows) for top in range(0, len(samples), rows)]
    mode = "F" if samples.dtype.kind == "f" else "I" if samples.dtype.kind == "i" else "I;16"

    def values(chunk: slice) -> NDArray[np.float64]:
        return np.nan_to_num(samples[chunk].astype(np.float64), posinf=0, neginf=0)

    low, high = min(values(chunk).min() for chunk in chunks), max(values(chunk).max() for chunk in chunks)
    black, white = black_and_white(float(low), float(high), mode)
    black, white = (white, black) if inverted else (black, white)
    for chunk in chunks:
        eight[chunk] = ((values(chunk) - black) * (255.0 / (white - black))).clip(0, 255).astype(np.uint8)
