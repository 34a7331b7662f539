"""A process that reads uploads and whose reader does what the picture tells it to."""

from __future__ import annotations

import numpy as np

from embedding import uploads_process
from hostile_decoder import DEEDS


def read(data: bytes, side: int, max_pixels: int) -> np.ndarray:
    """Do one of DEEDS, or make a crop of the first byte."""
    DEEDS.get(data.decode(), int)()
    return np.full((side, side, 3), data[0], np.uint8)


if __name__ == "__main__":
    uploads_process.main(read)
