"""deepface's other face detectors. deepface is imported only when one of them is asked for."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box, Face

WEIGHTS = Path(".deepface/weights")  # where deepface looks, below its DEEPFACE_HOME

# The file in that folder which tells that a detector's weights are there (deepface 0.0.103,
# models/face_detection); mediapipe and fastmtcnn bring theirs in a package.
FILES = {
    "opencv": "haarcascade_frontalface_default.xml",
    "ssd": "res10_300x300_ssd_iter_140000.caffemodel",
    "dlib": "shape_predictor_5_face_landmarks.dat",
    "retinaface": "retinaface.h5",
    "mediapipe": "",
    **{f"yolov{kind}": f"yolov{kind}-face.pt" for kind in ("8n", "8m", "8l")},
    **{f"yolov{kind}": f"yolov{kind}-face.pt" for kind in ("11n", "11s", "11m", "11l")},
    **{f"yolov{kind}": f"yolov{kind}-face.pt" for kind in ("12n", "12s", "12m", "12l")},
    "yunet": "face_detection_yunet_2023mar.onnx",
    "fastmtcnn": "",
    "centerface": "centerface.onnx",
}


class DetectorUnavailable(Exception):
    """The detector cannot be loaded, for the one reason that the message gives."""


def load_deepface(
    name: str, models_dir: Path, *, deepface_home: Path | None, min_face_px: int, threads: int
) -> Callable[[NDArray[np.uint8]], list[Face]]:
    """Load one of deepface's detectors; deepface downloads weights that are missing.

    Args:
        name: as deepface calls it.
        models_dir, deepface_home: what lies in MODELS_DIR or the user's home counts unless a home is named.
        min_face_px: faces whose longer side is less are left out.
        threads: that TensorFlow or PyTorch may use for one picture.

    Returns:
        as `detector` of `adapted`, safe to use from several threads.

    Raises:
        DetectorUnavailable: weights or a package are missing, or do not fit.
    """
    homes = [deepface_home] if deepface_home else [models_dir, Path.home()]
    home = next((home for home in homes if (home / WEIGHTS / FILES[name]).is_file()), homes[0])
    # Read by deepface, TensorFlow and OpenMP when they are imported.
    os.environ |= {
        "DEEPFACE_HOME": str(home),
        "TF_USE_LEGACY_KERAS": "1",  # deepface is written for Keras 2
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": str(threads),
        "TF_NUM_INTEROP_THREADS": "1",
        "OMP_NUM_THREADS": str(threads),
        "CUDA_VISIBLE_DEVICES": "-1",  # every worker would take all of a GPU's memory
    }
    try:
        (home / WEIGHTS).mkdir(parents=True, exist_ok=True)
        detector: Any = import_module("deepface.modules.modeling").build_model("face_detector", name)
        detector.detect_faces(np.zeros((160, 160, 3), np.uint8))  # centerface loads its weights here only
    except Exception as e:  # deepface raises whatever its parts do
        where = "DEEPFACE_HOME" if deepface_home else "MODELS_DIR"
        raise DetectorUnavailable(f"DETECTOR={name}: {_reason(e, where)}") from e
    return adapted(detector, min_face_px)


def adapted(detector: Any, min_face_px: int) -> Callable[[NDArray[np.uint8]], list[Face]]:
    """Make a detector of ours out of one of deepface's (deepface.models.Detector).

    Returns:
        detector: uint8 (H, W, 3) RGB -> its faces, boxes inside the picture.
    """
    lock = threading.Lock()  # some keep the picture's size, or their tensors, in the model

    def detect(picture: NDArray[np.uint8]) -> list[Face]:
        with lock:
            areas = detector.detect_faces(np.ascontiguousarray(picture[..., ::-1]))
        faces = [_face(area, *picture.shape[:2]) for area in areas]
        return [face for face in faces if max(face.box.w, face.box.h) >= min_face_px and face.box.area > 0]

    return detect


def _face(area: Any, height: int, width: int) -> Face:
    """Convert a deepface FacialAreaRegion, whose left and right are the person's, not the picture's."""
    x, right = (float(min(max(at, 0), width)) for at in (area.x, area.x + area.w))
    y, bottom = (float(min(max(at, 0), height)) for at in (area.y, area.y + area.h))
    points = (area.right_eye, area.left_eye, area.nose, area.mouth_right, area.mouth_left)
    return Face(
        box=Box(x, y, right - x, bottom - y),
        confidence=1.0 if area.confidence is None else min(max(float(area.confidence), 0.0), 1.0),
        landmarks=np.array([(np.nan, np.nan) if at is None else at[:2] for at in points], dtype=np.float32),
    )


def _reason(error: Exception, home: str) -> str:
    """Say in one sentence why deepface could not load something, and what to put where if a file is missing.

    home: the name of the setting that says where deepface's files are.
    """
    text = str(error) or type(error).__name__
    if missing := re.search(r"downloading (\S+) from (\S+)", text):
        file, address = missing[1], missing[2].rstrip(",.")
        unpacked = ", unpacked," if address.endswith(".bz2") else ""
        return (
            f"the weights are missing and cannot be downloaded; put {address}{unpacked} "
            f"at <{home}>/{WEIGHTS}/{file}"
        )
    return text.splitlines()[0]
