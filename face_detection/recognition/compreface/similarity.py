"""What a distance is on CompreFace's scale: 1 for the same picture, 0.5 at the threshold. Pure.

CompreFace answers (tanh((c0 - d) * c1) + 1) / 2, d the Euclidean distance of two vectors of length 1. Here c0
is the model's threshold, so that 0.5 is the middle of this service, too. Distances are counted in thresholds,
so that it does not matter how long a model's vectors are; c1 becomes c0 * c1, a steepness.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from serving.model import Model

# As `benchmarks/similarity.py` fits it on LFW: at 0.98 as many pairs of one person are missed as by
# CompreFace's coefficients with CompreFace's crops. docs/compreface.md has what all similarities mean.
STEEPNESS = {"Facenet": 14.8, "MobileFaceNet": 11.9}
OTHERS = 12.0  # of models that were not measured; the less steep of the two, as it misses a little more
DIGITS = 5  # as many as CompreFace's answers have


def similarity(distances: NDArray[np.floating], model: Model) -> NDArray[np.float64]:
    """Return similarities in [0, 1], rounded to DIGITS, the larger the nearer: float64, as many as distances.

    distances: Euclidean, of the model's own vectors, at least 0.
    """
    steepness = STEEPNESS.get(model.name, OTHERS)
    exact: NDArray[np.float64] = (np.tanh(steepness * (1 - distances / model.threshold)) + 1) / 2
    return np.round(exact, DIGITS)
