"""Names in many scripts, written with fonts of files: the right letters, in the order they are read in.

The font is DejaVu Sans as matplotlib brings it, so nothing depends on the fonts of the system.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import features

from recognition.faces import Box
from recognition.fonts import HEIGHT, Fonts, find
from recognition.pictures.drawing import draw, legible, no_fonts

pytestmark = pytest.mark.skipif(
    not features.check("raqm"), reason="Pillow's Raqm needs FriBiDi (Debian's package libfribidi0)"
)
FOLDER = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
DEJAVU = FOLDER / "DejaVuSans.ttf"
DISPLAY = FOLDER / "DejaVuSansDisplay.ttf"  # which has few letters, and none of these
SIZE = 30


@pytest.fixture(scope="module")
def fonts() -> Fonts:
    return Fonts([DEJAVU])


def written(fonts: Fonts, text: str) -> np.ndarray:
    ink = fonts.write(text, SIZE)
    assert ink is not None
    assert (ink.dtype, ink.shape[0], ink.any()) == (np.uint8, round(HEIGHT * SIZE), True)
    return ink


def trimmed(ink: np.ndarray) -> np.ndarray:
    columns = np.flatnonzero(ink.any(axis=0))
    return ink[:, columns[0] : columns[-1] + 1]


def ends(ink: np.ndarray, one: np.ndarray) -> tuple[bool, bool]:
    """Whether a text begins, at the left, and ends, at the right, with the letter that was written alone."""
    ink, one = trimmed(ink), trimmed(one)
    width = one.shape[1]
    near = [np.abs(part.astype(int) - one).mean() < 25 for part in (ink[:, :width], ink[:, -width:])]
    return near[0], near[1]


@pytest.mark.parametrize(
    ("name", "first", "last"), [("ראש", "ר", "ש"), ("שלום", "ש", "ם"), ("Bob", "B", "b")]
)
def test_letters_stand_in_the_order_they_are_read_in(fonts: Fonts, name: str, first: str, last: str) -> None:
    expected = (True, False) if name.isascii() else (False, True)
    assert ends(written(fonts, name), written(fonts, first)) == expected
    assert ends(written(fonts, name), written(fonts, last)) == expected[::-1]


def test_arabic_letters_are_joined(fonts: Fonts) -> None:
    joined, apart = (trimmed(written(fonts, text)) for text in ("محمد", "\u200c".join("محمد")))
    assert joined.shape != apart.shape or (joined != apart).any()
    gaps = [(~ink.any(axis=0)).sum() for ink in (joined, apart)]  # columns without ink
    assert gaps[0] < gaps[1]


def test_an_accent_stands_on_its_letter(fonts: Fonts) -> None:
    assert trimmed(written(fonts, "e\u0323\u0302")).shape[1] <= trimmed(written(fonts, "em")).shape[1]


def test_a_letter_that_no_font_has_is_not_written(fonts: Fonts) -> None:
    for text in ("नरेंद्र", "\U0010fffe", "a\U000f0000", "", " ", "\u200d"):
        assert fonts.write(text, SIZE) is None


def test_every_font_is_tried_and_a_text_may_need_several() -> None:
    """STIX and DejaVu Sans: a letter that only one of them has on either side."""
    stix, dejavu = FOLDER / "STIXGeneral.ttf", DEJAVU
    only_stix, only_dejavu = (
        next(
            chr(code)
            for code in range(0x2200, 0x1D7FF)
            if chr(code).isprintable()
            and Fonts([one]).write(chr(code), 10) is not None
            and Fonts([other]).write(chr(code), 10) is None
        )
        for one, other in ((stix, dejavu), (dejavu, stix))
    )
    both = Fonts([DISPLAY, stix, dejavu])
    width = sum(written(both, text).shape[1] for text in (only_stix, only_dejavu))
    assert abs(written(both, only_stix + only_dejavu).shape[1] - width) <= 2


def test_damaged_and_missing_fonts_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    (tmp_path / "cut.ttf").write_bytes(DEJAVU.read_bytes()[:5000])
    broken = [tmp_path / "damaged.ttf", tmp_path / "cut.ttf", tmp_path / "missing.ttf"]
    assert Fonts(broken).write("ראש", SIZE) is None
    assert Fonts([*broken, DEJAVU]).write("ראש", SIZE) is not None


def test_threads_write_at_the_same_time(fonts: Fonts) -> None:
    alone = written(fonts, "ראש محمد Bob")
    with ThreadPoolExecutor(4) as pool:
        for ink in pool.map(lambda _: written(fonts, "ראש محمد Bob"), range(40)):
            assert (ink == alone).all()


def test_plain_fonts_of_a_folder_are_found_and_others_are_not(tmp_path: Path) -> None:
    names = ["NotoSansHebrew-Regular.ttf", "NotoSans-Bold.ttf", "DejaVuSans.ttf", "Zapf.otf", "readme.txt"]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in names:
        (tmp_path / "deep" / "er" / name).touch()
    found = [file.name for file in find([tmp_path, tmp_path / "nowhere"])]
    assert found == ["DejaVuSans.ttf", "NotoSansHebrew-Regular.ttf", "Zapf.otf"]


def test_a_name_that_can_be_drawn_is_and_else_what_finds_it(fonts: Fonts) -> None:
    assert legible(("Zoë", "7", "#1")) == legible(("Zoë", "7", "#1"), fonts.write) == "Zoë"
    assert legible(("ראש", "7", "#1"), no_fonts) == "7"
    assert legible(("ראש", "7", "#1"), fonts.write) == "ראש"
    assert legible(("नरेंद्र", "मोदी", "#1"), fonts.write) == "#1"


def test_the_name_stands_in_its_box_and_leaves_it_nowhere(fonts: Fonts) -> None:
    picture = np.full((100, 60, 3), 127, np.uint8)
    for box in (Box(0, 60, 50, 30), Box(55, 0, 5, 5), Box(-20, 90, 400, 30)):
        assert draw(picture, [(box, "ראש ראש ראש ראש ראש")], fonts.write)
