"""Makes models/ as it is served: weights -> ONNX files, compared with their originals, and manifest.json.

`main` is the whole in order; `download` and `index` fetch, `convert` and `rearrange` make the networks.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path


class PrepareError(Exception):
    """The models cannot be prepared, for the one reason that the message gives."""


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str) -> None:
    """Tell the terminal, or the log that stands there."""
    print(f"prepare_models: {text}", file=sys.stderr, flush=True)
