"""Pictures that end too early: how much of one is there, and what there is. Pure.

Half of a picture shows whether a face is on it, and its upper half often has one; less is refused, so that
nothing blank passes for a picture. What counts is rows and pixels, not bytes, where the decoder can tell.
What is merely wrong in the middle is not told apart: most damage to a JPEG still decodes to something.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from serving.depth import parts

ENOUGH = 0.5  # of the picture
PIXELS_PER_BYTE = (
    64  # at most; no photograph is compressed that much, and no memory is spent on what claims it
)
END_OF_IMAGE = b"\xff\xd9"  # JPEG, ITU-T T.81, table B.1
START_OF_SCAN, START_OF_FRAMES = 0xDA, {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd9\xff]")  # with a length: no padding, restart, or data of a scan
COEFFICIENTS = 64  # of a block of 8 x 8 pixels
LAST_BIT = 1  # whose lack nobody sees: a coefficient is off by one step of its quantisation


class TooLittle(ValueError):
    """Less than half of the picture is there."""


@dataclass(frozen=True, slots=True)
class _Scan:
    """One pass of a JPEG over its blocks.

    start: where its header begins; data: where its data does.
    components: ids; first, last: of the coefficients; low: the lowest bit of them that it brings.
    """

    start: int
    data: int
    components: bytes
    first: int
    last: int
    low: int


def whole_jpeg(data: bytes) -> bytes:
    """Return a truncated JPEG with an end, if enough of it is there; what is missing becomes grey.

    Baseline: enough rows. Progressive: in enough rows the luminance lacks its last bits at most. That is when
    the last rows that its last scan has changed lie low enough.

    Raises:
        TooLittle: less is there.
    """
    data = data.removesuffix(END_OF_IMAGE)
    luminance, scans = _scans(data)
    *complete, last = scans
    lowest = [COEFFICIENTS] * COEFFICIENTS
    for scan in complete:
        _note(scan, luminance, lowest)
    if max(lowest) > LAST_BIT:
        _note(last, luminance, lowest)
        if max(lowest) > LAST_BIT or _changed(data, last.data) < ENOUGH:
            raise TooLittle
    return data + END_OF_IMAGE


def _note(scan: _Scan, luminance: int, lowest: list[int]) -> None:
    if luminance in scan.components:
        lowest[scan.first : scan.last + 1] = [scan.low] * (scan.last + 1 - scan.first)


def _changed(data: bytes, end: int) -> float:
    """Tell down to which share of the height what stands behind `end` changes the picture."""
    before, after = (_grey(part + END_OF_IMAGE) for part in (data[:end], data))
    rows = np.flatnonzero((before != after).any(axis=1))
    return float(rows[-1] + 1) / len(after) if len(rows) else 0.0


def _grey(data: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
        image.draft("L", None)
        return np.asarray(image.convert("L"))


def _scans(data: bytes) -> tuple[int, list[_Scan]]:
    """Return the id of the first component, which is the luminance, and all scans.

    Raises:
        TooLittle: there is no scan.
    """
    luminance, scans = -1, []
    for marker, start, body in _segments(data):
        if marker in START_OF_FRAMES:
            height, width = struct.unpack_from(">HH", body, 1)
            _check_density(data, width, height)
            luminance = body[6]
        if marker == START_OF_SCAN:
            number = body[0]
            first, last, bits = body[1 + 2 * number : 4 + 2 * number]
            ids = bytes(body[1 : 1 + 2 * number : 2])
            behind = start + 4 + len(body)
            scans.append(_Scan(start, behind, ids, first, min(last, COEFFICIENTS - 1), bits & 15))
    if not scans:
        raise TooLittle
    return luminance, scans


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield marker, place and content of the segments of a JPEG, as far as they are complete."""
    place = 2
    while (found := MARKER.search(data, place)) and found.end() + 2 <= len(data):
        (length,) = struct.unpack_from(">H", data, found.end())
        place = found.end() + length
        if place > len(data):
            return
        yield data[found.start() + 1], found.start(), data[found.end() + 2 : place]


def load(data: bytes, page: int, formats: tuple[str, ...]) -> Image.Image:
    """Decode what is there of a picture, no JPEG, whose data ends too early; what is missing stays black.

    It is decoded twice, upon black and upon white: what differs is missing.

    Raises:
        TooLittle: less than half of it is there; ValueError: its decoder cannot tell.
    """
    black, white = (Image.open(io.BytesIO(data), formats=formats) for _ in range(2))
    _check_density(data, *black.size)
    for picture in (black, white):
        picture.seek(page)
    image, other = _load_upon(black, 0), _load_upon(white, 255)
    if sum(_missing(image, other)) > (1 - ENOUGH) * image.width * image.height:
        raise TooLittle
    return image


def _check_density(data: bytes, width: int, height: int) -> None:
    if len(data) * PIXELS_PER_BYTE < width * height:
        raise TooLittle


def _load_upon(image: ImageFile.ImageFile, shade: int) -> Image.Image:
    size = getattr(image, "_tile_size", image.size)  # a TIFF says how large it will be once it is upright
    image.im = canvas = Image.new(image.mode, size, (shade,) * len(image.getbands())).im
    with suppress(OSError):
        image.load()
    if image.im is not canvas:
        raise ValueError("what is missing cannot be told from what is there")
    image.tile = []  # it is loaded
    loaded = image.crop((0, 0, *size))
    with suppress(Exception):  # a picture with a broken EXIF block is still a picture
        loaded.getexif().update(image.getexif())
    return loaded


def _missing(image: Image.Image, other: Image.Image) -> Iterator[int]:
    for part in parts(image.size):
        differs = np.asarray(image.crop(part)) != np.asarray(other.crop(part))
        yield int(np.count_nonzero(differs if differs.ndim == 2 else differs.any(axis=2)))


def share_of_boxes(data: bytes) -> float:
    """Return which share of an ISO media file's (14496-12) last box is there, by its bytes.

    A HEIF of several tiles, as telephones make them, is decoded even if the last of them are missing, and
    lacks them silently. Its tiles stand one after the other in its last box.
    """
    place = 0
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4])
        if size == 1 and place + 16 <= len(data):
            size = int.from_bytes(data[place + 8 : place + 16])
        if size < 8:  # 0: up to the end of the file
            break
        if place + size > len(data):
            return (len(data) - place) / size
        place += size
    return 1.0
