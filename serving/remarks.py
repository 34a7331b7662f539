"""A decoded picture, and what is worth knowing of one that was processed nevertheless."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Remark:
    """Something worth knowing of a picture: a warning in the answers.

    code: for programs; detail: for people, in words; values: JSON values that go with it, by name.
    """

    code: str
    detail: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture: uint8 (H, W, 3), RGB, upright and contiguous.

    orientation: how it is stored, by EXIF's tag, 1 to 8; 1: as it is.
    """

    pixels: NDArray[np.uint8]
    remarks: tuple[Remark, ...] = ()
    orientation: int = 1


# What a decoder may remark. It tells by their places here, as no text leaves the process that it runs in.
TRUNCATED = Remark("truncated", "Some of the picture's data is missing; what it showed is blank.")
DAMAGED = Remark("damaged", "Some of the picture's data is damaged; what it showed may look wrong.")
OF_DECODER = (TRUNCATED, DAMAGED)
