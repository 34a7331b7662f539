"""The quality of a face: what is wrong with it has the right name, whatever the light and the size."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from recognition.app import READY_PICTURE
from recognition.errors import NoFace, SeveralFaces
from recognition.faces import Box, Face, Quality
from recognition.pictures.choice import by_size, chosen
from recognition.pictures.crops import crop_faces
from recognition.pictures.quality import SIDE_PX, assess, told
from serving import pictures

Pixels = NDArray[np.uint8]
# As the detector finds it in the bundled portrait.
LANDMARKS = np.array(
    [[107.5, 100.2], [146.3, 101.5], [128.8, 126.6], [105.4, 138.8], [148.2, 140.8]], np.float32
)
FACE = Face(Box(85, 62, 85, 110), 0.9994, LANDMARKS)


@pytest.fixture(scope="module")
def portrait() -> Pixels:
    return pictures.decode(READY_PICTURE.read_bytes(), 10**6).pixels


def quality(picture: Pixels, face: Face = FACE) -> Quality:
    return assess(picture.shape, [face], crop_faces(picture, [face], SIDE_PX))[0]


def codes(found: Quality) -> list[str]:
    return [reason.code for reason in found.reasons]


def as_pixels(values: object) -> Pixels:
    return np.clip(np.rint(np.asarray(values)), 0, 255).astype(np.uint8)


def moved(picture: Pixels, length: int, degrees: float) -> Pixels:
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    turn = cv2.getRotationMatrix2D((length // 2, length // 2), degrees, 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return as_pixels(cv2.filter2D(picture, -1, kernel / kernel.sum()))


def covered(picture: Pixels, rows: slice, value: object) -> Pixels:
    done = picture.copy()
    done[rows, 75:180] = value
    return done


def test_a_good_face(portrait: Pixels) -> None:
    assert quality(portrait).value > 0.5
    assert quality(portrait).reasons == ()


def test_no_faces(portrait: Pixels) -> None:
    assert assess(portrait.shape, [], crop_faces(portrait, [], SIDE_PX)) == []


@pytest.mark.parametrize("gain", [0.1, 0.4, 1.1])
def test_light_does_not_make_a_face_too_poor(portrait: Pixels, gain: float) -> None:
    assert quality(as_pixels(portrait * gain)).value >= 0.25


@pytest.mark.parametrize("sigma", [4, 6, 10])
@pytest.mark.parametrize("noise", [0, 6, 12])
def test_blurred_also_under_noise(portrait: Pixels, sigma: float, noise: float) -> None:
    blurred = cv2.GaussianBlur(portrait, (0, 0), sigma)
    found = quality(as_pixels(blurred + np.random.default_rng(1).normal(0, noise, portrait.shape)))
    assert found.value < 0.25
    assert "blurred" in codes(found)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_blurred_along_one_direction(portrait: Pixels, degrees: float) -> None:
    found = quality(moved(portrait, 25, degrees))
    assert found.value < 0.25
    assert "blurred" in codes(found)


@pytest.mark.parametrize("rows", [slice(118, 180), slice(55, 120)])
@pytest.mark.parametrize("value", [0, 128, 255, (200, 160, 140)])
def test_covered(portrait: Pixels, rows: slice, value: object) -> None:
    found = quality(covered(portrait, rows, value))
    assert found.value < 0.25
    assert "covered" in codes(found)


def test_grain_and_blocks(portrait: Pixels) -> None:
    noisy = quality(as_pixels(portrait + np.random.default_rng(1).normal(0, 50, portrait.shape)))
    small = cv2.resize(portrait, None, fx=1 / 10, fy=1 / 10, interpolation=cv2.INTER_AREA)
    mosaic = quality(as_pixels(cv2.resize(small, portrait.shape[1::-1], interpolation=cv2.INTER_NEAREST)))
    assert (noisy.value < 0.25, "noisy" in codes(noisy)) == (True, True)
    assert (mosaic.value < 0.25, "compressed" in codes(mosaic)) == (True, True)


def test_light_is_told(portrait: Pixels) -> None:
    assert "dark" in codes(quality(as_pixels(portrait * 0.1)))
    assert "bright" in codes(quality(as_pixels(portrait * 0.3 + 200)))
    assert "low_contrast" in codes(quality(as_pixels(portrait * 0.05 + 100)))


def test_what_landmarks_tell(portrait: Pixels) -> None:
    small = Face(Box(0, 0, 20, 20), 0.99, (LANDMARKS * 0.15).astype(np.float32))
    assert "small" in codes(quality(as_pixels(cv2.resize(portrait, None, fx=0.15, fy=0.15)), small))
    turned = Face(FACE.box, 0.99, LANDMARKS + np.array([[0, 0], [0, 0], [45, 0], [0, 0], [0, 0]], np.float32))
    assert "turned_away" in codes(quality(portrait, turned))
    beside = Face(FACE.box, 0.99, LANDMARKS - np.array([100, 0], np.float32))
    assert "cut_off" in codes(quality(portrait, beside))
    assert "unsure" in codes(quality(portrait, Face(FACE.box, 0.81, LANDMARKS)))


@pytest.mark.parametrize("landmarks", [np.full((5, 2), np.nan, np.float32), np.zeros((5, 2), np.float32)])
@pytest.mark.parametrize("value", [0, 255])
def test_odd_faces_have_a_quality(landmarks: NDArray[np.float32], value: int) -> None:
    found = quality(np.full((40, 40, 3), value, np.uint8), Face(Box(0, 0, 1, 1), 0.9, landmarks))
    assert 0 <= found.value < 0.25
    assert all(np.isfinite([reason.value, reason.limit]).all() for reason in found.reasons)


def test_the_reasons_in_words(portrait: Pixels) -> None:
    found = quality(as_pixels(cv2.GaussianBlur(portrait, (0, 0), 8)))
    assert "too poor" in told(found)
    assert "blurred" in told(found)
    assert "_" not in told(found)


# --- which face


def test_the_face_that_is_meant() -> None:
    large, inner, small = (
        Face(Box(*box), 0.99, LANDMARKS) for box in ((0, 0, 60, 60), (30, 30, 40, 40), (90, 90, 9, 9))
    )
    faces = by_size([small, inner, large])
    assert faces == [large, inner, small]
    assert chosen(faces, "largest") is large
    assert chosen(faces, (94, 99)) is small
    assert chosen(faces, (40, 40)) is large  # in both; the middle of the larger one is nearer
    assert chosen(faces, (49, 49)) is inner
    assert chosen([small], "only") is small
    with pytest.raises(SeveralFaces, match="3 faces"):
        chosen(faces, "only")
    with pytest.raises(NoFace, match=r"80, 10.5"):
        chosen(faces, (80, 10.5))
    for choice in ("largest", "only", (1.0, 1.0)):
        with pytest.raises(NoFace):
            chosen([], choice)  # type: ignore[arg-type]
