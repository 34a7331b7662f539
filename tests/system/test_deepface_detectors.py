"""deepface's detectors: what becomes of their faces, their names, and the start without their weights."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from deepface.models.Detector import FacialAreaRegion
from deepface.modules.modeling import AVAILABLE_MODELS

from recognition.config import DetectorName
from recognition.detector import OURS
from recognition.detector.deepface_detectors import FILES, adapted
from recognition.faces import Box, Face
from running import ROOT


class Fake:
    """Stands for a detector of deepface; remembers the last picture."""

    def __init__(self, *areas: FacialAreaRegion) -> None:
        self.areas = list(areas)
        self.seen: Any = None

    def detect_faces(self, img: np.ndarray) -> list[FacialAreaRegion]:
        self.seen = img
        return self.areas


PICTURE = np.zeros((60, 100, 3), np.uint8)


def face_of(**area: Any) -> Face:
    (face,) = adapted(Fake(FacialAreaRegion(**{"x": 10, "y": 5, "w": 30, "h": 40} | area)), 20)(PICTURE)
    return face


def test_the_names_are_deepfaces_and_two_are_ours() -> None:
    assert {*OURS, *FILES} == set(get_args(DetectorName)) == set(AVAILABLE_MODELS["face_detector"])


def test_pictures_arrive_as_bgr() -> None:
    fake, picture = Fake(), PICTURE.copy()
    picture[..., 0] = 200  # red
    assert adapted(fake, 20)(picture) == []
    assert fake.seen[0, 0].tolist() == [0, 0, 200]
    assert fake.seen.flags.c_contiguous


def test_left_and_right_change_from_the_persons_to_the_pictures() -> None:
    face = face_of(
        left_eye=(30, 15), right_eye=(18, 16), nose=(24, 25), mouth_left=(29, 35), mouth_right=(19, 36)
    )
    assert face.landmarks.dtype == np.float32
    assert face.landmarks.tolist() == [[18, 16], [30, 15], [24, 25], [19, 36], [29, 35]]


def test_landmarks_that_are_not_found_are_nan() -> None:
    assert np.isnan(face_of().landmarks).all()
    landmarks = face_of(left_eye=(30, 15), right_eye=(18, 16)).landmarks
    assert np.isfinite(landmarks).all(axis=1).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize(
    ("area", "box"),
    [
        ((10, 5, 30, 40), Box(10, 5, 30, 40)),
        ((-10, -5, 50, 50), Box(0, 0, 40, 45)),
        ((80, 30, 50, 50), Box(80, 30, 20, 30)),
        ((-5, -5, 500, 500), Box(0, 0, 100, 60)),
    ],
)
def test_boxes_lie_inside_the_picture(area: tuple[int, int, int, int], box: Box) -> None:
    assert face_of(**dict(zip("xywh", area, strict=True))).box == box


@pytest.mark.parametrize(("given", "expected"), [(0.5, 0.5), (None, 1.0), (3.5, 1.0), (-0.2, 0.0)])
def test_confidences_lie_in_0_to_1(given: float | None, expected: float) -> None:
    assert face_of(confidence=given).confidence == expected


@pytest.mark.parametrize(
    "area", [(0, 0, 19, 19), (90, 5, 30, 19), (200, 5, 30, 40), (10, 5, 0, 40), (10, -50, 30, 50)]
)
def test_small_faces_and_empty_boxes_are_left_out(area: tuple[int, int, int, int]) -> None:
    assert adapted(Fake(FacialAreaRegion(*area)), 20)(PICTURE) == []


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "centerface",
            "face_detection cannot start: DETECTOR=centerface: the weights are missing and cannot be "
            "downloaded; put https://github.com/Star-Clouds/CenterFace/raw/master/models/onnx/"
            "centerface.onnx at <DEEPFACE_HOME>/.deepface/weights/centerface.onnx",
        ),
        ("retina", "face_detection cannot start: DETECTOR: Input should be 'mtcnn', 'yunet', 'opencv', "),
    ],
)
def test_what_cannot_be_loaded_stops_the_start_with_one_sentence(
    models_dir: Path, tmp_path: Path, name: str, sentence: str
) -> None:
    environment = {
        "DETECTOR": name,
        "MODELS_DIR": str(models_dir),
        "DEEPFACE_HOME": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gallery.sqlite3'}",
        "HTTPS_PROXY": "http://127.0.0.1:9",
    }
    outcome = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-b", "127.0.0.1:0", "wsgi:app"],
        cwd=ROOT / "face_detection",
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert outcome.returncode == 3
    (said,) = (
        line for line in outcome.stderr.splitlines() if not line[:4].isdigit()
    )  # lines of the log begin with the time
    assert said.startswith(sentence)
