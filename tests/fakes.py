"""A service for tests that are about neither faces nor vectors: every picture has one face, all alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask import Flask
from numpy.typing import NDArray
from werkzeug.test import TestResponse

from recognition import backgrounds
from recognition.app import create_app, with_stored_services
from recognition.config import read
from recognition.faces import Box, Face
from recognition.gallery import Gallery
from recognition.matching import background
from serving.model import Model

FACE = Face(Box(0, 0, 5, 5), 0.9, np.array([[1, 2], [3, 2], [2, 3], [1, 4], [3, 4]], np.float32))


class ConstantEmbedder:
    """Whose vectors are all the same."""

    def model(self, name: str | None = None) -> Model:
        return Model("a model", 4, 8, 1.0, (0.0, 2.0), "fingerprint")

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.ones((len(crops), 4), np.float32)


def app_of(gallery: Gallery, **variables: str) -> Flask:
    """The service over a gallery. `variables`: of the environment."""
    settings = with_stored_services(read({"MIN_QUALITY": "0", **variables}), gallery)
    return create_app(settings, detector=lambda _: [FACE], embedder=ConstantEmbedder(), gallery=gallery)


class EmbedderOfGreys:
    """The distance of two greys is a tenth of their difference: those of less than 90 are alike."""

    def model(self, name: str | None = None) -> Model:
        return Model("a model", 4, 8, 9.0, (0.0, 20.0), "fingerprint")

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        vectors = np.ones((len(crops), 4), np.float32)
        vectors[:, 0] = crops[:, 0, 0, 0] / 10
        return vectors


def app_of_greys(gallery: Gallery, faces: int = 1, **settings: str) -> Flask:
    """The service over a gallery, whose pictures have so many faces, each as grey as the first pixel."""
    read_settings = read({"MIN_QUALITY": "0"} | settings)
    embedder = EmbedderOfGreys()
    return create_app(read_settings, detector=lambda _: [FACE] * faces, embedder=embedder, gallery=gallery)


class TwoModels:
    """Models `a`, its own, and `b`. The distance of two greys is a tenth of their difference, by `b` a fifth.

    No vector of one can be taken for one of the other: they have 4 and 6 values.
    """

    MODELS = {  # noqa: RUF012
        "a": Model("a", 4, 8, 9.0, (0.0, 20.0), "fingerprint of a"),
        "b": Model("b", 6, 16, 18.0, (0.0, 40.0), "fingerprint of b"),
    }

    def __init__(self) -> None:
        self.embedded = Counter[str]()  # crops, by model

    def model(self, name: str | None = None) -> Model:
        return self.MODELS[name or "a"]

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        assert crops.shape[1:] == (model.input_size, model.input_size, 3)
        self.embedded[model.name] += len(crops)
        vectors = np.ones((len(crops), model.dimension), np.float32)
        vectors[:, 0] = crops[:, 0, 0, 0] / (10 if model.name == "a" else 5)
        return vectors


@contextmanager
def shipped_background(
    folder: Path, fingerprint: str, people: Sequence[NDArray[np.floating]] | None = None
) -> Iterator[None]:
    """Let a background come with the program, for the vectors of a fingerprint, and none for others.

    people: the vectors of each, (n, d), whom it is made of; without them 300 who are made up, of 4 values.
    """
    anybody = np.random.default_rng(1).normal(size=(300, 2, 4))
    fitted = background.fit(list(anybody) if people is None else people)
    backgrounds.write(folder / "a.npz", {"fingerprint": fingerprint}, fitted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backgrounds, "FOLDER", folder)
        backgrounds.shipped.cache_clear()
        yield
    backgrounds.shipped.cache_clear()


def ok(answer: TestResponse) -> Any:
    assert answer.status_code == 200, answer.json
    return answer.json


def refused(answer: TestResponse, status: int, code: str) -> str:
    body: Any = answer.json
    assert (answer.status_code, body["code"]) == (status, code), body
    return str(body["detail"])


class EmbedderOfAngles:
    """Whose vectors are 10 long, as real ones are, and turn by half a right angle from black to white.

    Greys of 0 and 255 have a distance of 7.7; vectors the other way round are strangers' (see `angle`).
    """

    def model(self, name: str | None = None) -> Model:
        return Model("a model", 4, 8, 9.0, (0.0, 20.0), "fingerprint")

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        return np.stack([angle(float(crop[0, 0, 0]) / 255 * np.pi / 4) for crop in crops])


def angle(turn: float) -> NDArray[np.float32]:
    """A vector 10 long, float32 (4,), turned by an angle in radians."""
    return np.array([10 * np.cos(turn), 10 * np.sin(turn), 0, 0], np.float32)


def app_of_angles(gallery: Gallery, faces: int = 1, **settings: str) -> Flask:
    """The service over a gallery, whose pictures have so many faces, each as grey as the first pixel."""
    read_settings = read({"MIN_QUALITY": "0"} | settings)
    embedder = EmbedderOfAngles()
    return create_app(read_settings, detector=lambda _: [FACE] * faces, embedder=embedder, gallery=gallery)
