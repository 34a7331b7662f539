"""What detector and network see in each frame of the clips of cameras_clips.py, kept in a cache."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import cameras_clips as clips
from embedding.network import load
from recognition.cameras import motion
from recognition.detector import OURS, find
from recognition.faces import Face, Quality
from recognition.pictures import crops
from recognition.pictures.quality import SIDE_PX, assess

Vectors = NDArray[np.float32]
NOBODY = -1  # of a face: it is none of the clip's, as where a pattern is taken for one


class Eyes:
    """Detector, crops, quality and network, as the services put them together."""

    def __init__(self, models_dir: Path, model: str, detector: str, threads: int) -> None:
        self.detect = OURS[detector](models_dir, threads=threads)
        self.network = load(model, models_dir, threads=threads)

    def __call__(self, picture: NDArray[np.uint8]) -> tuple[list[Face], list[Quality], Vectors]:
        """Find the faces of a picture, uint8 (H, W, 3) RGB, largest first, and their vectors."""
        found = find(self.detect, picture, small_faces=False, max_side_px=1600, min_face_px=20).faces
        faces = sorted(found, key=lambda face: -face.box.area)
        if not faces:
            return [], [], np.empty((0, self.network.model.dimension), np.float32)
        model = self.network.model
        cut = crops.crop_faces(picture, faces, model.input_size, model.template)
        square = cut
        if (model.template, model.input_size) != ("facenet", SIDE_PX):
            square = crops.crop_faces(picture, faces, SIDE_PX)
        return faces, assess(picture.shape[:2], faces, square), self.network.embed(cut)


@dataclass(frozen=True, eq=False)
class Frames:
    """A clip as it was seen. All arrays but `small` have a row for each face.

    small: uint8 (frames, 36, 64), what motion is looked for in.
    frame: in which; boxes: (n, 4), x, y, w, h; whose: index of the presence, or NOBODY.
    """

    small: NDArray[np.uint8]
    frame: NDArray[np.int64]
    boxes: NDArray[np.float32]
    confidence: NDArray[np.float32]
    quality: NDArray[np.float32]
    whose: NDArray[np.int64]
    vectors: Vectors


def read(path: Path) -> NDArray[np.uint8]:
    """Read a photograph: uint8 (H, W, 3), RGB."""
    return np.asarray(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), np.uint8)


def seen(clip: clips.Clip, eyes: Eyes, cache: Path | None) -> Frames:
    """Look at each frame of a clip, or take from the cache what was seen."""
    about = f"{clip}{eyes.network.model}"
    file = cache and cache / f"clip-{hashlib.sha256(about.encode()).hexdigest()[:20]}.npz"
    if file is None or not file.exists():
        made = _looked_at(clip, eyes)
        if file is None:
            return made
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, **vars(made))
        part.replace(file)
    with np.load(file) as parts:
        return Frames(**{name: parts[name] for name in Frames.__annotations__})


def _looked_at(clip: clips.Clip, eyes: Eyes) -> Frames:
    small, rows, vectors = [], [], [np.empty((0, eyes.network.model.dimension), np.float32)]
    for number, shot in enumerate(clips.frames(clip, read)):
        _, jpeg = cv2.imencode(".jpg", shot.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        pixels = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB), np.uint8)
        small.append(motion.small(pixels[..., ::-1]))
        faces, qualities, some = eyes(pixels)
        vectors.append(some)
        for face, quality in zip(faces, qualities, strict=True):
            box = face.box
            whose = _whose(shot.faces, box.x + box.w / 2, box.y + box.h / 2)
            rows.append((number, box.x, box.y, box.w, box.h, face.confidence, quality.value, whose))
    table = np.array(rows, np.float64).reshape(-1, 8)
    return Frames(
        np.stack(small),
        table[:, 0].astype(np.int64),
        table[:, 1:5].astype(np.float32),
        table[:, 5].astype(np.float32),
        table[:, 6].astype(np.float32),
        table[:, 7].astype(np.int64),
        np.concatenate(vectors),
    )


def _whose(faces: Mapping[int, Sequence[float]], x: float, y: float) -> int:
    def off(box: Sequence[float]) -> float:
        return math.hypot(box[0] + box[2] / 2 - x, box[1] + box[3] / 2 - y) / box[2]

    index = min(faces, key=lambda index: off(faces[index]), default=NOBODY)
    return index if index != NOBODY and off(faces[index]) < 0.8 else NOBODY


def portraits(paths: Sequence[Path], eyes: Eyes, cache: Path | None) -> tuple[list[Any], Vectors]:
    """Return who of the people of some photographs has a face there, and the vectors, (n, d)."""
    about = f"{paths}{eyes.network.model}"
    file = cache and cache / f"gallery-{hashlib.sha256(about.encode()).hexdigest()[:20]}.npz"
    if file is None or not file.exists():
        names, vectors = [], []
        for path in paths:
            faces, _, some = eyes(read(path))
            if faces:
                names.append(path.parent.name)
                vectors.append(some[0])
        made = {"names": np.array(names), "vectors": np.stack(vectors)}
        if file is None:
            return names, made["vectors"]
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **made)
    with np.load(file) as parts:
        return parts["names"].tolist(), parts["vectors"]
