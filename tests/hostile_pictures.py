"""Pictures that are small to send and large to read: false claims, bombs, floods and overlaps."""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from serving.readers import every_format

MB = 2**20
every_format()  # whose writers make some of the pictures


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


SMALL = Image.linear_gradient("L").resize((64, 48)).convert("RGB")


# --- PNG


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    width: int, height: int, *, bits: int = 8, colour: int = 2, more: bytes = b"", data: bytes | None = None
) -> bytes:
    """A black PNG of any size, with chunks `more` before the pixels; `data`: what stands instead of them."""
    if data is None:
        row = bytes(1 + (width * bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour] + 7) // 8)
        packer = zlib.compressobj(9)
        data = b"".join([packer.compress(row) for _ in range(height)] + [packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    end = chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + more + end


# --- JPEG


def jpeg_that_claims(width: int, height: int) -> bytes:
    data = bytearray(encoded(SMALL, "JPEG"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def jpeg_with(segments: bytes) -> bytes:
    data = encoded(SMALL, "JPEG")
    return data[:2] + segments + data[2:]


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_of_many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG that refines the same coefficients again and again, each time over all blocks."""
    data = encoded(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


# --- TIFF, and EXIF, which is one

LITTLE = "II*\0"


def tiff(tags: list[tuple[int, int, int, int]], body: bytes = b"") -> bytes:
    """A TIFF of the given tags (number, type, count, value or offset); `body` stands at offset 8."""
    body += bytes(len(body) % 2)
    table = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return (
        LITTLE.encode()
        + struct.pack("<I", 8 + len(body))
        + body
        + struct.pack("<H", len(tags))
        + table
        + bytes(4)
    )


def overlapping_tags(count: int, size: int) -> bytes:
    """A TIFF whose tags all claim the same `size` bytes."""
    return tiff([(1000 + number, 7, size, 8) for number in range(count)], bytes(size))


def tiff_that_claims(width: int, height: int, *more: tuple[int, int, int, int]) -> bytes:
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    return tiff(sorted([*tags, (273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 64), *more]), bytes(64))


# --- GIF, WebP, BMP

GIF_FRAME = b"\x2c" + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + b"\x02\x03\x44\x02\x05\x00"


def gif(body: bytes, width: int = 2, height: int = 2) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + body + b";"


def webp_that_claims(width: int, height: int) -> bytes:
    canvas = b"VP8X" + struct.pack("<II", 10, 0x10)
    canvas += struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + canvas + encoded(SMALL, "WEBP", lossless=True)[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp_that_claims(width: int, height: int) -> bytes:
    data = bytearray(encoded(SMALL, "BMP"))
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


EXIF_BOMB = overlapping_tags(3000, MB)

TOO_LARGE = {
    "JPEG": jpeg_that_claims(64250, 64250),
    "PNG": png(64250, 64250, data=zlib.compress(bytes(100))),
    "PNG, the last pixel too many": png(30_000_001, 1, data=b""),
    "PNG, as large as can be": png(2**31 - 1, 2**31 - 1, data=b""),
    "GIF": gif(GIF_FRAME, 65535, 65535),
    "GIF, its frame": gif(b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + GIF_FRAME[10:]),
    "WebP": webp_that_claims(16383, 16383),
    "BMP": bmp_that_claims(2**31 - 1, 2**31 - 1),
    "TIFF": tiff_that_claims(2**32 - 1, 2**32 - 1),
}

INVALID = {
    "nothing": b"",
    "compressed text": png(64, 48, more=100 * chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(MB - 1), 9))),
    "colour profile": png(64, 48, more=chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100 * MB), 9))),
    "overlapping tags": overlapping_tags(3000, MB),
    "as many tags as can be": overlapping_tags(60_000, 1000),
    "a strip beyond the end": tiff_that_claims(64, 48)[:-20],
    "TIFF of huge tiles": tiff_that_claims(64, 48, (322, 4, 1, 2**20), (323, 4, 1, 2**20), (324, 4, 1, 8)),
    "BMP without pixels": bmp_that_claims(5000, 5000),
    "JPEG without pixels": jpeg_that_claims(5000, 4000),
}

# What is odd and can be read all the same.
READABLE = {
    "a million frames": (gif(10**6 * GIF_FRAME), (2, 2)),
    "a hundred thousand comments": (gif(10**5 * b"\x21\xfe\x01x\0" + GIF_FRAME), (2, 2)),
    "a hundred thousand chunks": (png(64, 48, more=10**5 * chunk(b"abCd", b"")), (48, 64)),
    "a hundred thousand texts": (png(64, 48, more=10**5 * chunk(b"tEXt", b"k\0v")), (48, 64)),
    "a hundred thousand segments": (jpeg_with(10**5 * segment(0xFE, b"x")), (48, 64)),
    "the longest colour profile": (
        jpeg_with(
            b"".join(segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(65000)) for n in range(1, 256))
        ),
        (48, 64),
    ),
    "EXIF in PNG": (png(64, 48, more=chunk(b"eXIf", EXIF_BOMB)), (48, 64)),
    "EXIF in WebP": (encoded(SMALL, "WEBP", exif=EXIF_BOMB), (48, 64)),
    "EXIF in JPEG": (jpeg_with(segment(0xE1, b"Exif\0\0" + overlapping_tags(2600, 30_000))), (48, 64)),
    "one row": (png(3_000_000, 1, colour=0), (1, 3_000_000)),
    "one column": (png(1, 3_000_000, colour=0), (3_000_000, 1)),
    "a large picture in little": (png(5000, 6000, bits=1, colour=0), (6000, 5000)),
    "many scans": (jpeg_of_many_scans(1000, 100), (1000, 1000)),
}
