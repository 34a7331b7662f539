"""What a process that reads a source, and the one that has started it, say to each other. Pure.

A request is one byte, which asks for the next frame. An answer is a byte, in FRAME and NOTHING the time in
seconds, since the process has begun or of the file, and in FRAME the picture as a JPEG.
"""

from __future__ import annotations

import struct

MOVING = b"m"  # requests: a frame in which something moves, or one now and then
ALWAYS = b"a"  # the next frame that is due

FRAME = b"F"  # answers
NOTHING = b"N"  # frames come, but nothing moves
ENDED = b"E"
UNAVAILABLE = b"U"  # the source cannot be opened

TIMES = struct.Struct("=d")
