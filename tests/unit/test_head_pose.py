"""Angles of heads: of turned three-dimensional faces, the mean one and others, and of rotated pictures."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from recognition.compreface.head_pose import POINTS, head_pose
from recognition.faces import Box, Face

Doubles = NDArray[np.float64]

# Another face than the one that is fitted: about an adult's, in millimetres, pupils 63 apart, mouth 51 wide,
# nose tip and mouth 38 and 69 below the eyes, nose tip 33 before the pupils, mouth corners 5 before them.
# x to the right of the picture, y down, z away from the camera.
ADULT = np.array([[-31.5, 0, 0], [31.5, 0, 0], [0, 38, -33], [-25.5, 69, -5], [25.5, 69, -5]])
LONG_NOSE = ADULT + np.array([[0, 0, 0], [0, 0, 0], [0, 2, -4], [0, 0, 0], [0, 0, 0]])
FLAT = ADULT * [1.04, 0.96, 0.8]
POSES = [*product((-40, -20, 0, 20, 40), (-20, 0, 20), (-60, 0, 30))]  # yaw, pitch, roll


def turned(points: Doubles, pitch: float, yaw: float, roll: float) -> Doubles:
    """Turn points by degrees: pitch looks up, yaw to the picture's left, roll leans counterclockwise."""
    down, left, clockwise = np.radians([-pitch, yaw, -roll])
    about_x = [[1, 0, 0], [0, np.cos(down), -np.sin(down)], [0, np.sin(down), np.cos(down)]]
    about_y = [[np.cos(left), 0, np.sin(left)], [0, 1, 0], [-np.sin(left), 0, np.cos(left)]]
    about_z = [
        [np.cos(clockwise), -np.sin(clockwise), 0],
        [np.sin(clockwise), np.cos(clockwise), 0],
        [0, 0, 1],
    ]
    found: Doubles = points @ (np.array(about_z) @ about_y @ about_x).T
    return found


def seen(points: Doubles, width: float = 60, away: float = np.inf) -> Face:
    """Look at turned points from a distance in eye distances; from the front, eyes are `width` px apart."""
    apart = np.linalg.norm(points[1] - points[0])
    points = (points - points.mean(axis=0)) / apart
    nearer = 1 / (1 + points[:, 2:] / away)
    return face_of(points[:, :2] * nearer * width + [300, 200])


def face_of(landmarks: NDArray[np.floating]) -> Face:
    return Face(Box(200, 100, 200, 200), 0.99, landmarks.astype(np.float32))


def angles(face: Face) -> Doubles:
    found = head_pose(face)
    assert found is not None
    return np.array(found)


@pytest.mark.parametrize(("yaw", "pitch", "roll"), POSES)
def test_the_mean_face_s_angles_are_found(yaw: float, pitch: float, roll: float) -> None:
    assert angles(seen(turned(POINTS, pitch, yaw, roll))) == pytest.approx([pitch, yaw, roll], abs=0.01)


@pytest.mark.parametrize(
    ("what", "sign"), [("pitch", 1), ("pitch", -1), ("yaw", 1), ("yaw", -1), ("roll", 1), ("roll", -1)]
)
def test_signs_are_those_of_compreface(what: str, sign: int) -> None:
    """A face that looks up, to the left of the picture, or leans counterclockwise, is positive."""
    landmarks = np.array([[-30, 0], [30, 0], [0, 35], [-26, 64], [26, 64]], np.float64)
    nose = landmarks[2]
    if what == "pitch":
        nose += [0, -10 * sign]
    if what == "yaw":
        nose += [-10 * sign, 0]
    if what == "roll":
        turn = np.exp(-0.3j * sign)  # y grows downwards
        points = (landmarks[:, 0] + 1j * landmarks[:, 1]) * turn
        landmarks = np.stack([points.real, points.imag], axis=1)
    found = dict(zip(("pitch", "yaw", "roll"), angles(face_of(landmarks + 100)), strict=True))
    assert sign * found[what] > 10
    assert all(abs(found[other]) < 10 for other in {"pitch", "yaw", "roll"} - {what})


@pytest.mark.parametrize("points", [ADULT, LONG_NOSE, FLAT], ids=["adult", "long nose", "flat"])
def test_other_faces_with_noise_from_nearby(points: Doubles) -> None:
    """Landmarks are off by 1 px where the eyes are 60 px apart, at 10 eye distances, which is 63 cm."""
    random = np.random.default_rng(1)
    errors = []
    for yaw, pitch, roll in POSES:
        face = seen(turned(points, pitch, yaw, roll), away=10)
        noise = random.normal(scale=1, size=face.landmarks.shape)
        errors.append(angles(face_of(face.landmarks + noise)) - [pitch, yaw, roll])
    off = np.abs(errors).mean(axis=0)
    assert off[0] < 5
    assert off[1] < 5
    assert off[2] < 2


@pytest.mark.parametrize("yaw", [-35.0, -10.0, 0.0, 20.0])
def test_mirrored_pictures_mirror_yaw_and_roll(yaw: float) -> None:
    face = seen(turned(ADULT, 8, yaw, 12), away=12)
    mirrored = face.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [640, 0]
    pitch, sideways, roll = angles(face)
    assert angles(face_of(mirrored)) == pytest.approx([pitch, -sideways, -roll], abs=0.01)


def test_rotating_the_picture_changes_roll_alone() -> None:
    face = seen(turned(LONG_NOSE, -5, 15, 0), away=12)
    before = angles(face)
    for degrees in (-170, -90, -30, 45, 120):
        points = (face.landmarks[:, 0] + 1j * face.landmarks[:, 1]) * np.exp(-1j * np.radians(degrees))
        after = angles(face_of(np.stack([points.real, points.imag], axis=1)))
        around = (after[2] - before[2] - degrees + 180) % 360 - 180
        assert [*(after - before)[:2], around] == pytest.approx([0, 0, 0], abs=0.02)


@pytest.mark.parametrize("size", [3, 30, 3000])
def test_the_size_of_the_face_does_not_matter(size: float) -> None:
    assert angles(seen(turned(ADULT, 5, -12, 7), size)) == pytest.approx(
        angles(seen(turned(ADULT, 5, -12, 7), 100)), abs=0.01
    )


@pytest.mark.parametrize(
    "landmarks",
    [np.full((5, 2), np.nan), np.full((5, 2), 50.0), np.where(np.arange(10).reshape(5, 2) == 4, np.nan, 9.0)],
    ids=["none", "one place", "no nose"],
)
def test_landmarks_that_do_not_tell(landmarks: Doubles) -> None:
    assert head_pose(face_of(landmarks)) is None


def test_landmarks_of_no_face_give_finite_angles() -> None:
    random = np.random.default_rng(2)
    line = np.stack([np.arange(5) * 10.0, np.arange(5) * 10.0], axis=1)
    swapped = seen(POINTS).landmarks[[1, 0, 2, 4, 3]]
    for landmarks in (line, swapped, *random.uniform(0, 500, size=(300, 5, 2))):
        found = head_pose(face_of(landmarks))
        assert found is None or (np.isfinite(found).all() and np.abs(found).max() <= 180)
