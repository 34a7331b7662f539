"""Crops: upright, at one scale, from full resolution, inside and outside the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from recognition.faces import Box, Face
from recognition.pictures.crops import HEIGHT, WIDTH, crop_faces
from recognition.poses import MEAN_FACE

SIDE = 160


def face_at(turn: complex, centre: complex) -> Face:
    landmarks = turn * MEAN_FACE + centre
    points = np.stack([landmarks.real, landmarks.imag], axis=1).astype(np.float32)
    size = abs(turn)
    box = Box(centre.real - size / 2, centre.imag - size / 2, size, size)
    return Face(box, 0.99, points)


def picture_with_marks(face: Face, shape: tuple[int, int] = (600, 800), radius: int = 4) -> np.ndarray:
    picture = np.zeros((*shape, 3), np.uint8)
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    for (x, y), colour in zip(face.landmarks, colours, strict=True):
        cv2.circle(picture, (round(float(x)), round(float(y))), radius, colour, -1)
    return picture


def centre_of(crop: np.ndarray, colour: tuple[int, int, int]) -> complex:
    rows, columns = np.nonzero(np.abs(crop.astype(int) - colour).max(axis=2) < 90)
    return complex(columns.mean() + 0.5, rows.mean() + 0.5)


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2, 3.0])
@pytest.mark.parametrize("size", [90, 200, 340])
def test_landmarks_land_where_the_mean_face_has_them(angle: float, size: float) -> None:
    face = face_at(size * np.exp(1j * angle), 402.3 + 297.8j)
    (crop,) = crop_faces(picture_with_marks(face, radius=max(3, size // 25)), [face], SIDE)
    for colour, place in zip([(255, 0, 0), (0, 255, 0), (0, 0, 255)], MEAN_FACE[:3], strict=True):
        expected = complex(place.real / WIDTH, place.imag / HEIGHT) * SIDE + (SIDE + SIDE * 1j) / 2
        # The marks are drawn on whole pixels of the picture; 1.5 of them is the tolerance.
        assert abs(centre_of(crop, colour) - expected) < max(1.0, 1.5 * SIDE / size)


def test_a_large_face_is_averaged_and_not_sampled() -> None:
    """A checkerboard of single pixels becomes grey; every second pixel of it would be black or white."""
    picture = np.zeros((2000, 2000, 3), np.uint8)
    picture[::2, ::2] = picture[1::2, 1::2] = 255
    (crop,) = crop_faces(picture, [face_at(1200 + 0j, 1000 + 1000j)], SIDE)
    assert np.abs(crop.astype(int) - 127).max() <= 3


def test_the_same_face_in_a_larger_picture_gives_the_same_crop() -> None:
    noise = np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8)
    small = cv2.resize(noise, (400, 400), interpolation=cv2.INTER_CUBIC)
    large = cv2.resize(noise, (3200, 3200), interpolation=cv2.INTER_CUBIC)
    (a,) = crop_faces(small, [face_at(150 + 30j, 200 + 190j)], SIDE)
    (b,) = crop_faces(large, [face_at(1200 + 240j, 1600 + 1520j)], SIDE)
    assert np.abs(a.astype(int) - b).mean() < 2.0  # grey levels


@pytest.mark.parametrize("centre", [0j, 799 + 599j, -50 + 300j, 400 + 700j, 5000 + 5000j])
@pytest.mark.parametrize("size", [20, 300, 2000, 20_000])
def test_a_face_over_the_border_is_cut_out_all_the_same(centre: complex, size: int) -> None:
    picture = np.full((600, 800, 3), 90, np.uint8)
    (crop,) = crop_faces(picture, [face_at(size + 0j, centre)], SIDE)
    assert (crop == 90).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (3, 3)])
def test_tiny_pictures(shape: tuple[int, int]) -> None:
    picture = np.full((*shape, 3), 7, np.uint8)
    assert (crop_faces(picture, [face_at(2000 + 0j, 0.5 + 0.5j)], SIDE) == 7).all()


def test_without_usable_landmarks_the_box_is_cut_out() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[50:150, 50:150] = 255
    face = Face(Box(50, 50, 100, 100), 0.9, np.full((5, 2), 100, np.float32))
    (crop,) = crop_faces(picture, [face], SIDE)
    assert crop[20:140, 20:140].min() == 255


def test_no_faces_give_no_crops() -> None:
    assert crop_faces(np.zeros((10, 10, 3), np.uint8), [], SIDE).shape == (0, SIDE, SIDE, 3)


@pytest.mark.parametrize("found", [(0, 1), (0, 2), (2, 3, 4)])
def test_landmarks_that_are_missing_are_left_out(found: tuple[int, ...]) -> None:
    face = face_at(200 * np.exp(0.3j), 402.3 + 297.8j)
    some = Face(face.box, face.confidence, np.full_like(face.landmarks, np.nan))
    some.landmarks[list(found)] = face.landmarks[list(found)]
    picture = picture_with_marks(face)
    a, b = crop_faces(picture, [face, some], SIDE)
    assert np.abs(a.astype(int) - b).mean() < 0.5  # grey levels; landmarks are float32


@pytest.mark.parametrize("found", [0, 1])
def test_one_landmark_is_too_few(found: int) -> None:
    landmarks = np.full((5, 2), np.nan, np.float32)
    landmarks[:found] = 70
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[50:150, 50:150] = 255
    (crop,) = crop_faces(picture, [Face(Box(50, 50, 100, 100), 0.9, landmarks)], SIDE)
    assert crop[20:140, 20:140].min() == 255


def test_the_square_of_the_box_is_upright_and_not_distorted() -> None:
    """For age and gender: as high as the detector's box, around the face, in every direction at one scale."""
    face = face_at(200 * np.exp(0.5j), 402.3 + 297.8j)
    (crop,) = crop_faces(picture_with_marks(face, radius=8), [face], 224, "box")
    for colour, place in zip([(255, 0, 0), (0, 255, 0), (0, 0, 255)], MEAN_FACE[:3], strict=True):
        assert abs(centre_of(crop, colour) - (place + 0.5 + 0.5j) * 224) < 2


def test_without_landmarks_the_square_of_the_box_is_its_longer_side() -> None:
    picture = np.zeros((200, 200, 3), np.uint8)
    picture[50:150, 50:150] = 200
    face = Face(Box(60, 50, 80, 100), 0.9, np.full((5, 2), np.nan, np.float32))
    (crop,) = crop_faces(picture, [face], 224, "box")
    assert (crop[4:-4, 4:-4] == 200).all()
