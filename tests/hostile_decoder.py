"""A decoding process whose decoder does what the picture tells it to."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from serving import sandbox_process as decoding_process

DEEDS: dict[str, Callable[[], Any]] = {
    "loops for ever": lambda: [None for _ in iter(int, 1)],
    "sleeps": signal.pause,
    "aborts": os.abort,
    "reads where nothing is": lambda: ctypes.string_at(0),
    "exits": lambda: os._exit(0),
    "exits with ceremony": sys.exit,
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "allocates without end": lambda: [bytearray(2**24) for _ in iter(int, 1)],
    "allocates at once": lambda: bytearray(2**40),
    "recurses without end": lambda: DEEDS["recurses without end"](),
    "raises": lambda: 1 / 0,
    "claims more than there may be": lambda: SimpleNamespace(shape=(2**40, 2**20, 3)),
    "answers nonsense": lambda: os.write(0, b"nonsense"),
    "writes a file": lambda: os.write(os.open("/tmp", os.O_TMPFILE | os.O_WRONLY), b"x"),
    "knows a secret": lambda: os.environ["SECRET"],
}


def decode(data: bytes, max_pixels: int, array: decoding_process.Array) -> np.ndarray:
    """Do one of DEEDS, or make a picture, 1 pixel wide, of the bytes; what it prints is nobody's business."""
    print("printed")
    print("complained", file=sys.stderr, flush=True)
    deed = DEEDS.get(data.decode())
    done = deed() if deed else None
    if isinstance(done, SimpleNamespace):
        return done  # type: ignore[return-value]
    pixels = array(len(data), 1)
    pixels[:] = np.frombuffer(data, np.uint8)[:, None, None]
    return pixels


if __name__ == "__main__":
    decoding_process.main(decode)
