"""Guesses age and gender of faces with deepface's two networks, where ATTRIBUTES=1."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from embedding import preprocess
from embedding.engines import ENGINES, Engine, check
from serving.attributes import SIDE, AgeRange, Attributes, Gender

# uint8 (n, SIDE, SIDE, 3) RGB -> n guesses; n may be 0. May be called from several threads.
Guess = Callable[[NDArray[np.uint8]], list[Attributes]]

AGES = np.arange(101)  # years, one for each value of the network (`find_apparent_age` of deepface)
# In the order of the network's values (`GENDER_LABELS` of deepface).
GENDERS: tuple[Literal["female", "male"], ...] = ("female", "male")


def load(models_dir: Path, *, threads: int, engine: Engine, device: str, batch: int) -> Guess:
    """Load both networks, as preparation has made them.

    Args:
        models_dir: where it has put them.
        threads: that one call may use.
        engine, device: what runs them, and on what.
        batch: the most crops of one run.

    Raises:
        OSError: the files are not there.
        KeyError: they are not prepared.
        DeviceUnavailable: they cannot run on that device.
        NetworkUnfit: they are other networks.
    """
    networks = json.loads((models_dir / "manifest.json").read_text(encoding="utf-8"))["networks"]
    of_age, of_gender = (
        ENGINES[engine](models_dir / networks[name]["file"], threads, device) for name in ("age", "gender")
    )
    check(of_age, "age", side=SIDE, values=len(AGES))
    check(of_gender, "gender", side=SIDE, values=len(GENDERS))

    def guess(crops: NDArray[np.uint8]) -> list[Attributes]:
        guesses: list[Attributes] = []
        for start in range(0, len(crops), batch):
            # As deepface's `analyze` hands faces on: BGR in [0, 1].
            pixels = preprocess.network_input(
                crops[start : start + batch], scaling=(0, 255), colours="BGR", mirrored=False
            )
            guesses += map(attributes_of, of_age(pixels), of_gender(pixels))
        return guesses

    return guess


def attributes_of(ages: NDArray[np.float32], genders: NDArray[np.float32]) -> Attributes:
    """Say what the networks' values mean: probabilities, (101,) of each year and (2,) of GENDERS.

    The apparent age is their mean, as deepface has it, after Rothe et al. (DEX, IJCV 126, 2018).
    """
    of_years, of_genders = _shares(ages), _shares(genders)
    age = float(of_years @ AGES)
    away = np.abs(AGES - round(age))  # years from it, on either side
    within = np.bincount(away, of_years).cumsum()
    reach = int(np.searchsorted(within, 0.5))
    likelier = int(of_genders.argmax())
    return Attributes(
        round(age, 2),
        AgeRange(max(0, round(age) - reach), min(100, round(age) + reach), _rounded(within[reach])),
        Gender(GENDERS[likelier], _rounded(of_genders[likelier])),
    )


def _shares(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """Make them sum to 1, of which they may be some thousandths short in bfloat16."""
    exact = probabilities.astype(np.float64)
    shares: NDArray[np.float64] = exact / exact.sum()
    return shares


def _rounded(probability: float) -> float:
    return min(1.0, round(float(probability), 4))
