"""Boxes and names on a picture. Pure: pixels in, a JPEG out."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache

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
RIGHT_TO_LEFT = ("R", "AL", "AN")
KNOWN, UNKNOWN, INK = (0, 200, 83), (255, 160, 0), (0, 0, 0)


# Draws a text in letters of a size in pixels: uint8 (h, w), 255 where there is ink; None: it cannot be drawn.
Write = Callable[[str, int], NDArray[np.uint8] | None]


def no_fonts(text: str, size: int) -> None:
    """Draw nothing: OpenCV's fonts are all there are."""


def draw(
    picture: NDArray[np.uint8], faces: Sequence[tuple[Box, str | None]], write: Write = no_fonts
) -> bytes:
    """Draw a box around each face, and its name above it.

    OpenCV's own fonts have Latin, Greek, Cyrillic, Chinese, Japanese and Korean letters. `write` draws other
    names; a letter that neither has becomes a question mark, so see `legible`. Names are cut at MAX_LETTERS,
    and at the picture's edge.

    Args:
        picture: uint8 (H, W, 3), RGB.
        faces: boxes in its pixels, and the names; None for an unknown face, whose box has another colour.
        write: see `Write`.

    Returns:
        A JPEG, of the picture's size, or with MAX_SIDE_PX at its longer side if that is less.
    """
    height, width = picture.shape[:2]
    scale = min(1.0, MAX_SIDE_PX / max(height, width))
    width, height = max(1, round(scale * width)), max(1, round(scale * height))
    # A copy, if of equal size.
    canvas = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)
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
            ink = None if _is_opencvs(text) else write(text, size)
            if ink is None:
                _, _, wide, _ = cv2.getTextSize((width, height), text, (0, 0), font, size)
            else:
                wide = ink.shape[1]
            left = max(0, min(left, width - wide - 2 * line))
            top = max(0, top - 3 * size // 2)
            right, bottom = left + wide + 2 * line, top + 3 * size // 2
            cv2.rectangle(canvas, (left, top), (right, bottom), colour, cv2.FILLED)
            if ink is None:
                cv2.putText(canvas, text, (left + line, top + size + line), INK, font, size)
            else:
                _blend(canvas[top:bottom, left + line :], ink)
    encoded: bytes = simplejpeg.encode_jpeg(canvas, quality=QUALITY, colorspace="RGB")
    return encoded


def legible(texts: Sequence[str], write: Write = no_fonts) -> str:
    """Return the first of some texts of which every letter can be drawn, or the last."""
    return next((text for text in texts[:-1] if _can_be_drawn(_one_line(text), write)), texts[-1])


def _can_be_drawn(text: str, write: Write) -> bool:
    return _is_opencvs(text) or write(text, MIN_TEXT_PX) is not None


def _is_opencvs(text: str) -> bool:
    """Tell whether OpenCV's fonts have all letters, one after the other from left to right, and no marks."""
    return text.isascii() or all(map(_is_opencvs_letter, text))


@lru_cache(maxsize=4096)
def _is_opencvs_letter(letter: str) -> bool:
    if letter == "?" or letter.isspace():
        return True
    if unicodedata.category(letter)[0] in "MC" or unicodedata.bidirectional(letter) in RIGHT_TO_LEFT:
        return False
    drawn, mark = np.zeros((40, 80, 3), np.uint8), np.zeros((40, 80, 3), np.uint8)
    cv2.putText(drawn, letter, (4, 30), (255, 255, 255), cv2.FontFace("sans"), 20)
    cv2.putText(mark, "?", (4, 30), (255, 255, 255), cv2.FontFace("sans"), 20)
    return bool(drawn.any()) and not (drawn == mark).all()


def _blend(canvas: NDArray[np.uint8], ink: NDArray[np.uint8]) -> None:
    """Draw ink, 255 where it covers, on a part of the picture from its upper left corner on."""
    height, width = (min(sides) for sides in zip(canvas.shape[:2], ink.shape, strict=True))
    part, cover = canvas[:height, :width], ink[:height, :width, np.newaxis] / 255
    part[:] = np.rint(part * (1 - cover) + np.array(INK) * cover)


def _one_line(name: str) -> str:
    text = " ".join(name.split())
    return text if len(text) <= MAX_LETTERS else f"{text[: MAX_LETTERS - 1]}…"
