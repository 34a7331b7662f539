"""Backgrounds that come with the program, one file a model, and how they are read and written.

A file has no single person's vector: centres are means of several people, and all else is of scores alone.
`benchmarks/background.py` makes them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from recognition.matching.background import Background
from recognition.matching.calibration import Tail

FOLDER = Path(__file__).parent
OWN = 201  # quantiles that are kept of people's scores with themselves


@cache
def shipped(fingerprint: str) -> Background | None:
    """Return the background for the vectors of a fingerprint, if there is one."""
    for file in sorted(FOLDER.glob("*.npz")):
        about, background = read(file)
        if about["fingerprint"] == fingerprint:
            return background
    return None


def read(file: Path) -> tuple[dict[str, Any], Background]:
    """Read a file: where it comes from, and the background.

    Raises:
        OSError, ValueError, KeyError: it is none.
    """
    with np.load(file, allow_pickle=False) as parts:
        about: dict[str, Any] = json.loads(str(parts["about"]))
        tail = Tail(parts["scores"].astype(np.float64), float(parts["excess"]), int(parts["people"]))
        return about, Background(
            parts["centres"].astype(np.float32), tail, parts["own"], float(parts["discount"])
        )


def write(file: Path, about: Mapping[str, Any], background: Background) -> None:
    """Write a file; the centres lose digits, which moves scores by less than 0.001.

    about: where it comes from: at least `fingerprint`, of the model and its crops.

    Raises:
        OSError.
    """
    np.savez_compressed(
        file,
        about=np.array(json.dumps(about)),
        centres=background.centres.astype(np.float16),
        scores=background.tail.scores,
        excess=np.float64(background.tail.excess),
        people=np.int64(background.tail.people),
        own=np.quantile(background.own, np.linspace(0, 1, OWN)) if len(background.own) else background.own,
        discount=np.float64(background.discount),
    )
