"""People whom nobody has named, for tests: a grey is a person, and slightly different greys are alike."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from flask.testing import FlaskClient
from PIL import Image

from fakes import FACE, ok
from galleries import a_kept_face, vectors_of
from recognition.app import create_app
from recognition.config import read
from recognition.gallery import Gallery, keep_up, unknown_keeping
from recognition.gallery.database import transaction
from recognition.gallery.tables import unknown_faces, unknowns
from recognition.results import Scale
from recognition.strangers import Seen
from serving.model import Model

FINGERPRINT = "fingerprint-1"
MONTH = timedelta(days=30)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
LENGTH = 10.0
MODEL = Model("a model", 4, 8, 9.0, (0.0, 2 * LENGTH), "fingerprint")
WIDE = Model("a model", 128, 8, 9.0, (0.0, 2 * LENGTH), "fingerprint")
SCALE = Scale(FINGERPRINT, 128, 9.0, 0.25, LENGTH)


class EmbedderOfShades:
    """Greys lie on a half circle: those that differ by less than 75 are one person's."""

    def model(self, name: str | None = None) -> Model:
        return MODEL

    def embed(self, crops: np.ndarray, model: Model) -> np.ndarray:
        angles = crops[:, 0, 0, 0] / 255 * np.pi
        vectors = np.zeros((len(crops), 4), np.float32)
        vectors[:, 0], vectors[:, 1] = LENGTH * np.cos(angles), LENGTH * np.sin(angles)
        return vectors


def client_of(gallery: Gallery, **settings: str) -> FlaskClient:
    """A service that keeps unknown faces, unless its settings say otherwise."""
    told = read({"MIN_QUALITY": "0", "KEEP_UNKNOWN": "1", **settings})
    app = create_app(told, detector=lambda _: [FACE], embedder=EmbedderOfShades(), gallery=gallery)
    return app.test_client()


def picture(grey: int, mark: int = 0) -> bytes:
    """A picture of somebody; another mark makes it another picture of the same."""
    image = Image.new("RGB", (20, 20), (grey, grey, grey))
    image.putpixel((19, 19), (mark % 256, mark // 256, 0))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def recognise(client: FlaskClient, grey: int, mark: int = 0, **fields: str) -> Any:
    data = {"file": (io.BytesIO(picture(grey, mark)), "x.png"), "include_unknown": "true", **fields}
    return ok(client.post("/face-recognition", data=data))


def listed(client: FlaskClient, **query: Any) -> list[Any]:
    unknown: list[Any] = ok(client.get("/unknowns", query_string=query))["unknowns"]
    return unknown


def act(client: FlaskClient, unknown_id: str, action: str, **more: str) -> Any:
    return ok(client.post(f"/unknowns/{unknown_id}", json={"action": action, **more}))


def seen(seed: int, quality: float = 0.8, *, face: bool = True) -> Seen:
    """A face like no other; its seed is its picture, too."""
    return Seen(quality, f"mark {seed}".encode(), a_kept_face(seed, 32) if face else None, "door")


def alike(person: int, seed: int) -> np.ndarray:
    """A vector, float32 (128,), of somebody: those of one person differ a little."""
    noise = np.random.default_rng(seed).normal(size=128)
    vector = vectors_of(person)[0] + 2 * noise / np.linalg.norm(noise)
    scaled: np.ndarray = (LENGTH * vector / np.linalg.norm(vector)).astype(np.float32)
    return scaled


def keep(gallery: Gallery, person: int, *seeds: int, face: bool = True, **more: Any) -> list[str | None]:
    """Keep faces of one person."""
    vectors = np.stack([alike(person, seed) for seed in seeds])
    faces = [seen(seed, face=face, **more) for seed in seeds]
    return unknown_keeping.keep(gallery, faces, vectors, FINGERPRINT, WIDE, kept_for=MONTH)


def upkeep(gallery: Gallery) -> None:
    """What happens once a minute."""
    answers = [False, True]
    keep_up(gallery, lambda seconds: answers.pop(0), unknown_keeping.look_after)


def rows_there(gallery: Gallery) -> tuple[int, int]:
    """How many groups and faces lie in the tables, of all galleries, hidden ones, too."""
    with transaction(gallery.engine) as connection:
        count = sa.select(sa.func.count())
        groups = connection.execute(count.select_from(unknowns)).scalar_one()
        return groups, connection.execute(count.select_from(unknown_faces)).scalar_one()
