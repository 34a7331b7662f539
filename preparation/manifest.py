"""models/manifest.json: what each file of models/ is, where it is from, and how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preparation import sha256_of

FORMAT = 1
NAME = "manifest.json"


def read_manifest(models_dir: Path) -> dict[str, Any] | None:
    """Return models_dir's manifest, or None when there is none of this format."""
    try:
        manifest = json.loads((models_dir / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("format") == FORMAT else None


def write_manifest(models_dir: Path, manifest: dict[str, Any]) -> None:
    """Put a manifest into models_dir, all of it or nothing. Raises OSError."""
    written = models_dir / f"{NAME}.part"
    written.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    written.replace(models_dir / NAME)


def entry(path: Path, **about: Any) -> dict[str, Any]:
    """Return what the manifest says of a network's file, beside what else is known of it. Raises OSError.

    about: input_size, dimension, inputs, outputs, weights, converter, largest_difference.
    """
    return {"file": path.name, "sha256": sha256_of(path), **about}


def is_as_made(models_dir: Path, network: dict[str, Any]) -> bool:
    """Tell whether a network's file is there and has the digest of its entry. Raises OSError."""
    file = models_dir / str(network["file"])
    return file.is_file() and sha256_of(file) == str(network["sha256"])
