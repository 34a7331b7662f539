"""The program that decodes pictures, one at a time, away from the service: `-m serving.sandbox_process`.

sandbox.py starts it. Pictures come in over the standard input, a socket, where one short answer to each goes
out; the pixels are left in a file that both have mapped. Before the first picture it gives up whatever
decoding does not need, as prison.py says, and it ends when the other end of the socket is closed.
"""

from __future__ import annotations

import copy
import math
import mmap
import os
import resource
import socket
import struct
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from serving import pictures as images
from serving import prison, readers
from serving.errors import ImageTooLarge, InvalidImage
from serving.remarks import OF_DECODER, Picture

READY = b"+"  # then what prison.py has found missing, and a line break
REQUEST = struct.Struct("=Q")  # how many bytes of picture follow
# Which of the three below, height and width; then for DECODED a bit for each of OF_DECODER and, above
# ORIENTATION_BIT, how the picture is stored; for INVALID the number of one of REFUSALS, from 1, or 0.
ANSWER = struct.Struct("=BQQB")
DECODED, INVALID, TOO_LARGE = range(3)
ORIENTATION_BIT = 4

# The most that was measured, and more: 20 bytes a pixel for JPEG 2000 with alpha, 16 for WebP, 10 for AVIF, 8
# for HEIC; three copies of the encoded picture.
BYTES_PER_PIXEL = 24
BYTES_PER_BYTE = 4
OTHER_BYTES = 64 * 2**20

# Pillow imports these with the first GIF, and the first TIFF in CIE L*a*b*; by then no file can be opened.
LOADED_EARLY = (copy, ImageCms)

Array = Callable[[int, int], NDArray[np.uint8]]
Decode = Callable[[bytes, int, Array], Picture]


def main(decode: Decode = images.decode) -> None:
    """Decode until the standard input ends.

    Arguments: the most pixels and bytes of a picture, the most seconds for one, and the descriptor of the
    shared file.
    """
    max_pixels, max_bytes, file = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4])
    timeout_s = float(sys.argv[3])
    shared = mmap.mmap(file, 3 * max_pixels)
    os.close(file)
    channel = socket.socket(fileno=0)
    Image.MAX_IMAGE_PIXELS = (
        max_pixels  # Pillow checks sizes that show only later against twice its own limit
    )
    readers.every_format()  # loads them before the first picture needs them
    missing = _give_up_rights(BYTES_PER_BYTE * max_bytes + BYTES_PER_PIXEL * max_pixels + OTHER_BYTES)
    channel.sendall(READY + "; ".join(missing).encode() + b"\n")

    def array(height: int, width: int) -> NDArray[np.uint8]:
        return np.frombuffer(shared, np.uint8, 3 * height * width).reshape(height, width, 3)

    while len(request := channel.recv(REQUEST.size)) == REQUEST.size:
        (size,) = REQUEST.unpack(request)
        cpu_s = math.ceil(time.process_time() + timeout_s)
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, resource.RLIM_INFINITY))
        channel.sendall(ANSWER.pack(*_outcome(decode, _received(channel, size), max_pixels, array)))


def _received(channel: socket.socket, size: int) -> bytes:
    data = bytearray(size)
    missing = memoryview(data)
    while missing:
        got = channel.recv_into(missing)
        if not got:
            sys.exit()
        missing = missing[got:]
    return bytes(data)


def _outcome(decode: Decode, data: bytes, max_pixels: int, array: Array) -> tuple[int, int, int, int]:
    """Decode a picture into the array made by `array`. Returns what ANSWER packs."""
    try:
        picture = decode(data, max_pixels, array)
        height, width, _ = picture.pixels.shape
    except ImageTooLarge:
        return TOO_LARGE, 0, 0, 0
    except InvalidImage as e:
        return INVALID, 0, 0, images.REFUSALS.index(e.detail) + 1 if e.detail in images.REFUSALS else 0
    more = sum(1 << OF_DECODER.index(remark) for remark in picture.remarks)
    return DECODED, height, width, more | picture.orientation << ORIENTATION_BIT


def _give_up_rights(more_bytes: int) -> list[str]:
    """Give up what decoding does not need, and memory beyond so much more. Returns what it could not."""
    os.dup2(1, 2)  # to nowhere: libtiff, for one, writes there what it thinks of a picture
    warnings.simplefilter("ignore")
    Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this process goes first
    memory = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + more_bytes
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = memory if most == resource.RLIM_INFINITY else min(memory, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    return prison.enter()


if __name__ == "__main__":
    main()
