"""Landmarks that are known roughly, located by O-Net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from recognition.detector import load_mtcnn
from recognition.detector.landmarks import located
from recognition.detector.networks import load_network
from recognition.faces import Face

Locate = Callable[[np.ndarray, np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def locate(models_dir: Path) -> Locate:
    onet = load_network(models_dir / "onet.onnx")
    return lambda picture, landmarks: located(onet, picture, landmarks)


@pytest.fixture(scope="module")
def portraits(models_dir: Path, demo: Path) -> list[tuple[np.ndarray, Face]]:
    """Demo photographs, RGB, with the largest face of each as MTCNN has it."""
    detect = load_mtcnn(models_dir)
    pictures = [cv2.imread(str(path))[..., ::-1] for path in sorted(demo.glob("val/*/*.jpg"))]
    return [(picture, max(detect(picture), key=lambda face: face.box.area)) for picture in pictures]


def moved(landmarks: np.ndarray, turn: complex, shift: complex) -> np.ndarray:
    """Landmarks, (5, 2), turned about their centre, and shifted in sides of the face."""
    places = landmarks[:, 0] + 1j * landmarks[:, 1]
    places = (places - places.mean()) * turn + places.mean() + shift * np.ptp(places.imag)
    return np.stack([places.real, places.imag], axis=1)


@pytest.mark.parametrize(
    ("turn", "shift"),
    [(1, 0), (np.exp(0.15j), 0), (np.exp(-0.15j), 0.05j), (1.1, 0.05), (0.9 * np.exp(0.1j), -0.05 + 0.05j)],
)
def test_rough_landmarks_become_those_of_mtcnn(
    turn: complex, shift: complex, locate: Locate, portraits: list[tuple[np.ndarray, Face]]
) -> None:
    """Within 0.02 of a face in the mean, from up to 0.08."""
    before, after = [], []
    for picture, face in portraits:
        rough = moved(face.landmarks.astype(np.float64), turn, shift)
        precise = locate(picture, rough[None])[0]
        before.append(np.abs(rough - face.landmarks).mean() / face.box.h)
        after.append(np.abs(precise - face.landmarks).mean() / face.box.h)
    assert len(after) == 25
    assert np.mean(after) < 0.02
    assert np.mean(after) < max(np.mean(before) / 2, 0.02)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_faces_may_lie_in_any_direction(
    quarters: int, locate: Locate, portraits: list[tuple[np.ndarray, Face]]
) -> None:
    picture, face = portraits[0]
    height, width = picture.shape[:2]
    upright = locate(picture, face.landmarks[None].astype(np.float64))[0]
    turned = np.ascontiguousarray(np.rot90(picture, quarters))
    places = (upright[:, 0] + 1j * upright[:, 1] - (width - 1) / 2 - (height - 1) / 2 * 1j) / 1j**quarters
    places += (turned.shape[1] - 1) / 2 + (turned.shape[0] - 1) / 2 * 1j
    there = np.stack([places.real, places.imag], axis=1)
    assert np.abs(locate(turned, there[None])[0] - there).max() < 0.02 * face.box.h


def test_many_faces_at_once_are_as_one_by_one(
    locate: Locate, portraits: list[tuple[np.ndarray, Face]]
) -> None:
    picture, face = portraits[0]
    rough = np.stack([moved(face.landmarks.astype(np.float64), 1 + k / 50, 0) for k in range(5)])
    together = locate(picture, rough)
    for one, alone in zip(together, rough, strict=True):
        assert np.abs(locate(picture, alone[None])[0] - one).max() < 1e-3  # px; float32
    assert locate(picture, rough[:0]).shape == (0, 5, 2)


def test_landmarks_in_one_place_and_beyond_the_picture_stay_finite(locate: Locate) -> None:
    picture = np.zeros((40, 50, 3), np.uint8)
    together = np.full((1, 5, 2), 7.0)
    assert (locate(picture, together) == together).all()
    beyond = np.array([[[-900, -900], [-700, -900], [-800, -800], [-880, -700], [-720, -700]]], float)
    assert np.isfinite(locate(picture, beyond)).all()
