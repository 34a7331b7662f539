"""Boxes and names on a picture. Pure: pixels in, a JPEG out."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from recognition.faces import Box

MAX_SIDE_PX = 4096  # phones' photographs keep their size; a JPEG cannot have more than 65,500
QUALITY = 90
TEXT_PER_SIDE = 1 / 45  # height of the letters per longer side of the picture
MIN_TEXT_PX = 12
MAX_LETTERS = 40
KNOWN, UNKNOWN, INK = (0, 200, 83), (255, 160, 0), (0, 0, 0)


def draw(picture: NDArray[np.uint8], faces: Sequence[tuple[Box, str | None]]) -> bytes:
    """Draw a box around each face, and its name above it.

    OpenCV's own fonts have Latin, Greek, Cyrillic, Hebrew, Arabic, Chinese, Japanese and Korean letters; what
    they lack becomes a question mark. Names are cut at MAX_LETTERS, and at the picture's edge.

    Args:
        picture: uint8 (H, W, 3), RGB.
        faces: boxes in its pixels, and the names; None for an unknown face, whose box has another colour.

    Returns:
        A JPEG, of the picture's size, or with MAX_SIDE_PX at its longer side if that is less.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, MAX_SIDE_PX / max(height, width))
    width, height = max(1, round(scale * width)), max(1, round(scale * height))
    canvas = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)  # a copy, if of equal size
    size = max(MIN_TEXT_PX, round(max(height, width) * TEXT_PER_SIDE))
    line, font = max(2, size // 8), cv2.FontFace("sans")
    for box, name in faces:
        colour = UNKNOWN if name is None else KNOWN
        left, top, right, bottom = (
            round(scale * edge) for edge in (box.x, box.y, box.x + box.w, box.y + box.h)
        )
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, line)
        if name is not None:
            text = _one_line(name)
            _, _, wide, _ = cv2.getTextSize((width, height), text, (0, 0), font, size)
            left = max(0, min(left, width - wide - 2 * line))
            top = max(0, top - 3 * size // 2)
            right, bottom = left + wide + 2 * line, top + 3 * size // 2
            cv2.rectangle(canvas, (left, top), (right, bottom), colour, cv2.FILLED)
            cv2.putText(canvas, text, (left + line, top + size + line), INK, font, size)
    encoded: bytes = simplejpeg.encode_jpeg(canvas, quality=QUALITY, colorspace="RGB")
    return encoded


def _one_line(name: str) -> str:
    text = " ".join(name.split())
    return text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 1]}…"
