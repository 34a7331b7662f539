"""Pictures of more than 8 bits a sample to 8 bits, with the brightness that was meant. Pure.

A file of 16 bits may hold values of 10, 12 or 14, as sensors give them, and does not say so. The smallest of
these usual depths that holds the largest value is taken for the one that was meant. That also brightens what
is dark all over, none of whose pixels reaches a quarter of the range; what has one bright pixel stays.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16, 32)
SIGNED_DEPTHS = (8, 10, 12, 14, 15, 16, 31, 32)  # without its sign, a sample has one bit less
OVERSHOT = 2.0  # resampled floats from 0 to 1 go a little beyond; those from 0 to 255 would be black

# TIFF 6.0
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
SAMPLE_FORMAT, SIGNED = 339, 2

PIXELS_AT_ONCE = 1 << 20  # are converted, so that no format needs several copies of a large picture

Part = tuple[int, int, int, int]  # left, top, right, bottom


def parts(size: tuple[int, int]) -> list[Part]:
    """Divide a picture of this width and height into parts of PIXELS_AT_ONCE at most."""
    width, height = size
    columns = min(width, PIXELS_AT_ONCE)
    rows = max(1, PIXELS_AT_ONCE // columns)
    corners = [(left, top) for top in range(0, height, rows) for left in range(0, width, columns)]
    return [(left, top, min(left + columns, width), min(top + rows, height)) for left, top in corners]


# --- grey


def is_deep_grey(image: Image.Image) -> bool:
    """Tell whether a picture has 16 or 32 bits a pixel, which Pillow would clip at 255."""
    return image.mode.startswith(("I", "F"))


def in_native_order(image: Image.Image) -> None:
    """Read an opened TIFF of 32 bits in the processor's order, which libtiff gives and Pillow forgets."""
    raw = _raw_mode(image)
    if raw and image.mode in ("I", "F") and image.tile[0].codec_name == "libtiff":  # type: ignore[attr-defined]
        _set_raw_mode(image, raw.replace("B", "N"))


def grey_parts(image: Image.Image) -> Iterator[tuple[Part, NDArray[np.uint8]]]:
    """Convert such a picture, loaded, in parts: uint8 (h, w)."""
    tags = getattr(image, "tag_v2", {})
    unsigned = image.mode == "I" and tags.get(SAMPLE_FORMAT) not in (None, SIGNED, (SIGNED,))

    def samples(part: Part) -> NDArray[np.float64]:
        values = np.asarray(image.crop(part))
        return (values.view(np.uint32) if unsigned else values).astype(np.float64)

    ranges = [_range(samples(part)) for part in parts(image.size)]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    black, white = black_and_white(low, high, image.mode)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        black, white = white, black
    for part in parts(image.size):
        grey = (samples(part) - black) * (255.0 / (white - black))
        yield part, np.nan_to_num(grey).clip(0, 255).astype(np.uint8)


def _range(samples: NDArray[np.float64]) -> tuple[float, float]:
    samples = samples[np.isfinite(samples)]
    return (float(samples.min()), float(samples.max())) if samples.size else (0.0, 0.0)


def black_and_white(low: float, high: float, mode: str) -> tuple[float, float]:
    """Return the samples that mean black and white.

    low, high: the smallest and the largest sample; mode: Pillow's, of the picture.
    """
    below_zero = low < -high / 2  # signed on purpose; less is what a filter leaves
    if mode == "F" and high < OVERSHOT:
        return (-1.0, 1.0) if below_zero and low >= -OVERSHOT else (0.0, 1.0)
    if below_zero:
        half = next(2.0 ** (bits - 1) for bits in DEPTHS if max(-low, high + 1) <= 2 ** (bits - 1))
        return -half, half - 1
    depths = SIGNED_DEPTHS if mode == "I" else DEPTHS
    return 0.0, next((2.0**bits - 1 for bits in depths if high < 2**bits), high)


# --- colour

# Of a sample of 16 bits Pillow keeps the upper byte. In the other order of bytes it keeps the lower one.
OTHER_BYTE = {"B": "L", "L": "B", "N": "B"}  # N is L on all processors that this runs on
COLOURS = {f"{mode};16{order}" for mode in ("RGB", "RGBX", "RGBA", "CMYK") for order in OTHER_BYTE}
GREY_ALPHA = "LA;16B"  # Pillow has it in RGBA; read as such it is the four bytes of the two samples
LEAST_UPPER_BYTE = 1 << 14 - 8  # from which on it is the depth of 16 bits that is meant


def deep_colour(image: Image.Image) -> str | None:
    """Return how the samples of an opened picture are stored, if they have 16 bits and several colours."""
    raw = _raw_mode(image)
    return raw if raw in COLOURS or raw == GREY_ALPHA else None


def spread_colour(image: Image.Image, raw: str, data: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Scale the colours of a loaded picture if they have fewer than the 16 bits of their samples.

    raw: how they are stored; data: the picture's bytes, of which the lower halves of the samples are read.
    """
    alpha = image.mode == "RGBA"
    colours = len(image.getbands()) - alpha
    upper = np.max([np.asarray(image.crop(part)).max(axis=(0, 1)) for part in parts(image.size)], axis=0)
    if min(upper[:colours].max(), *upper[colours:], 255) >= LEAST_UPPER_BYTE:
        return image
    with Image.open(io.BytesIO(data), formats=formats) as lower:
        _set_raw_mode(lower, "RGBA" if raw == GREY_ALPHA else raw[:-1] + OTHER_BYTE[raw[-1]])
        lower.load()

        def samples(part: Part) -> NDArray[np.uint16]:
            low = np.asarray(lower.crop(part)).astype(np.uint16)
            if raw == GREY_ALPHA:
                grey_and_alpha: NDArray[np.uint16] = low[..., 0::2] << np.uint16(8) | low[..., 1::2]
                return grey_and_alpha[..., [0, 0, 0, 1]]
            return np.asarray(image.crop(part)).astype(np.uint16) << np.uint16(8) | low

        highest = np.max([samples(part).max(axis=(0, 1)) for part in parts(image.size)], axis=0)
        _, white = black_and_white(0, float(highest[:colours].max()), image.mode)
        whites = [white] * colours + [black_and_white(0, float(highest[-1]), image.mode)[1]] * alpha
        scale = 255.0 / np.array(whites)
        spread = Image.new(image.mode, image.size)
        spread.info = {"exif": image.info["exif"]} if "exif" in image.info else {}
        for part in parts(image.size):
            eight = (samples(part) * scale).astype(np.uint8)
            spread.paste(Image.fromarray(eight, image.mode), part)
        return spread


def _raw_mode(image: Image.Image) -> str | None:
    tiles = getattr(image, "tile", ())
    args = tiles[0].args if tiles else None
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) else None


def _set_raw_mode(image: Image.Image, raw: str) -> None:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile in image.tile  # type: ignore[attr-defined]
    ]
