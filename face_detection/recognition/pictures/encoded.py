"""Base64 text to bytes."""

from __future__ import annotations

import re
from contextlib import suppress

import pybase64

from serving.errors import InvalidImage

# RFC 2397, and what is left of it where somebody has cut off its beginning. Browsers write octet-stream, or
# no type, where they do not know a file's. Nothing is tried twice (*+), so the time stays linear.
DATA_URI = re.compile(
    r"\s*+(?:data:)?+\s*+(?:image/[\w.+-]++|application/octet-stream)?+"
    r'(?:\s*+;\s*+[\w.+-]++=(?:[\w.+-]++|"[\w.+ -]*+"))*+\s*+;\s*+base64\s*+,',
    re.ASCII | re.IGNORECASE,
)
URL_SAFE = bytes.maketrans(b"-_", b"+/")  # RFC 4648, section 5
BYTE_ORDER_MARK = "\ufeff"
PERCENT_ENCODED = [f"%{ord(c):02X}".encode() for c in "+/=\n\r "]  # what base64 has that URLs reserve


def from_base64(text: str) -> bytes:
    """Read base64 text, bare or behind `data:image/...;base64,`.

    Line breaks, the URL-safe alphabet, missing padding and percent-encoding leave no doubt about the bytes.
    Blanks do: they may stand for `+`, as in a form that was not encoded, unless all lines between them have
    one length.

    Raises:
        InvalidImage: it is not base64, or in doubt.
    """
    header = DATA_URI.match(text)
    body = text[header.end() :] if header else text
    with suppress(ValueError):  # most are plain, and looking for anything else takes longer than decoding
        return pybase64.b64decode(body, validate=True)
    try:
        return pybase64.b64decode(_plain(body), validate=True)
    except ValueError as e:
        raise InvalidImage("The picture is not valid base64.") from e


def _plain(text: str) -> bytes:
    """Bring base64 into the form of RFC 4648, section 4. Raises ValueError: it is in no known one."""
    body = text.strip().removeprefix(BYTE_ORDER_MARK).encode("ascii")
    # Nothing below makes an object for each thing found: there may be millions.
    if b"%" in body:
        for code in PERCENT_ENCODED:
            character = bytes([int(code[1:], 16)])
            body = body.replace(code, character).replace(code.lower(), character)
    body = body.strip().translate(URL_SAFE, b"\t\r\v\f").replace(b" \n", b"\n")
    for blanks in (16, 8, 4, 2, 1):  # the indentation of lines, up to 31
        body = body.replace(b"\n" + b" " * blanks, b"\n")
    body = body.replace(b"\n", b"")
    if b" " in body:
        width = body.index(b" ")
        folds = body[width :: width + 1]
        if folds.count(b" ") != len(folds) or body.count(b" ") != len(folds):
            raise InvalidImage("The picture's base64 has blanks; if they were +, write %2B in a form.")
        body = body.replace(b" ", b"")
    body = body.rstrip(b"=")
    return body + b"=" * (-len(body) % 4)
