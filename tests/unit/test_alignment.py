"""Where landmarks come to stand in the crops of every model."""

from __future__ import annotations

import numpy as np
import pytest

from embedding.cards import CARDS
from embedding.catalogue import MODELS
from recognition.faces import Box, Face
from recognition.pictures.crops import HEIGHT, WIDTH, crop_faces
from recognition.poses import MEAN_FACE
from recognition.seeing import fingerprint_of
from serving.model import Model, Template

# Of a crop of 112 px, (0, 0) the centre of its first pixel: both eyes, the nose, both corners of the mouth.
ARCFACE = [(38.3, 51.7), (73.5, 51.5), (56.0, 71.7), (41.5, 92.4), (70.7, 92.2)]
CROPS = sorted({(each.template, each.input_size) for each in (*MODELS.values(), *CARDS.values())})


def places(template: Template, side: int) -> np.ndarray:
    """Where the template has the landmarks, complex, (0, 0) the corner of the first pixel."""
    if template == "arcface":
        return np.array([complex(x + 0.5, y + 0.5) for x, y in ARCFACE]) * side / 112
    return (MEAN_FACE.real / WIDTH + 1j * MEAN_FACE.imag / HEIGHT + 0.5 + 0.5j) * side


def face_of(landmarks: np.ndarray) -> Face:
    points = np.stack([landmarks.real, landmarks.imag], axis=1).astype(np.float32)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return Face(Box(left, top, right - left, bottom - top), 0.99, points)


def mark(place: complex, spread: float, shape: tuple[int, int] = (700, 900)) -> np.ndarray:
    """A picture with one soft mark, whose centre, from the corner of the picture, can be told precisely."""
    rows, columns = np.indices(shape) + 0.5
    bump = np.exp(-((columns - place.real) ** 2 + (rows - place.imag) ** 2) / 2 / spread**2)
    return np.repeat((255 * bump).astype(np.uint8)[..., np.newaxis], 3, axis=2)


def centre(crop: np.ndarray) -> complex:
    """The centre of what is bright, (0, 0) the corner of the first pixel."""
    weights = crop[..., 0].astype(float)
    rows, columns = np.indices(weights.shape) + 0.5
    return complex((weights * columns).sum(), (weights * rows).sum()) / weights.sum()


@pytest.mark.parametrize(("template", "side"), CROPS)
@pytest.mark.parametrize("turn", [2 + 0j, 2.3 * np.exp(0.4j), 1.7 * np.exp(-2j)])
def test_landmarks_of_a_face_like_the_template_land_on_it(
    template: Template, side: int, turn: complex
) -> None:
    upright = places(template, 112)
    if template == "facenet":  # whose crops are stretched sideways
        upright = upright.real * WIDTH / HEIGHT + 1j * upright.imag
    landmarks = turn * (upright - upright.mean()) + (452.3 + 347.8j)
    first = 0.5 + 0.5j if template == "arcface" else 0  # from the centre of the first pixel, or its corner
    for landmark, place in zip(landmarks, places(template, side), strict=True):
        (crop,) = crop_faces(mark(landmark + first, spread=4.0), [face_of(landmarks)], side, template)
        assert abs(centre(crop) - place) < 0.1  # pixels of the crop


@pytest.mark.parametrize("template", ["facenet", "arcface"])
def test_without_landmarks_the_mean_face_is_taken_to_stand_in_the_box(template: Template) -> None:
    box = Box(300, 200, 180, 200)
    unknown = Face(box, 0.99, np.full((5, 2), np.nan, np.float32))
    known = 200 * MEAN_FACE + 390 + 300j
    picture = mark(complex(known[2]), spread=6.0)
    a, b = crop_faces(picture, [unknown, face_of(known)], 112, template)
    assert abs(centre(a) - centre(b)) < 0.1  # pixels of the crop


def test_the_fingerprint_of_a_gallery_tells_how_faces_were_cut_out() -> None:
    described = Model("m", 4, 112, 1.0, (0.0, 2.0), "f")
    assert fingerprint_of(described) == "f-1"  # as it was before there were others
    assert fingerprint_of(Model("m", 4, 112, 1.0, (0.0, 2.0), "f", template="arcface")) == "f-arcface-1"
