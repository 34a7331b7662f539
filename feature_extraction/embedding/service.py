"""The use case: vectors of pictures of faces. Knows neither HTTP nor files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedding.network import Network


def embed_readable(network: Network, crops: Sequence[NDArray[np.uint8] | None]) -> list[list[float]]:
    """Turn crops, uint8 (S, S, 3), RGB, S the network's input size, into vectors.

    Returns:
        One vector per crop, in order; an empty one for None, a picture that could not be read.
    """
    readable = [crop for crop in crops if crop is not None]
    if not readable:
        return [[] for _ in crops]
    vectors = iter(network.embed(np.stack(readable)).tolist())
    return [[] if crop is None else next(vectors) for crop in crops]
