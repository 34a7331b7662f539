"""Pictures made for the tests."""

from __future__ import annotations

import struct
import zlib


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with hardly any pixels behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))
