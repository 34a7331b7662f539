"""Which few of many faces show best how somebody looks. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def varied(vectors: NDArray[np.float32], qualities: NDArray[np.float64], most: int) -> list[int]:
    """Choose good faces that are unlike each other.

    The best comes first, and then always the one with the largest product of its quality and its distance to
    the nearest that is chosen already: of ten frames in a row one counts, and a blurred one hardly ever.

    Args:
        vectors: float32 (n, d), of one person.
        qualities: float64 (n,), in [0, 1].
        most: how many at most.

    Returns:
        Their places, the best first.
    """
    if not len(vectors):
        return []
    chosen = [int(np.argmax(qualities))]
    apart = np.linalg.norm(vectors - vectors[chosen[0]], axis=1)
    while len(chosen) < min(most, len(vectors)):
        worth = (qualities + 1e-9) * (apart + 1e-9)  # so that doubles and the poorest are chosen at last, too
        worth[chosen] = -1
        chosen.append(int(np.argmax(worth)))
        apart = np.minimum(apart, np.linalg.norm(vectors - vectors[chosen[-1]], axis=1))
    return chosen
