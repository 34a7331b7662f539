"""Pictures made for the tests."""

from __future__ import annotations

import struct
import zlib

import numpy as np


def png_that_claims(width: int, height: int) -> bytes:
    """A PNG whose header claims a size, with hardly any pixels behind it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


def png_of(samples: np.ndarray) -> bytes:
    """A PNG of uint16: (h, w) grey, (h, w, 2) grey and alpha, (h, w, 3) RGB, (h, w, 4) RGBA."""
    height, width = samples.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples[0, 0].size]
    rows = samples.astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def tiff_of(
    samples: np.ndarray,
    *,
    photometric: int | None = None,
    deflate: bool = False,
    order: str = "<",
    more: tuple[tuple[int, int, int], ...] = (),
) -> bytes:
    """A TIFF of one strip, of samples of any type: (h, w) grey, or (h, w, n).

    order: of the bytes, `<` or `>`; more: further tags, each its number, its type (3 or 4) and its value.
    """
    height, width = samples.shape[:2]
    number = samples[0, 0].size
    strip = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    strip = zlib.compress(strip) if deflate else strip
    strip += bytes(len(strip) % 2)
    bits, kind = 8 * samples.itemsize, {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    lists = struct.pack(f"{order}{2 * number}H", *number * [bits], *number * [kind])
    bits_at, kinds_at = 8 + len(strip), 8 + len(strip) + 2 * number

    def entry(tag: int, kind: int, value: int, count: int = 1) -> bytes:
        if kind == 3 and count == 1:
            return struct.pack(f"{order}HHIHH", tag, kind, count, value, 0)
        if kind == 3 and count == 2:
            return struct.pack(f"{order}HHIHH", tag, kind, count, *2 * [bits if tag == 258 else value])
        return struct.pack(f"{order}HHII", tag, kind, count, value)

    entries = [
        entry(256, 4, width),
        entry(257, 4, height),
        entry(258, 3, bits if number == 1 else bits_at, number),
        entry(259, 3, 8 if deflate else 1),
        entry(262, 3, (2 if number > 2 else 1) if photometric is None else photometric),
        entry(273, 4, 8),
        entry(277, 3, number),
        entry(278, 4, height),
        entry(279, 4, len(strip)),
        entry(339, 3, kind if number < 3 else kinds_at, number),
        *(entry(*each) for each in more),
    ]
    entries.sort(key=lambda each: struct.unpack(f"{order}H", each[:2]))
    table = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    start = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(strip) + len(lists))
    return start + strip + lists + table
