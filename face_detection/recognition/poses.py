"""Where the parts of a face are, and how a face lies in a picture. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The mean face of the LFW development pictures, made symmetric: left eye, right eye, nose, left and right
# mouth corner, as x + iy about the centre of a square whose side is the longer side of MTCNN's box.
MEAN_FACE = np.array([-0.172 - 0.115j, 0.172 - 0.115j, 0.085j, -0.154 + 0.252j, 0.154 + 0.252j])


def fitted(points: NDArray[np.complex128], landmarks: NDArray[np.complex128]) -> tuple[complex, complex]:
    """Return scale and turn, as one complex number, and shift that bring n points next to n landmarks.

    The similarity transform with the least squared distances (Umeyama, IEEE PAMI 13(4), 1991), which in the
    complex plane is a linear regression: landmarks = turn * points + shift. n is at least 2.
    """
    mean = points.mean()
    template = points - mean
    turn = complex(np.vdot(template, landmarks - landmarks.mean()) / np.vdot(template, template))
    return turn, complex(landmarks.mean()) - turn * complex(mean)
