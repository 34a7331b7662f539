"""What a distance is on CompreFace's scale: 1 for the same picture, 0.5 at the threshold, then towards 0. Pure.

CompreFace answers (tanh((c0 - d) * c1) + 1) / 2, d the Euclidean distance of two vectors of length 1. Here c0
is the model's threshold, so that 0.5 is the middle of this service, too. With distances and thresholds counted
in thresholds, which is what c0 * c1 amounts to, it does not matter how long a model's vectors are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.model import Model

# c0 * c1 of each model, as `benchmarks/similarity.py` fits it: similarities of one person's pictures come as near
# to 1, and those of two people's as near to 0, as they can; that is what CompreFace's authors say of their c1
# (github.com/exadel-inc/CompreFace/issues/910). docs/compreface.md has what comes of it.
STEEPNESS = {"Facenet": 0.0, "MobileFaceNet": 0.0}
OTHERS = 1.1817961 * 5.291995557  # of models that nobody has measured: CompreFace's own, of its FaceNet
DIGITS = 5  # as many as CompreFace's answers have


def similarity(distances: NDArray[np.floating], model: Model) -> NDArray[np.float64]:
    """Return similarities in [0, 1], rounded to DIGITS, the larger the nearer: float64, as many as distances.

    distances: Euclidean, of the model's own vectors, at least 0.
    """
    steepness = STEEPNESS.get(model.name, OTHERS)
    exact: NDArray[np.float64] = (np.tanh(steepness * (1 - distances / model.threshold)) + 1) / 2
    return np.round(exact, DIGITS)
