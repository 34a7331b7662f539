"""Square patches of a picture, bilinearly resampled to the input size of a network."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LARGEST_SIDE_PX = 32766  # of a picture for cv2.remap, which counts in 16 bits
GREY = 127.5  # what the networks see as 0
OUTSIDE = -9  # a coordinate far enough off the picture


def points(boxes: NDArray[np.float64], height: int, width: int, side: int) -> NDArray[np.float32]:
    """Where samples of (side, side) patches lie in a (height, width) picture: float32 (n, 2, side), x and y.

    boxes: float64 (n, 4), x1, y1, x2, y2 in pixels; they may leave the picture.

    They are those of TensorFlow's crop_and_resize for boxes divided by the picture's height and width, as the
    package does: https://www.tensorflow.org/api_docs/python/tf/image/crop_and_resize.
    """
    size = np.array([[width], [height]])
    inward = (size - 1) / size
    low, high = boxes[:, :2, None] * inward, boxes[:, 2:, None] * inward
    at: NDArray[np.float32] = (low + (high - low) / (side - 1) * np.arange(side)).astype(np.float32)
    at[(at < 0) | (at > size - 1)] = OUTSIDE
    return at


def patches(picture: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sample the picture, float32 (H, W, 3), in [0, 255], at `points`: float32 (n, side, side, 3).

    Samples between pixels are bilinear; what lies outside is mid-grey, not blended at the border.
    """
    count, _, side = at.shape
    shape = (count, side, side)
    x = np.broadcast_to(at[:, 0, None, :], shape).reshape(-1, side)
    y = np.broadcast_to(at[:, 1, :, None], shape).reshape(-1, side)
    border = (GREY, GREY, GREY)
    sampled = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return np.asarray(sampled, dtype=np.float32).reshape(*shape, 3)
