"""Base64 text to bytes."""

from __future__ import annotations

import re
from contextlib import suppress

import pybase64

from serving.errors import InvalidImage

DATA_URI = re.compile(r"\s*data:image/[\w.+-]+(?:;[\w.+-]+=[\w.+-]+)*;base64,", re.ASCII | re.IGNORECASE)
WHITE_SPACE = b" \t\n\r\v\f"


def from_base64(text: str) -> bytes:
    """Read base64 text, bare or behind `data:image/...;base64,`; line breaks are tolerated.

    Raises:
        InvalidImage: it is not base64.
    """
    header = DATA_URI.match(text)
    body = text[header.end() :] if header else text
    with suppress(ValueError):  # most have no line breaks, and looking for them takes longer than decoding
        return pybase64.b64decode(body, validate=True)
    try:
        return pybase64.b64decode(body.encode("ascii").translate(None, WHITE_SPACE), validate=True)
    except ValueError as e:
        raise InvalidImage("The picture is not valid base64.") from e
