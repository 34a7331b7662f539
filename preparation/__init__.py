"""Parts of prepare_models.py: `download` fetches weights and photographs, `convert` makes the ONNX files."""

from __future__ import annotations

import hashlib
from pathlib import Path


class PrepareError(Exception):
    """The models cannot be prepared, for the one reason that the message gives."""


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
