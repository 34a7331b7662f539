"""What `face_plugins` asks for, and what answers to it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recognition.compreface import plugins
from recognition.faces import Box, Face

LANDMARKS = np.array(
    [[107.5, 100.2], [146.3, 101.5], [128.8, 126.6], [105.4, 138.8], [148.2, 140.8]], np.float32
)
FACE = Face(Box(85, 62, 85, 110), 0.9994, LANDMARKS)
NOWHERE = Face(Box(85, 62, 85, 110), 0.9, np.full((5, 2), np.nan, np.float32))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" , ", []),
        ("undefined", []),
        ("null,landmarks", ["landmarks"]),
        ("landmarks", ["landmarks"]),
        ("pose,landmarks", ["pose", "landmarks"]),
        ("  pose   landmarks,calculator ", ["pose", "landmarks", "calculator"]),
        ("pose\tcalculator\npose", ["pose", "calculator"]),
        ("landmarks, landmarks,,pose,landmarks", ["landmarks", "pose"]),
        ("age,gender,mask,landmarks2d106,detector", []),
        ("Landmarks;pose", []),
    ],
)
def test_plugins_are_named_between_commas_or_spaces(text: str, expected: list[str]) -> None:
    assert plugins.named(text) == expected


def test_age_and_gender_are_plugins_where_they_are_available() -> None:
    everything = plugins.ALWAYS | plugins.ATTRIBUTES
    assert plugins.named("gender,age,mask,pose", everything) == ["gender", "age", "pose"]


def test_landmarks_are_five_places_in_whole_pixels() -> None:
    expected = [[108, 100], [146, 102], [129, 127], [105, 139], [148, 141]]
    assert plugins.landmarks(FACE) == expected
    assert json.loads(json.dumps(plugins.landmarks(FACE))) == expected


def test_what_the_detector_has_not_found_is_left_out() -> None:
    assert plugins.landmarks(NOWHERE) is None
    assert plugins.pose(NOWHERE) is None


def test_a_pose_is_three_angles() -> None:
    pose = plugins.pose(FACE)
    assert pose is not None
    assert list(pose) == ["pitch", "roll", "yaw"]
    assert all(type(angle) is float and abs(angle) < 20 for angle in pose.values())


def test_the_calculator_s_vector_has_length_1() -> None:
    found = plugins.calculator(np.array([3, 0, -4], np.float32))
    assert found == pytest.approx([0.6, 0, -0.8])
    assert all(type(each) is float for each in found)
    assert plugins.calculator(np.zeros(3, np.float32)) == [0.0, 0.0, 0.0]


def test_versions_name_who_has_done_the_work() -> None:
    assert plugins.versions([], "mtcnn", "Facenet") == {"detector": "mtcnn.FaceDetector"}
    asked = ["landmarks", "calculator", "pose", "age", "gender", "calculator"]
    assert plugins.versions(asked, "yunet", "MobileFaceNet") == {
        "detector": "yunet.FaceDetector",
        "calculator": "MobileFaceNet.Calculator",
        "pose": "yunet.PoseEstimator",
        "age": "deepface.AgeDetector",
        "gender": "deepface.GenderDetector",
    }
