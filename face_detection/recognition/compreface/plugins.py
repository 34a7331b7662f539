"""What `face_plugins` asks for, and what answers to it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from recognition.compreface.head_pose import head_pose
from recognition.faces import Face

ALWAYS = frozenset({"landmarks", "pose", "calculator"})
ATTRIBUTES = frozenset({"age", "gender"})  # where they are switched on
# What does the work of each, as CompreFace calls it. In its answers `landmarks` has neither version nor time.
WORKERS = {
    "detector": "FaceDetector",
    "calculator": "Calculator",
    "pose": "PoseEstimator",
    "age": "AgeDetector",
    "gender": "GenderDetector",
}


def named(text: str, available: Collection[str] = ALWAYS) -> list[str]:
    """Return the plugins that a text names, between commas or spaces, each once; others are passed over."""
    return [name for name in dict.fromkeys(re.split(r"[,\s]+", text)) if name in available]


def landmarks(face: Face) -> list[list[int]] | None:
    """Return five [x, y] in pixels, or None where the detector has not found all of them.

    They are, as in CompreFace's answers: the eye that is left in the picture, the right one, the nose, the
    left and the right mouth corner; see `Face` for what left means where a face does not stand upright.
    """
    if not np.isfinite(face.landmarks).all():
        return None
    points: list[list[int]] = np.rint(face.landmarks).astype(int).tolist()
    return points


def pose(face: Face) -> dict[str, float] | None:
    """Return `pitch`, `roll` and `yaw` in degrees, as `head_pose` tells them, or None where it cannot."""
    angles = head_pose(face)
    if angles is None:
        return None
    pitch, yaw, roll = angles
    return {"pitch": pitch, "roll": roll, "yaw": yaw}


def calculator(vector: NDArray[np.floating]) -> list[float]:
    """Return a vector, (d,), with length 1; one of length 0 as it is."""
    values = vector.astype(np.float64)
    unit: list[float] = (values / (np.linalg.norm(values) or 1.0)).tolist()
    return unit


def versions(plugins: Iterable[str], detector: str, model: str) -> dict[str, str]:
    """Tell what has done the work, for `plugins_versions`: detecting, and the plugins that took part.

    detector, model: their names, as DETECTOR and EMBEDDING_MODEL have them.
    """
    sources = {"calculator": model, "age": "deepface", "gender": "deepface"}
    taking_part = dict.fromkeys(["detector", *plugins])
    return {name: f"{sources.get(name, detector)}.{WORKERS[name]}" for name in taking_part if name in WORKERS}
