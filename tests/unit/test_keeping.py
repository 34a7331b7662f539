"""The picture that is kept of a face: any model's crop can be made of it, and it shows little more."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import simplejpeg

from recognition.faces import Box, Face, KeptFace
from recognition.pictures.crops import HEIGHT, WIDTH, crop_faces
from recognition.pictures.keeping import MAX_SIDE_PX, SIDE, cut, keep_face
from recognition.poses import MEAN_FACE

# ArcFace's five landmarks in a crop of 112 x 112: insightface/utils/face_align.py, `arcface_dst`.
ARCFACE = np.array(
    [38.2946 + 51.6963j, 73.5318 + 51.5014j, 56.0252 + 71.7366j, 41.5493 + 92.3655j, 70.7299 + 92.2041j]
)
NONE = np.full((5, 2), np.nan, np.float32)
ANGLES = [0.0, 0.3, -0.7, 0.78, 1.6, 3.1, -1.5, -2.4]


def a_picture(height: int = 900, width: int = 1200) -> np.ndarray:
    """Smooth noise, of which each part is like no other."""
    noise = np.random.default_rng(4).integers(0, 256, (height // 30, width // 30, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)


def face_at(turn: complex, centre: complex, landmarks: np.ndarray | None = None) -> Face:
    places = turn * MEAN_FACE + centre
    points = np.stack([places.real, places.imag], axis=1).astype(np.float32)
    size = abs(turn)
    box = Box(centre.real - size / 2, centre.imag - size / 2, size, size)
    return Face(box, 0.99, points if landmarks is None else landmarks)


def arcface_crop(picture: np.ndarray, face: Face) -> np.ndarray:
    """As step after step of insightface has it: the similarity transform of the landmarks to 112 x 112."""
    marks = face.landmarks[:, 0].astype(float) + 1j * face.landmarks[:, 1]
    template = ARCFACE - ARCFACE.mean()
    scale = np.vdot(template, marks - marks.mean()) / np.vdot(template, template)
    origin = marks.mean() - scale * (ARCFACE.mean() + 0.5 + 0.5j) + scale * (0.5 + 0.5j) - (0.5 + 0.5j)
    warp = np.array([[scale.real, -scale.imag, origin.real], [scale.imag, scale.real, origin.imag]])
    return cv2.warpAffine(
        picture, warp, (112, 112), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=(255, 0, 255)
    )


def facenet_crop(picture: np.ndarray, face: Face) -> np.ndarray:
    return crop_faces(picture, [face], 160)[0]


def pixels_of(kept: KeptFace) -> np.ndarray:
    return np.asarray(simplejpeg.decode_jpeg(kept.jpeg, "RGB"))


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("size", [60, 150, 400])
@pytest.mark.parametrize("crop", [facenet_crop, arcface_crop])
def test_the_crop_of_each_model_can_be_made_of_it(
    crop: Callable[[np.ndarray, Face], np.ndarray], size: float, angle: float
) -> None:
    picture, face = a_picture(), face_at(size * np.exp(1j * angle), 600.3 + 450.8j)
    kept = keep_face(picture, face)
    difference = np.abs(crop(picture, face).astype(int) - crop(pixels_of(kept), kept.face))
    assert difference.mean() < 2.5 and difference.max() < 60  # grey levels, of a JPEG


@pytest.mark.parametrize("angle", ANGLES)
def test_what_is_not_shrunk_gives_the_very_same_crop(angle: float) -> None:
    picture, face = a_picture(), face_at(150 * np.exp(1j * angle), 600.3 + 450.8j)
    kept, moved = cut(picture, face)
    assert max(kept.shape[:2]) <= 150 * SIDE + 2
    np.testing.assert_allclose(facenet_crop(kept, moved).astype(int), facenet_crop(picture, face), atol=2)


@pytest.mark.parametrize("angle", ANGLES)
def test_no_crops_corner_lies_outside(angle: float) -> None:
    turn = 100 * np.exp(1j * angle)
    kept, face = cut(a_picture(), face_at(turn, 600 + 450j))
    height, width = kept.shape[:2]
    marks = face.landmarks[:, 0].astype(float) + 1j * face.landmarks[:, 1]
    for template, across, down in (
        (MEAN_FACE, WIDTH / 2, HEIGHT / 2),
        ((ARCFACE - 56 - 56j) / 112, 0.5, 0.5),
    ):
        middle = template - template.mean()
        scale = np.vdot(middle, marks - marks.mean()) / np.vdot(middle, middle)
        for x, y in ((-across, -down), (across, -down), (-across, down), (across, down)):
            corner = marks.mean() + scale * (complex(x, y) - template.mean())
            assert -0.5 <= corner.real <= width + 0.5 and -0.5 <= corner.imag <= height + 0.5


@pytest.mark.parametrize(("size", "side"), [(15, 26), (100, 166), (154, 254), (500, 256)])
def test_it_is_never_enlarged_and_has_a_bound(size: int, side: int) -> None:
    kept = keep_face(a_picture(), face_at(size + 0j, 600 + 450j))
    assert abs(max(pixels_of(kept).shape) - side) <= 1
    assert max(pixels_of(kept).shape) <= MAX_SIDE_PX
    assert len(kept.jpeg) < 100_000


@pytest.mark.parametrize("quarters", range(4))
def test_a_face_that_lies_on_its_side_is_kept_upright(quarters: int) -> None:
    picture = a_picture()
    expected, upright = cut(picture, face_at(150 + 0j, 600 + 450j))
    sent = np.ascontiguousarray(np.rot90(picture, -quarters))
    height, width = picture.shape[:2]
    turn, centre = {
        0: (1, 600 + 450j),
        1: (1j, complex(height - 450, 600)),
        2: (-1, complex(width - 600, height - 450)),
        3: (-1j, complex(450, width - 600)),
    }[quarters]
    kept, face = cut(sent, face_at(150 * turn, centre))
    np.testing.assert_allclose(face.landmarks, upright.landmarks, atol=1)
    assert np.abs(kept[5:200, 5:200].astype(int) - expected[5:200, 5:200]).mean() < 6
    assert face.quarters == 0
    box, other = face.box, upright.box
    np.testing.assert_allclose((box.x, box.y, box.w, box.h), (other.x, other.y, other.w, other.h), atol=1.5)


@pytest.mark.parametrize("quarters", range(4))
def test_without_landmarks_the_detectors_quarters_count(quarters: int) -> None:
    picture = a_picture()
    face = Face(Box(500, 380, 120, 150), 0.9, NONE, quarters)
    kept = keep_face(picture, face)
    assert np.isnan(kept.face.landmarks).all()
    np.testing.assert_allclose(
        facenet_crop(pixels_of(kept), kept.face).astype(int), facenet_crop(picture, face), atol=40
    )


@pytest.mark.parametrize("centre", [0j, 1199 + 899j, -40 + 450j, 600 + 930j, 5000 + 5000j, -9e9 + 0j])
@pytest.mark.parametrize("size", [10, 150, 900, 20_000])
def test_a_face_over_the_pictures_edge_is_kept_as_far_as_it_is_there(centre: complex, size: int) -> None:
    picture = a_picture()
    face = face_at(size + 0j, centre)
    kept = keep_face(picture, face)
    height, width = pixels_of(kept).shape[:2]
    assert min(height, width) >= 1 and max(height, width) <= MAX_SIDE_PX
    if abs(centre) < 1600 and size == 150:
        difference = np.abs(
            facenet_crop(picture, face).astype(int) - facenet_crop(pixels_of(kept), kept.face)
        )
        assert difference.mean() < 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (3, 3)])
def test_tiny_pictures(shape: tuple[int, int]) -> None:
    kept = keep_face(np.full((*shape, 3), 7, np.uint8), face_at(2000 + 0j, 0.5 + 0.5j))
    assert (np.abs(pixels_of(kept).astype(int) - 7) <= 1).all()


def test_it_shows_no_more_than_the_face_and_a_margin() -> None:
    picture = np.full((900, 1200, 3), 255, np.uint8)
    cv2.rectangle(picture, (600 - 90, 450 - 90), (600 + 90, 450 + 90), (0, 0, 0), cv2.FILLED)
    kept, _ = cut(picture, face_at(100 + 0j, 600 + 450j))
    assert not kept.any()
