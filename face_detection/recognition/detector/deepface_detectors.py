"""deepface's face detectors, but for those that are ours."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Box, Face
from serving.deepface import reason, set_up

# The file in deepface's weights folder which tells that a detector's weights are there (deepface 0.0.103,
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
    try:
        set_up(FILES[name], models_dir=models_dir, deepface_home=deepface_home, threads=threads)
        from deepface.modules import modeling  # here: it brings TensorFlow, which ours do without

        detector: Any = modeling.build_model("face_detector", name)
        detector.detect_faces(np.zeros((160, 160, 3), np.uint8))  # centerface loads its weights here only
    except Exception as e:  # deepface raises whatever its parts do
        raise DetectorUnavailable(f"DETECTOR={name}: {reason(e, deepface_home)}") from e
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
