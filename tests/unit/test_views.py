"""Detectors made of detectors: turned pictures, shrunk ones, and tiles, around detectors that see marks."""

from __future__ import annotations

import math
from itertools import product

import cv2
import numpy as np
import pytest

from recognition.detector.views import mirrored, shrinking, tiled, toned, turned
from recognition.faces import Box, Face
from recognition.pictures.crops import crop_faces

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]  # of the five landmarks
PLACES = [(30, 40), (70, 44), (50, 60), (34, 82), (66, 84)]
NONE = np.full((5, 2), np.nan, np.float32)


def a_face() -> np.ndarray:
    """A picture, 160 x 120, of five coloured marks, 3 x 3 px each."""
    picture = np.zeros((160, 120, 3), np.uint8)
    for (x, y), colour in zip(PLACES, COLOURS, strict=True):
        picture[y - 1 : y + 2, x - 1 : x + 2] = colour
    return picture


def marks(picture: np.ndarray) -> list[Face]:
    """A detector that finds a face where its marks stand upright, landmarks as corners of the pixels."""
    points = []
    for colour in COLOURS:
        rows, columns = np.nonzero((picture == colour).all(axis=2))
        points.append((columns.mean() + 0.5, rows.mean() + 0.5))
    landmarks = np.array(points, np.float32)
    if not (landmarks[0, 0] < landmarks[1, 0] and landmarks[:2, 1].max() < landmarks[3:, 1].min()):
        return []
    (x, y), (right, bottom) = landmarks.min(axis=0).tolist(), landmarks.max(axis=0).tolist()
    return [Face(Box(x, y, right - x, bottom - y), 0.999, landmarks)]


def squares(smallest: int, largest: int = 10_000) -> tuple[list[tuple[int, ...]], object]:
    """A detector of white squares with sides in a range, and the shapes of what it was given."""
    seen: list[tuple[int, ...]] = []

    def detect(picture: np.ndarray) -> list[Face]:
        seen.append(picture.shape[:2])
        white = (picture[..., 0] > 127).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(white, connectivity=4)
        return [
            Face(Box(*map(float, (x, y, w, h))), 0.9 + min(w, 100) / 1001, NONE)
            for x, y, w, h, _ in stats[1:].tolist()
            if smallest <= max(w, h) <= largest
        ]

    return seen, detect


def boxes(faces: list[Face]) -> list[tuple[int, ...]]:
    return sorted((round(f.box.x), round(f.box.y), round(f.box.w), round(f.box.h)) for f in faces)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_what_is_found_in_a_turned_picture_lies_in_the_picture_as_sent(quarters: int) -> None:
    upright = a_face()
    (expected,) = marks(upright)
    sent = np.rot90(upright, -quarters)
    assert (quarters == 0) == bool(marks(sent))
    (face,) = turned(marks, quarters)(sent)
    for (x, y), colour in zip(face.landmarks, COLOURS, strict=True):
        assert tuple(sent[int(y), int(x)]) == colour
    assert face.quarters == quarters
    assert face.landmarks.dtype == np.float32
    low, high = face.landmarks.min(axis=0), face.landmarks.max(axis=0)
    assert (face.box.x, face.box.y) == tuple(low)
    assert (face.box.x + face.box.w, face.box.y + face.box.h) == tuple(high)
    (crop,), (upright_crop,) = crop_faces(sent, [face], 160), crop_faces(upright, [expected], 160)
    np.testing.assert_allclose(crop, upright_crop, atol=3)


def test_what_is_found_in_the_mirror_lies_in_the_picture_as_sent() -> None:
    picture = a_face()
    swapped = [1, 0, 2, 4, 3]
    sent = picture.copy()
    for place, number in zip(
        PLACES, swapped, strict=True
    ):  # what is left in the picture is right in the mirror
        x, y = place
        sent[y - 1 : y + 2, x - 1 : x + 2] = COLOURS[number]
    (expected,), (face,) = marks(picture), mirrored(marks)(sent)
    np.testing.assert_array_equal(face.landmarks, expected.landmarks)
    assert face.box == expected.box


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_face_without_landmarks_is_cut_out_upright(quarters: int) -> None:
    upright = cv2.resize(np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8), (160, 160))
    sent = np.rot90(upright, -quarters)
    face = Face(Box(20, 30, 100, 80), 0.999, NONE)
    (found,) = turned(lambda _: [face], quarters)(sent)
    (crop,), (expected,) = (
        crop_faces(np.ascontiguousarray(sent), [found], 80),
        crop_faces(upright, [face], 80),
    )
    np.testing.assert_allclose(crop.astype(int), expected, atol=3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1)])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_box_over_the_whole_picture_stays_one(shape: tuple[int, int], quarters: int) -> None:
    def whole(picture: np.ndarray) -> list[Face]:
        return [Face(Box(0, 0, picture.shape[1], picture.shape[0]), 0.9, NONE)]

    (face,) = turned(whole, quarters)(np.zeros((*shape, 3), np.uint8))
    assert face.box == Box(0, 0, shape[1], shape[0])


def test_shrinking_keeps_boxes_in_pixels_of_the_picture() -> None:
    picture = np.zeros((400, 1000, 3), np.uint8)
    picture[100:200, 500:600] = 255
    seen, detect = squares(10)
    (face,) = shrinking(detect, 250)(picture)
    assert seen == [(100, 250)]
    assert boxes([face]) == [(500, 100, 100, 100)]
    assert boxes(shrinking(detect, 0)(picture)) == [(500, 100, 100, 100)]
    assert seen[1:] == [(400, 1000)]  # no bound


def test_tones_change_what_a_detector_sees() -> None:
    picture = np.full((40, 40, 3), 10, np.uint8)
    picture[10:30, 10:30] = 100
    _, detect = squares(10)
    assert detect(picture) == []
    assert boxes(toned(detect, lambda pixels: pixels * 2)(picture)) == [(10, 10, 20, 20)]
    assert picture.max() == 100


# --- tiles


def test_a_picture_no_larger_than_a_tile_is_searched_once() -> None:
    seen, detect = squares(20)
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[10:40, 10:40] = 255
    assert boxes(tiled(detect, 200, 50)(picture)) == [(10, 10, 30, 30)]
    assert seen == [(100, 200)]


@pytest.mark.parametrize("size", [20, 31, 47, 64, 90, 128, 200, 400])
def test_faces_of_every_size_are_found_once_wherever_they_are(size: int) -> None:
    """The detector finds squares of 20 px and more, in tiles of 256 px that overlap by 64."""
    _, detect = squares(20)
    search = tiled(detect, 256, 64)
    rng = np.random.default_rng(size)
    for x, y in [(0, 0), (1500 - size, 1100 - size), *rng.integers(0, 1100 - size, (12, 2)).tolist()]:
        picture = np.zeros((1100, 1500, 3), np.uint8)
        picture[y : y + size, x : x + size] = 255
        (face,) = search(picture)
        tolerance = 2 + size // 16
        np.testing.assert_allclose(
            (face.box.x, face.box.y, face.box.w, face.box.h), (x, y, size, size), atol=tolerance
        )


def test_neighbours_stay_apart() -> None:
    _, detect = squares(20)
    picture = np.zeros((900, 2000, 3), np.uint8)
    places = [(x, y, 24, 24) for x, y in product(range(3, 1970, 40), range(5, 870, 60))]
    for x, y, *_ in places:
        picture[y : y + 24, x : x + 24] = 255
    assert boxes(tiled(detect, 256, 64)(picture)) == places


def test_no_part_of_a_picture_is_searched_larger_than_a_tile() -> None:
    """Nor are they many: tiles overlap by an eighth, and there are a third more for the halved pictures."""
    for shape in ((3000, 4000), (700, 9000), (9000, 20), (257, 257)):
        seen, detect = squares(20)
        tiled(detect, 256, 32)(np.zeros((*shape, 3), np.uint8))
        assert max(map(max, seen)) <= 256
        down, across = (math.ceil(side / 224) for side in shape)
        assert len(seen) <= 2 * down * across + 8


def test_the_surest_face_comes_first() -> None:
    _, detect = squares(20)
    picture = np.zeros((600, 600, 3), np.uint8)
    picture[20:50, 20:50] = picture[300:360, 300:360] = picture[500:540, 100:140] = 255
    faces = tiled(detect, 256, 100)(picture)
    scores = [face.confidence for face in faces]
    assert len(faces) == 3 and scores == sorted(scores, reverse=True)
