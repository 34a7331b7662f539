"""The use case: vectors of pictures of faces. Knows neither HTTP nor files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedding import preprocess
from embedding.network import Network


def embed_pictures(network: Network, pictures: Sequence[bytes], max_image_pixels: int) -> list[list[float]]:
    """Turn encoded pictures, each of one face, into vectors.

    Returns:
        One vector per picture, in order; an empty one for a picture that cannot be read.
    """
    crops = [preprocess.read_crop(data, network.input_size, max_image_pixels) for data in pictures]
    readable = [crop for crop in crops if crop is not None]
    if not readable:
        return [[] for _ in crops]
    vectors = iter(network.embed(np.stack(readable)).tolist())
    return [[] if crop is None else next(vectors) for crop in crops]
