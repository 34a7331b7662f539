"""How well a face can be told from others: a number in [0, 1], and what is wrong. Pure.

The measures follow ISO/IEC 29794-5 and OFIQ, its reference implementation, where a crop and five landmarks
are
enough: sharpness, eye distance, exposure, dynamic range, compression, pose, margins, covered parts.
Sharpness is measured at the crop's scale, because that is what the network sees, however large the face is
in its picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.faces import Face, Quality, Reason
from recognition.pictures.crops import HEIGHT, WIDTH, pose
from recognition.pictures.measures import FACE, SIDE_PX, WINDOW, Measures, measure
from recognition.poses import MEAN_FACE

__all__ = ["SIDE_PX", "assess", "told"]

POOR, NOTABLE = 0.25, 0.5  # qualities: at `Scale.poor`, and below which a reason is given


@dataclass(frozen=True, slots=True)
class Scale:
    """How a measure becomes a quality: linearly from POOR at `poor` to 1 at `good` and beyond.

    Worse than `poor`, it falls with the ratio to that; to 0 for what is blurred, whose strangers match most.
    """

    code: str
    poor: float
    good: float

    def quality(self, value: float) -> float:
        """In [0, 1]."""
        share = (value - self.poor) / (self.good - self.poor)
        if share >= 0:
            return min(1.0, POOR + (1 - POOR) * share)
        ratio = max(0.0, value) / self.poor if self.poor < self.good else self.poor / value
        return POOR * (0.7 + 0.3 * ratio if self.code != "blurred" else ratio**4)

    @property
    def notable(self) -> float:
        """The value whose quality is NOTABLE."""
        return self.poor + (self.good - self.poor) * (NOTABLE - POOR) / (1 - POOR)


# Where strangers' matches depend on a measure, `poor` lies beyond all but 3 of 1,333 faces of LFW's half
# `tune`, with a margin, and beyond the 92 demo photographs; else where hardly anything is left. `good` is
# what most of those faces reach. docs/quality.md has the figures.
SHARPNESS = Scale("blurred", 0.069, 0.2)
SHAKE = Scale("blurred", 0.19, 0.4)
OUTLINES = Scale("blurred", 0.205, 0.45)
GRAIN = Scale("noisy", 0.11, 0.02)
SPECKS = Scale("noisy", 0.28, 0.08)
FLAT = Scale("compressed", 0.1, 0.002)
EVENNESS = Scale("compressed", 0.2, 0.5)
BLANK = Scale("covered", 0.06, 0.002)
PARTS = tuple(  # both eyes, the nose, the mouth
    Scale("covered", *ends) for ends in ((0.04, 0.6), (0.04, 0.6), (0.1, 0.6), (0.27, 0.75))
)
DARKNESS = Scale("dark", 0.0, 90.0)
BRIGHTNESS = Scale("bright", 252.0, 190.0)
CONTRAST = Scale("low_contrast", 2.5, 80.0)
EYE_DISTANCE = Scale("small", 9.9, 30.0)
MISSING = Scale("cut_off", 0.08, 0.0)
TURN = Scale("turned_away", 1.0, 0.1)
LARGEST_TURN = 10.0  # of landmarks that are those of no face
CONFIDENCE = Scale("unsure", 0.8, 0.98)

# Some points of the face, in the plane of MEAN_FACE.
_ROWS, _COLUMNS = ((at[FACE][::23] + 0.5) / SIDE_PX - 0.5 for at in np.mgrid[WINDOW])
POINTS = _COLUMNS * WIDTH + 1j * _ROWS * HEIGHT
EYES_APART = float((MEAN_FACE[1] - MEAN_FACE[0]).real)


def assess(shape: tuple[int, ...], faces: Sequence[Face], cut: NDArray[np.uint8]) -> list[Quality]:
    """Tell how good faces are.

    Args:
        shape: height and width of their picture.
        faces: n faces of it.
        cut: uint8 (n, 160, 160, 3), RGB: their crops, as `crop_faces` makes them.

    Returns:
        The quality of each: that of its worst measure. Measures of a quality below NOTABLE are its reasons.
    """
    return [
        _quality([*_of_crop(measure(crop)), *_of_face(face, shape)])
        for face, crop in zip(faces, cut, strict=True)
    ]


def told(quality: Quality) -> str:
    """Say in words what is wrong with a face."""
    wrong = ", ".join(dict.fromkeys(reason.code.replace("_", " ") for reason in quality.reasons))
    return (
        f"The face is too poor to tell people apart (quality {quality.value:.2f}): {wrong or 'all in all'}."
    )


def _quality(measures: list[tuple[Scale, float]]) -> Quality:
    worst: dict[str, tuple[float, Reason]] = {}
    lowest = 1.0
    for scale, value in measures:
        quality = scale.quality(value)
        lowest = min(lowest, quality)
        if quality < NOTABLE and quality < worst.get(scale.code, (1.0,))[0]:
            reason = Reason(scale.code, round(value, 3), round(scale.notable, 3))
            worst[scale.code] = quality, reason
    reasons = [reason for _, reason in sorted(worst.values(), key=lambda pair: pair[0])]
    return Quality(round(lowest, 3), tuple(reasons))


def _of_crop(seen: Measures) -> list[tuple[Scale, float]]:
    measures = [
        (SHARPNESS, seen.sharpness),
        (SHAKE, seen.shake),
        (OUTLINES, seen.outlines),
        (GRAIN, seen.grain),
        (SPECKS, seen.specks),
        (FLAT, seen.flat),
        (EVENNESS, seen.evenness),
        (BLANK, seen.blank),
        *zip(PARTS, seen.parts, strict=True),
        (DARKNESS, seen.middle),
        (BRIGHTNESS, seen.middle),
        (CONTRAST, seen.high - seen.low),
    ]
    return [(scale, value) for scale, value in measures if value is not None]


def _of_face(face: Face, shape: tuple[int, ...]) -> list[tuple[Scale, float]]:
    """Measure what box and landmarks tell."""
    turn, centre = pose(face)
    points = turn * POINTS + centre
    outside = (points.real < 0) | (points.real > shape[1]) | (points.imag < 0) | (points.imag > shape[0])
    measures = [
        (EYE_DISTANCE, abs(turn) * EYES_APART),
        (MISSING, float(outside.mean())),
        (CONFIDENCE, face.confidence),
    ]
    if np.isfinite(face.landmarks).all():
        measures.append((TURN, _turn(face.landmarks)))
    return measures


def _turn(landmarks: NDArray[np.float32]) -> float:
    """Return how far the nose is from the middle of eyes and mouth, in eye distances: 0 is seen from the
    front.

    Across it tells yaw, along it pitch, of which there is less; 0.03 is that of the mean face.
    """
    eye, other, nose, *mouth = (landmarks[:, 0].astype(np.float64) + 1j * landmarks[:, 1]).tolist()
    if eye == other:
        return LARGEST_TURN
    off: complex = (nose - (eye + other + sum(mouth)) / 4) / (other - eye)
    return min(LARGEST_TURN, max(abs(off.real), 1.5 * abs(off.imag - 0.03)))
