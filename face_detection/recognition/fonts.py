"""The system's fonts: they write names for which OpenCV's own fonts lack the letters or the rules."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import groupby, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, features

PLACES = tuple(
    map(
        Path,
        ("/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts"),
    )
)
SUFFIXES = {".ttf", ".otf", ".ttc"}
MAX_FILES = 20_000  # looked at, in the folders of fonts
MAX_FONTS = 500  # kept: Noto has some 250 upright sans and serif ones
STYLES = ("bold", "italic", "oblique", "black", "light", "thin", "condensed", "mono", "medium", "display")
FIRST = ("dejavusans", "notosans", "noto")  # upright ones of these come before others, in this order
HEIGHT, BASELINE = 1.5, 1.125  # of the line and below its upper edge, per size of the letters
PROBE_PX = 16
NOBODY = "\U0010ffff"  # a noncharacter, which no font has: it looks as all do that a font lacks


def find(places: Iterable[Path] = PLACES) -> list[Path]:
    """List the system's fonts, those that are to be tried first in front; no font is opened."""
    files = islice((file for place in places for file in place.rglob("*")), MAX_FILES)
    fonts = [
        file
        for file in files
        if file.suffix.lower() in SUFFIXES and not any(style in file.stem.lower() for style in STYLES)
    ]

    def rank(file: Path) -> tuple[int, int, str]:
        stem = file.stem.lower()
        family = next((place for place, name in enumerate(FIRST) if stem.startswith(name)), len(FIRST))
        return family, len(stem), stem  # NotoSans before NotoSansHebrew

    return sorted(fonts, key=rank)[:MAX_FONTS]


class Fonts:
    """Writes texts, each of its letters in the first font that has it. Threads take turns.

    Needs Pillow's Raqm, which needs the library FriBiDi: without it letters would stand in the wrong order.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Take the fonts of `find`; each is opened when it is needed."""
        self._files = list(files) if features.check("raqm") else []
        self._lock = threading.Lock()
        self._opened = lru_cache(maxsize=64)(self._open)
        self._probe = lru_cache(maxsize=MAX_FONTS)(self._open_probe)
        self._first_with = lru_cache(maxsize=4096)(self._search)
        self._has = lru_cache(maxsize=65536)(self._looks_drawn)

    def write(self, text: str, size: int) -> NDArray[np.uint8] | None:
        """Draw a text on one line, in the order in which its scripts are read.

        Args:
            text: without line breaks.
            size: of the letters, in pixels.

        Returns:
            uint8 (round(HEIGHT * size), W): 255 where there is ink, 0 where there is none; None: no font has
            one of its letters.
        """
        with self._lock:
            runs = self._runs(text)
            if not runs:
                return None
            height = round(HEIGHT * size)
            tops, bottoms = zip(*(self._extent(file, run, size) for file, run in runs), strict=True)
            top, bottom = min(tops), max(bottoms)
            if (tall := bottom - top) > height:  # as vowels above and below make it
                size, top = max(1, size * height // tall), top * height // tall
                baseline = -top
            else:
                baseline = min(max(round(BASELINE * size), -top), height - bottom)
            fonts = [self._opened(file, size) for file, _ in runs]
            widths = [font.getlength(run) for font, (_, run) in zip(fonts, runs, strict=True)]
            line = Image.new("L", (max(1, round(sum(widths)) + 1), height))
            draw, x = ImageDraw.Draw(line), 0.0
            for font, width, (_, run) in zip(fonts, widths, runs, strict=True):
                draw.text((round(x), baseline), run, font=font, fill=255, anchor="ls")
                x += width
            return np.asarray(line)

    def _runs(self, text: str) -> list[tuple[Path, str]]:
        """Cut a text into runs of one font each, from left to right as they are drawn; empty: none has all.

        Within a run Raqm orders the letters, by the Unicode Bidirectional Algorithm. Between runs it is done
        here for what names have: stretches of one direction, in the direction of the first letter.
        """
        letters = [character for character in text if _is_seen(character)]
        firsts = [self._first_with(character) for character in letters]
        if not letters or None in firsts:
            return []
        for file in dict.fromkeys(firsts):
            if file is not None and all(self._has(file, character) for character in letters):
                return [(file, text)]
        cut: list[tuple[Path | None, bool | None, str]] = []
        for character in text:
            file = self._first_with(character) if _is_seen(character) else None
            leads = _is_right_to_left(character)
            if cut and (file is None or unicodedata.combining(character)):
                cut[-1] = (*cut[-1][:2], cut[-1][2] + character)
            else:
                cut.append((file, leads, character))
        base = next((leads for _, leads, _ in cut if leads is not None), False)
        directed: list[tuple[Path | None, bool, str]] = []
        for file, leads, part in cut:
            direction = leads if leads is not None else (directed[-1][1] if directed else base)
            directed.append((file, direction, part))
        stretches: list[list[tuple[Path, str]]] = []
        for right_to_left, stretch in groupby(directed, key=lambda item: item[1]):
            runs = [
                (file, "".join(part for *_, part in same))
                for file, same in groupby(stretch, key=lambda item: item[0])
                if file is not None
            ]
            stretches.append(runs[::-1] if right_to_left else runs)
        return [run for stretch in (stretches[::-1] if base else stretches) for run in stretch]

    def _extent(self, file: Path, text: str, size: int) -> tuple[int, int]:
        """Return how far a text reaches above and below the baseline, in pixels downwards."""
        _, top, _, bottom = self._opened(file, size).getbbox(text, anchor="ls")
        return int(top), int(bottom)

    def _search(self, character: str) -> Path | None:
        return next((file for file in self._files if self._has(file, character)), None)

    def _looks_drawn(self, file: Path, character: str) -> bool:
        """Tell whether a font has a letter: what it lacks looks like what no font has."""
        try:
            font, lacking = self._probe(file)
            drawn = font.getmask(character)
        except OSError:  # no font, or a damaged one
            return False
        return bool(drawn.getbbox()) and (drawn.size, bytes(drawn)) != lacking

    def _open_probe(self, file: Path) -> tuple[ImageFont.FreeTypeFont, tuple[tuple[int, int], bytes]]:
        font = ImageFont.truetype(file, PROBE_PX, layout_engine=ImageFont.Layout.BASIC)
        lacking = font.getmask(NOBODY)
        return font, (lacking.size, bytes(lacking))

    def _open(self, file: Path, size: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.RAQM)


def _is_seen(character: str) -> bool:
    return not character.isspace() and unicodedata.category(character) != "Cf"


def _is_right_to_left(character: str) -> bool | None:
    """Return a letter's direction; None: it has that of what it stands beside."""
    kind = unicodedata.bidirectional(character)
    return True if kind in ("R", "AL") else False if kind == "L" else None
