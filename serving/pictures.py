"""Bytes to upright pixels: picture formats, orientation, colour. Pure; sandbox_process.py runs it."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from serving import depth, formats, icons, readers, tiff, truncated
from serving.errors import ImageTooLarge, InvalidImage
from serving.remarks import DAMAGED, TRUNCATED, Picture, Remark

# EXIF 2.32, tag 0x0112: how the upright picture is to be turned so that it lies as it is stored.
ORIENTATION_TAG = 0x0112
STORED: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}
TURNED = (5, 6, 7, 8)  # the longer side upright is not the longer side stored

TOO_LARGE = "The picture has more than {} pixels."
CUT_SHORT = "The picture cannot be read: its data ends too early, and less than half of it is there."
CAMERA_RAW = "The picture cannot be read: it is a camera's raw picture (DNG, NEF, ARW or the like)."
REFUSALS = (CUT_SHORT, CAMERA_RAW)  # that only the decoder can tell; formats.unreadable has the others

# TIFF 6.0 and DNG 1.7: a raw picture begins with its thumbnail.
SUBFILE_TYPE, REDUCED, SUB_IFDS, DNG_VERSION = 254, 1, 330, 50706
MAX_PAGES = 16  # in which the first is looked for that is no thumbnail

Array = Callable[[int, int], NDArray[np.uint8]]


def _array(height: int, width: int) -> NDArray[np.uint8]:
    return np.empty((height, width, 3), dtype=np.uint8)


def decode(data: bytes, max_pixels: int, array: Array = _array) -> Picture:
    """Decode a picture and stand it upright.

    JPEG, PNG, WebP, BMP, TIFF, JPEG 2000, JPEG XL where its extra is installed, the first or primary picture
    of a GIF, AVIF or HEIF, and the largest of an ICO. Grey, palette, CMYK, deep and alpha pictures become
    8-bit RGB; transparent parts become white. What ends too early is decoded and remarked if half of it is
    there.

    Args:
        data: the encoded picture.
        max_pixels: width x height at most.
        array: makes the result's array of a height and a width: uint8 (height, width, 3), contiguous.

    Raises:
        ImageTooLarge: its header claims more than `max_pixels` pixels; nothing has been decoded then.
        InvalidImage: it cannot be read.
    """
    try:
        return _decode(data, max_pixels, array)
    except (ImageTooLarge, InvalidImage):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as e:
        raise ImageTooLarge(TOO_LARGE.format(max_pixels)) from e
    except truncated.TooLittle as e:
        raise InvalidImage(CUT_SHORT) from e
    except Exception as e:
        # Decoders raise whatever hostile bytes provoke: OSError, SyntaxError, struct.error, ...
        raise InvalidImage(formats.unreadable(data)) from e


def _decode(data: bytes, max_pixels: int, array: Array) -> Picture:
    if data.startswith(icons.START):
        data = icons.largest(data)
    tried = readers.formats_for(data)
    try:
        opened = Image.open(io.BytesIO(data), formats=tried)
    except UnidentifiedImageError:
        if formats.picture_format(data) != "TIFF":
            raise
        return _decode_rare_tiff(data, max_pixels, array)
    with opened as image:
        if image.format == "TIFF":
            _skip_thumbnail(image, data)
        _check_size(image.size, max_pixels)
        if image.format in ("JPEG", "MPO"):
            return _decode_jpeg(data, image, array)
        turned = _turned_by_pillow(image)
        loaded, remarks = _loaded(data, image, tried)
        _check_size(loaded.size, max_pixels)  # that of a HEIF may have been a lie
        upright, stored, orientation = _frame(loaded, array)
        _fill(stored, loaded)
        return Picture(upright, remarks, turned if turned in STORED else orientation)


def _turned_by_pillow(image: Image.Image) -> int | None:
    """Tell the orientation of an opened TIFF, which Pillow forgets once it has turned it; None of others."""
    return image.tag_v2.get(ORIENTATION_TAG) if image.format == "TIFF" else None  # type: ignore[attr-defined]


def _decode_rare_tiff(data: bytes, max_pixels: int, array: Array) -> Picture:
    _check_size(tiff.size(data), max_pixels)
    image = tiff.read(data)
    upright, stored, orientation = _frame(image, array)
    _fill(stored, image)
    return Picture(upright, orientation=orientation)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    if math.prod(size) > max_pixels:
        raise ImageTooLarge(TOO_LARGE.format(max_pixels))


def _skip_thumbnail(image: Image.Image, data: bytes) -> None:
    """Turn to the first page of a TIFF that is no thumbnail.

    Raises:
        InvalidImage: it is a camera's raw picture, of which only the thumbnail can be read.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    if formats.picture_format(data) is None:
        raise InvalidImage(formats.unreadable(data))
    is_raw = DNG_VERSION in tags or SUB_IFDS in tags
    page = 0
    while not is_raw and tags.get(SUBFILE_TYPE, 0) & REDUCED and page < MAX_PAGES:
        page += 1
        try:
            image.seek(page)
        except EOFError:  # all are said to be thumbnails, which cannot be
            image.seek(0)
            return
    if is_raw and (DNG_VERSION in tags or tags.get(SUBFILE_TYPE, 0) & REDUCED):
        raise InvalidImage(CAMERA_RAW)


def _frame(image: Image.Image, array: Array) -> tuple[NDArray[np.uint8], NDArray[np.uint8], int]:
    """Make the result's array, a view of it that is turned as the picture is stored, and tell how it is."""
    orientation = _orientation(image)
    width, height = reversed(image.size) if orientation in TURNED else image.size
    upright = array(height, width)
    if orientation is None or orientation not in STORED:
        return upright, upright, 1
    return upright, STORED[orientation](upright), orientation


# --- JPEG

# What libjpeg warns of, in its words.
MISSING, CORRUPT, HARMLESS = "remature end", "Corrupt JPEG data", "extraneous bytes"
NOT_PLAIN = "not plain"


def _decode_jpeg(data: bytes, image: Image.Image, array: Array) -> Picture:
    upright, stored, orientation = _frame(image, array)
    fault = _read_jpeg(data, stored) if image.mode in ("RGB", "L") else NOT_PLAIN
    if not fault:
        return Picture(upright, orientation=orientation)
    remarks = (DAMAGED,) if fault.startswith(CORRUPT) and HARMLESS not in fault else ()
    try:
        if MISSING in fault:
            raise OSError(fault)
        image.load()
    except OSError:  # it ends too early
        image = Image.open(io.BytesIO(truncated.whole_jpeg(data)), formats=readers.JPEG)
        remarks = (TRUNCATED,)
    _fill(stored, image)
    return Picture(upright, remarks, orientation)


def _read_jpeg(data: bytes, stored: NDArray[np.uint8]) -> str:
    """Decode a plain JPEG into `stored`: the same pixels as Pillow, in a third of the time.

    Returns why it could not, or an empty text; simplejpeg is stricter than Pillow, which has the last word.
    """
    buffer = stored if stored.flags.c_contiguous else np.empty(stored.shape, dtype=np.uint8)
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", buffer=buffer)
    except ValueError as e:
        return str(e) or NOT_PLAIN
    if pixels.shape != stored.shape:
        return NOT_PLAIN
    if buffer is not stored:
        _set(stored, buffer)
    return ""


# --- other formats

# ISO 23008-12, 6.5.10 and 6.5.12: how a HEIF is turned, which libheif does; EXIF has no say then. Programs
# that just copy EXIF forget these; what it says is right then.
TURNING_BOXES = b"irot", b"imir"


def _loaded(
    data: bytes, image: ImageFile.ImageFile, tried: tuple[str, ...]
) -> tuple[Image.Image, tuple[Remark, ...]]:
    """Decode an opened picture that is no JPEG."""
    depth.in_native_order(image)
    raw = depth.deep_colour(image)
    share = truncated.share_of_boxes(data) if image.format == "HEIF" else 1.0
    if share < truncated.ENOUGH:
        raise truncated.TooLittle
    try:
        image.load()
    except OSError as e:
        if not str(e).startswith("image file is truncated"):
            raise
        return truncated.load(data, image.tell(), tried), (TRUNCATED,)
    remarks = (TRUNCATED,) if share < 1 else ()
    if image.format == "HEIF" and not any(box in data for box in TURNING_BOXES):
        image.getexif()[ORIENTATION_TAG] = image.info.get("original_orientation") or 1
    return depth.spread_colour(image, raw, data, tried) if raw else image, remarks


def _fill(stored: NDArray[np.uint8], image: Image.Image) -> None:
    """Convert a loaded picture to RGB, part by part, so that none needs several copies of a large picture."""
    if depth.is_deep_grey(image):
        for (left, top, right, bottom), grey in depth.grey_parts(image):
            _set(stored[top:bottom, left:right], np.repeat(grey[:, :, np.newaxis], 3, axis=2))
        return
    for part in depth.parts(image.size):
        left, top, right, bottom = part
        _set(stored[top:bottom, left:right], _rgb(image.crop(part)))


def _set(target: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
    """Copy uint8 (H, W, 3), pixel by pixel rather than byte by byte: half the time where it turns them."""
    target.view("V3")[..., 0] = pixels.view("V3")[..., 0]


def _orientation(image: Image.Image) -> int | None:
    try:
        orientation = image.getexif().get(ORIENTATION_TAG)  # Pillow itself turns a TIFF
    except Exception:  # a picture with a broken EXIF block is still a picture
        return None
    return orientation if isinstance(orientation, int) else None


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return np.asarray(image.convert("RGB"))
