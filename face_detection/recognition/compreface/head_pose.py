"""How a head is turned, from five landmarks. Pure.

A mean face is turned, scaled and moved until its landmarks lie next to those of the face, with the least
squared distances; it is seen from so far that depth makes nothing smaller (weak perspective).
docs/compreface.md has what the angles are worth.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.faces import Face
from recognition.poses import MEAN_FACE, fitted

Doubles = NDArray[np.float64]

# How far the nose and the mouth corners lie before the eyes, in distances between the eyes: as in MediaPipe's
# canonical face model (modules/face_geometry/data/canonical_face_model.obj) vertices 1, 61 and 291 before the
# middles of the lids, 145, 159, 374 and 386. On 700 faces of LFW, what remains between the landmarks and the
# turned mean face is within 3 % of its least at any depth of the nose from 0.35 to 0.58.
NOSE, MOUTH = 0.58, 0.07
EYES_APART = float((MEAN_FACE[1] - MEAN_FACE[0]).real)
# x to the right, y down, z away from the camera; about their mean.
POINTS = np.stack(
    [MEAN_FACE.real, MEAN_FACE.imag, -EYES_APART * np.array([0, 0, NOSE, MOUTH, MOUTH])], axis=1
)
POINTS -= POINTS.mean(axis=0)

STEPS = 20  # of Gauss and Newton; from a face seen from the front 5 are enough nearly always
ENOUGH = 1e-6  # radians
LARGEST_STEP = 0.5  # radians, and share of the scale


def head_pose(face: Face) -> tuple[float, float, float] | None:
    """Return pitch, yaw and roll in degrees; None: the landmarks do not tell.

    Signs are those of CompreFace's pose plugin: pitch is positive for a face that looks up, yaw for one that
    looks to the left of the picture, roll for one that leans counterclockwise in it. The turn of the face is
    roll after yaw after pitch, about the axes of the picture.
    """
    if not np.isfinite(face.landmarks).all():
        return None
    landmarks = face.landmarks.astype(np.float64)
    landmarks -= landmarks.mean(axis=0)
    turn, _ = fitted(MEAN_FACE, landmarks[:, 0] + 1j * landmarks[:, 1])
    if abs(turn) < 1:  # all of them in one place
        return None
    scale, rotation = abs(turn), _rotation(np.array([0, 0, np.angle(turn)]))
    for _ in range(STEPS):
        scale, rotation, step = _improved(scale, rotation, landmarks)
        if step < ENOUGH:
            break
    down, sideways, round_ = _angles(rotation)
    return -down, sideways, -round_


def _improved(scale: float, rotation: Doubles, landmarks: Doubles) -> tuple[float, Doubles, float]:
    """Make one step of Gauss and Newton; return the new scale and rotation, and how large the step was."""
    x, y, z = turned = rotation @ POINTS.T
    nothing = np.zeros_like(z)
    # What a growing logarithm of the scale, and turns about x, y and z, do to x and y of each point.
    slopes = scale * np.array([[x, nothing, z, -y], [y, -z, nothing, x]])
    missing = landmarks.T - scale * turned[:2]
    step = np.linalg.lstsq(slopes.transpose(0, 2, 1).reshape(-1, 4), missing.ravel(), rcond=None)[0]
    size = float(np.abs(step).max())
    step *= min(1.0, LARGEST_STEP / size) if size else 1.0
    return scale * float(np.exp(step[0])), _rotation(step[1:]) @ rotation, size


def _rotation(vector: Doubles) -> Doubles:
    """Return the rotation about a vector, by as many radians as it is long: float64 (3, 3)."""
    return cv2.Rodrigues(vector.astype(np.float64))[0].astype(np.float64)


def _angles(rotation: Doubles) -> tuple[float, float, float]:
    """Return turns about x, y and z, in degrees, that one after the other make a rotation."""
    about_x = np.arctan2(rotation[2, 1], rotation[2, 2])
    about_y = np.arctan2(-rotation[2, 0], np.hypot(rotation[2, 1], rotation[2, 2]))
    about_z = np.arctan2(rotation[1, 0], rotation[0, 0])
    return float(np.degrees(about_x)), float(np.degrees(about_y)), float(np.degrees(about_z))
