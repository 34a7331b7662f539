"""Square patches of a picture, bilinearly resampled to the input size of a network."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LARGEST_SIDE_PX = 32766  # of a picture for cv2.remap, which counts in 16 bits
GREY = 127.5  # what the networks see as 0


def patches(picture: NDArray[np.float32], boxes: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Resample each box of the picture to (side, side): float32 (n, side, side, 3), range as the picture's.

    picture: float32 (H, W, 3), in [0, 255]; boxes: float64 (n, 4), x1, y1, x2, y2 in its pixels; they may
    leave the picture, and what lies outside is mid-grey, not blended at the border.

    The sampling points are those of TensorFlow's crop_and_resize for boxes divided by the picture's height
    and width, as the package does: https://www.tensorflow.org/api_docs/python/tf/image/crop_and_resize.
    """
    if not len(boxes):
        return np.empty((0, side, side, 3), np.float32)
    height, width = picture.shape[:2]
    shape = (len(boxes), side, side)
    x = np.broadcast_to(_samples(boxes[:, 0], boxes[:, 2], width, side)[:, None, :], shape)
    y = np.broadcast_to(_samples(boxes[:, 1], boxes[:, 3], height, side)[:, :, None], shape)
    sampled = cv2.remap(
        picture,
        x.reshape(-1, side),
        y.reshape(-1, side),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(GREY, GREY, GREY),
    )
    return np.asarray(sampled, dtype=np.float32).reshape(*shape, 3)


def _samples(
    low: NDArray[np.float64], high: NDArray[np.float64], size: int, side: int
) -> NDArray[np.float32]:
    """Where to sample along one axis: (n, side) float32 in pixels, far off the picture if outside it."""
    inward = (size - 1) / size
    step = (high - low) * inward / (side - 1)
    at = ((low * inward)[:, None] + step[:, None] * np.arange(side)).astype(np.float32)
    at[(at < 0) | (at > size - 1)] = -9
    return at
