"""A service for tests that are about whose faces are: each grey is somebody's, and white is nobody's."""

from __future__ import annotations

import io

import numpy as np
from flask import Flask
from PIL import Image

from fakes import FACE
from galleries import vectors_of
from recognition.app import create_app
from recognition.config import read
from recognition.faces import Box, Face
from recognition.gallery import Gallery
from serving.model import Model

WHITE, CROWD = 255, 254  # a picture without a face, and one with two
OTHER = Face(Box(12, 12, 4, 4), 0.9, np.array([[13, 14], [15, 14], [14, 15], [13, 16], [15, 16]], np.float32))
MODEL = Model("a model", 16, 8, 9.0, (0.0, 20.0), "fingerprint")


class EmbedderOfColours:
    """Gives each colour a vector of its own."""

    def model(self, name: str | None = None) -> Model:
        return MODEL

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        colours = [int(crop[0, 0, 0]) for crop in crops]
        return vectors_of(*colours, dimension=16) if colours else np.empty((0, 16), np.float32)


def detector(pixels: np.ndarray) -> list[Face]:
    return {WHITE: [], CROWD: [FACE, OTHER]}.get(int(pixels[0, 0, 0]), [FACE])


def app_of(gallery: Gallery, **settings: str) -> Flask:
    """The service over a gallery."""
    return create_app(
        read({"MIN_QUALITY": "0", **settings}),
        detector=detector,
        embedder=EmbedderOfColours(),
        gallery=gallery,
    )


def picture(colour: int) -> bytes:
    """A picture of one colour."""
    stream = io.BytesIO()
    Image.new("RGB", (20, 20), (colour, colour, colour)).save(stream, "PNG")
    return stream.getvalue()
