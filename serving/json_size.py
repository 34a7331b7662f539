"""How many values a JSON text has, counted before it is parsed: parsed they take 100 times the memory."""

from __future__ import annotations

import numpy as np

from serving.errors import InvalidRequest

# Commas, colons and opening brackets; 10,000 samples have 140,000, and their metadata a few more. They take
# some 150 MB once they are parsed.
MAX_MARKS = 1_000_000
MARKS = b",:[{"
CHUNK_BYTES = 1 << 20

_IS_MARK = np.isin(np.arange(256), list(MARKS))


def check_size(text: bytes, most: int = MAX_MARKS) -> None:
    """Refuse what has more values than an honest request.

    The time is linear in the text's length, the memory constant. Of what is not JSON nothing is said.

    most: of MARKS that stand outside strings.

    Raises:
        InvalidRequest: it has.
    """
    if len(text) <= most:  # most requests
        return
    if sum(text.count(mark) for mark in MARKS) > most and _outside_strings(text) > most:
        raise InvalidRequest(f"body: more than {most} values, which are too many at once")


def _outside_strings(text: bytes) -> int:
    marks, in_string, rest = 0, False, b""
    for start in range(0, len(text), CHUNK_BYTES):
        # What is escaped ends no string. Backslashes pair up from the left; a single last one belongs to what
        # comes next.
        chunk = (rest + text[start : start + CHUNK_BYTES]).replace(rb"\\", b"..")
        rest = b"\\" if chunk.endswith(b"\\") else b""
        chunk = chunk.removesuffix(rest).replace(rb"\"", b"..")
        characters = np.frombuffer(chunk, np.uint8)
        inside = np.logical_xor.accumulate(characters == ord('"')) ^ in_string
        marks += int(np.count_nonzero(_IS_MARK[characters] & ~inside))
        in_string = bool(inside[-1]) if len(inside) else in_string
    return marks
