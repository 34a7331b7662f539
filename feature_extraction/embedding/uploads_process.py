"""The program that reads uploaded pictures, one at a time, away from the service.

uploads.py starts it. Pictures come in over the standard input, a socket, where the crop of each goes out, or
nothing. Before the first one it gives up whatever reading does not need, and it ends when the other end of
the socket is closed.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embedding import preprocess

READY = b"+"

# The most that was measured, and more: 22 bytes a pixel for WebP, three copies of the encoded picture.
BYTES_PER_PIXEL = 32
BYTES_PER_BYTE = 4
OTHER_BYTES = 64 * 2**20

Read = Callable[[bytes, int, int], NDArray[np.uint8] | None]


def main(read: Read = preprocess.read_crop) -> None:
    """Read until the standard input ends.

    Arguments: the side of the crops, the most pixels of a picture, and the most seconds for one.
    """
    side, max_pixels, timeout_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    channel = Connection(os.dup(0))
    Image.MAX_IMAGE_PIXELS = max_pixels  # for sizes that show only when a picture is decoded
    Image.init()  # loads the readers of all formats, before the first picture needs them
    memory = _give_up_rights()
    channel.send_bytes(READY)
    with suppress(EOFError):
        while True:
            data = channel.recv_bytes()
            allowed = BYTES_PER_BYTE * len(data) + BYTES_PER_PIXEL * max_pixels + OTHER_BYTES
            _limit(resource.RLIMIT_AS, memory + allowed, resource.RLIM_INFINITY)
            _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + timeout_s), resource.RLIM_INFINITY)
            crop = read(data, side, max_pixels)
            channel.send_bytes(b"" if crop is None else crop.tobytes())


def _give_up_rights() -> int:
    """Give up writing files, processes, core dumps and the log. Returns the bytes mapped until now."""
    os.dup2(1, 2)  # to nowhere: libtiff, for one, writes there what it thinks of a picture
    warnings.simplefilter("ignore")
    cv2.setNumThreads(1)
    Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this process goes first
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    for right in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE, resource.RLIMIT_NPROC):
        _limit(right, 0, 0)
    return pages * resource.getpagesize()


def _limit(what: int, soft: int, hard: int) -> None:
    resource.setrlimit(what, (soft, hard))


if __name__ == "__main__":
    main()
