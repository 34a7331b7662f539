"""Landmarks of faces that another detector has found, by MTCNN's last network."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from recognition.detector.mtcnn import O_BATCH, O_SIDE_PX, O_SURE, logit
from recognition.detector.patches import GREY
from recognition.poses import MEAN_FACE, fitted

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
Doubles = NDArray[np.float64]


def located(onet: Network, picture: NDArray[np.uint8], landmarks: Doubles) -> Doubles:
    """Locate landmarks more precisely: each face is looked at upright, as MTCNN would see it.

    Where O-Net sees no face they stay as they are.

    Args:
        onet: O-Net, as `load_network` has it.
        picture: uint8 (H, W, 3), RGB.
        landmarks: (n, 5, 2), x and y in pixels of it, roughly.

    Returns (n, 5, 2).
    """
    precise = landmarks.copy()
    poses = [(number, *_pose(face)) for number, face in enumerate(landmarks)]
    visible = [pose for pose in poses if abs(pose[1]) >= 1]  # the others are no larger than a pixel
    for start in range(0, len(visible), O_BATCH):
        some = visible[start : start + O_BATCH]
        values = onet(np.stack([_patch(picture, turn, centre) for _, turn, centre in some]))
        for (number, turn, centre), seen in zip(some, values.astype(np.float64), strict=True):
            if seen[0] <= logit(O_SURE):
                continue
            # In pixels from the corner of the patch, as in `mtcnn.finish`.
            x, y = seen[5:].reshape(2, 5) * (abs(turn) + 1) - 1
            places = centre - (0.5 + 0.5j) * turn + (x + 1j * y) * turn / abs(turn)
            precise[number] = np.stack([places.real, places.imag], axis=1)
    return precise


def _pose(landmarks: Doubles) -> tuple[complex, complex]:
    return fitted(MEAN_FACE, landmarks[:, 0] + 1j * landmarks[:, 1])


def _patch(picture: NDArray[np.uint8], turn: complex, centre: complex) -> NDArray[np.float32]:
    """The square that MEAN_FACE stands in: float32 (48, 48, 3), in [0, 255]."""
    step = turn / (O_SIDE_PX - 1)
    corner = centre - (0.5 + 0.5j) * turn
    warp = np.array([[step.real, -step.imag, corner.real], [step.imag, step.real, corner.imag]])
    size, how = (O_SIDE_PX, O_SIDE_PX), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = (GREY, GREY, GREY)
    patch = cv2.warpAffine(picture, warp, size, flags=how, borderMode=cv2.BORDER_CONSTANT, borderValue=border)
    return patch.astype(np.float32)
