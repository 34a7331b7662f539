"""Icons (ICO): which of their pictures counts, taken out before anything is decoded. Pure.

Pillow decodes the largest picture of an icon already while it opens it, and believes sizes that the picture
itself contradicts. So it gets icons of one picture whose sizes agree; a PNG comes out of its icon altogether.
"""

from __future__ import annotations

import struct

START = b"\0\0\1\0"
PNG = b"\x89PNG\r\n\x1a\n"
# How Microsoft's programs lay icons out: ICONDIR, ICONDIRENTRY, and BITMAPINFOHEADER in front of the pixels,
# which counts each row twice: once for its colours, once for its mask.
HEAD, ENTRY, BITMAP = struct.Struct("<HHH"), struct.Struct("<BBBBHHII"), struct.Struct("<Iii")
ROWS = 2


def largest(data: bytes) -> bytes:
    """Return the largest picture of an icon, of equal ones that with most colours: a PNG, or an icon of one.

    An icon of one is at most 256 x 256 pixels, as its head says, and so does the picture itself.

    Raises:
        ValueError: the icon has none, or the picture says another size than the icon.
        struct.error: the icon is cut off.
    """
    _, _, count = HEAD.unpack_from(data)
    entries = [ENTRY.unpack_from(data, HEAD.size + number * ENTRY.size) for number in range(count)]
    entry = max(entries, key=lambda each: (_side(each[0]) * _side(each[1]), each[5]))
    *about, length, start = entry
    picture = data[start : start + length]
    if picture.startswith(PNG):
        return picture
    _, width, height = BITMAP.unpack_from(picture)
    if (width, height) != (_side(about[0]), ROWS * _side(about[1])):
        raise ValueError("a picture of the icon has another size than the icon says")
    return HEAD.pack(0, 1, 1) + ENTRY.pack(*about, length, HEAD.size + ENTRY.size) + picture


def _side(byte: int) -> int:
    return byte or 256
