"""The use case: vectors of pictures of faces. Knows neither HTTP nor files."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embedding.network import Network
from embedding.preprocess import resized
from serving.errors import ImageTooLarge, InvalidImage
from serving.remarks import Picture

Decode = Callable[[bytes], Picture]


def crops_of(pictures: Sequence[bytes], decode: Decode, side: int) -> list[NDArray[np.uint8] | None]:
    """Decode pictures of one face each, and scale them to uint8 (side, side, 3), RGB; None: unreadable.

    decode: raises InvalidImage or ImageTooLarge.
    """

    def crop_of(picture: bytes) -> NDArray[np.uint8] | None:
        try:
            return resized(decode(picture).pixels, side)
        except (InvalidImage, ImageTooLarge):
            return None

    return [crop_of(picture) for picture in pictures]


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
