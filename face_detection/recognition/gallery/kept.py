"""A kept face as bytes, as it lies in the table, and as an object of JSON, as it stands in files. Pure."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from recognition.faces import Box, Face, KeptFace

FLOAT32 = np.dtype("<f4")
NUMBERS = 15  # in front of the JPEG: the detector's confidence, the box, and x and y of five landmarks
HEAD_BYTES = NUMBERS * FLOAT32.itemsize
MAX_JPEG_BYTES = 2**18  # noise of 256 x 256 pixels in black and white has 242,567
START, END = b"\xff\xd8\xff", b"\xff\xd9"  # of a JPEG: ITU-T T.81, B.1.1.3
DIGITS = 3  # behind the point, in a file: a thousandth of a pixel

Pixels = Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]


class FaceLine(BaseModel):
    """What a file has of a kept face; landmarks that were not found are null."""

    jpeg: str
    confidence: Annotated[float, Field(ge=0, le=1)]
    bbox: Annotated[list[Pixels], Field(min_length=4, max_length=4)]
    landmarks: Annotated[list[tuple[Pixels, Pixels] | None], Field(min_length=5, max_length=5)]


def packed(kept: KeptFace) -> bytes:
    """Turn a kept face into bytes: little-endian float32 numbers, and the JPEG behind them."""
    box = kept.face.box
    head = np.array([kept.face.confidence, box.x, box.y, box.w, box.h, *kept.face.landmarks.flat], FLOAT32)
    return head.tobytes() + kept.jpeg


def unpacked(data: bytes) -> KeptFace:
    """Turn such bytes back into the face.

    Raises:
        ValueError: they cannot be those of one.
    """
    jpeg = data[HEAD_BYTES:]
    check_jpeg(jpeg)
    confidence, *box = (head := np.frombuffer(data, FLOAT32, NUMBERS))[:5].tolist()
    if not np.isfinite(head[:5]).all():
        raise ValueError("a kept face without a place")
    return _face(jpeg, confidence, Box(*box), head[5:].reshape(5, 2).astype(np.float32))


def rendered(kept: KeptFace) -> dict[str, Any]:
    """Turn a kept face into an object of JSON."""
    face = kept.face
    box = (face.box.x, face.box.y, face.box.w, face.box.h)
    return {
        "jpeg": rendered_jpeg(kept.jpeg),
        "confidence": face.confidence,
        "bbox": [round(value, DIGITS) for value in box],
        "landmarks": [
            [round(x, DIGITS), round(y, DIGITS)] if np.isfinite((x, y)).all() else None
            for x, y in face.landmarks.tolist()
        ],
    }


def parsed(line: FaceLine) -> KeptFace:
    """Turn such an object back into the face.

    Raises:
        ValueError: it has no JPEG.
    """
    jpeg = parsed_jpeg(line.jpeg)
    landmarks = [(np.nan, np.nan) if place is None else place for place in line.landmarks]
    return _face(jpeg, line.confidence, Box(*line.bbox), np.array(landmarks, np.float32))


def rendered_jpeg(jpeg: bytes) -> str:
    """Turn a picture into text."""
    return base64.b64encode(jpeg).decode("ascii")


def parsed_jpeg(text: str) -> bytes:
    """Turn such text back into the picture.

    Raises:
        ValueError: it is none.
    """
    jpeg = base64.b64decode(text, validate=True)
    check_jpeg(jpeg)
    return jpeg


def check_jpeg(jpeg: bytes) -> None:
    """Make sure that bytes look like a JPEG that is whole; nothing decodes them here.

    Raises:
        ValueError: they do not, or are more than MAX_JPEG_BYTES.
    """
    if len(jpeg) > MAX_JPEG_BYTES or not (jpeg.startswith(START) and jpeg.endswith(END)):
        raise ValueError("no JPEG of a face")


def _face(jpeg: bytes, confidence: float, box: Box, landmarks: NDArray[np.float32]) -> KeptFace:
    return KeptFace(jpeg, Face(box, confidence, landmarks))
