"""What is drawn on a picture, where, and that any name and any size will do."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from recognition.faces import Box
from recognition.pictures.drawing import INK, KNOWN, UNKNOWN, draw

GREY = 127


def drawn(side: tuple[int, int], *faces: tuple[Box, str | None]) -> np.ndarray:
    picture = np.full((*side, 3), GREY, np.uint8)
    with Image.open(io.BytesIO(draw(picture, faces))) as image:
        assert image.format == "JPEG"
        return np.asarray(image).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int], tolerance: int = 60) -> np.ndarray:
    return np.abs(pixels - colour).max(axis=-1) < tolerance


def test_a_box_stands_where_the_face_is_and_its_name_above_it() -> None:
    seen = drawn((300, 400), (Box(100, 150, 80, 90), "Zoë"))
    green = near(seen, KNOWN)
    assert green[150, 100:180].all() and green[240, 100:180].all()
    assert green[150:240, 100].all() and green[150:240, 180].all()
    assert not near(seen[160:230, 110:170], (GREY, GREY, GREY), 20).sum() < 60 * 60
    name = near(seen[130:148, 100:180], INK)
    assert name.any() and not near(seen, INK)[160:].any()


def test_unknown_faces_have_another_colour_and_no_text() -> None:
    seen = drawn((300, 400), (Box(100, 150, 80, 90), None))
    assert near(seen, UNKNOWN)[150, 100:180].all()
    assert not near(seen, KNOWN).any() and not near(seen, INK).any()


def test_a_picture_without_faces_stays_as_it_is() -> None:
    assert np.abs(drawn((30, 40)) - GREY).max() <= 2  # what JPEG changes of one grey


def test_the_picture_given_is_not_drawn_on() -> None:
    picture = np.full((100, 100, 3), GREY, np.uint8)
    draw(picture, [(Box(10, 10, 50, 50), "x")])
    assert (picture == GREY).all()


@pytest.mark.parametrize("name", ["Müller", "Жданов", "名前", "이름", "שם", "اسم", "Ελένη"])
def test_letters_of_many_scripts_are_not_question_marks(name: str) -> None:
    box = Box(50, 60, 100, 100)
    assert (drawn((200, 300), (box, name)) != drawn((200, 300), (box, "?" * len(name)))).any()


@pytest.mark.parametrize(
    "name", ["", " ", "x" * 1000, "a\nb\tc", "\x01\x7f\u202e", "\U0001f600", "\u0e33" * 50]
)
def test_any_name_is_drawn_somehow(name: str) -> None:
    assert drawn((200, 300), (Box(50, 60, 100, 100), name)).shape == (200, 300, 3)


def test_of_a_long_name_no_more_than_40_letters_are_drawn() -> None:
    told: list[str] = []

    def write(text: str, size: int) -> None:
        told.append(text)

    draw(np.full((200, 300, 3), GREY, np.uint8), [(Box(50, 60, 100, 100), "ש" * 1000)], write)
    assert told == ["ש" * 39 + "…"]
    box = Box(50, 60, 100, 100)
    assert (drawn((200, 300), (box, "i" * 1000)) == drawn((200, 300), (box, "i" * 39 + "…"))).all()


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1, 1), (1, 1)), ((1, 70_000), (1, 4096)), ((70_000, 2), (4096, 1)), ((4096, 30), (4096, 30))],
)
def test_any_size_is_drawn_and_bounded(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert drawn(size, (Box(0, 0, 1, 1), "x")).shape[:2] == expected


def test_boxes_shrink_with_the_picture() -> None:
    seen = drawn((100, 8192), (Box(4096, 20, 2048, 60), None))
    assert near(seen, UNKNOWN)[10, 2048:3072].all()


def test_threads_draw_at_the_same_time() -> None:
    box = Box(50, 60, 100, 100)
    alone = drawn((200, 300), (box, "名前 Zoë"))
    with ThreadPoolExecutor(4) as pool:
        for seen in pool.map(lambda _: drawn((200, 300), (box, "名前 Zoë")), range(40)):
            assert (seen == alone).all()
