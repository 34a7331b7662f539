"""Further models of feature_extraction, loaded when somebody asks for them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from flask.testing import FlaskClient

from embedding.app import create_app
from embedding.config import read
from embedding.network import Network
from serving.model import Model


def fake(name: str, side: int, dimension: int) -> Network:
    """A network whose vectors are all ones."""
    model = Model(name, dimension, side, 1.0, (0.0, 2.0), f"fingerprint of {name}")
    return Network(model, lambda crops: np.ones((len(crops), dimension), np.float32))


@pytest.fixture
def asked() -> list[str]:
    """What has been loaded."""
    return []


@pytest.fixture
def client(asked: list[str]) -> FlaskClient:
    """A service with Facenet, where MobileFaceNet is prepared and Facenet512 is not."""

    def load(name: str) -> Network:
        asked.append(name)
        if name != "MobileFaceNet":
            raise KeyError(name)
        return fake(name, 4, 3)

    return create_app(read({}), network=fake("Facenet", 8, 2), load_other=load).test_client()


def npy(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(shape, np.uint8))
    return stream.getvalue()


def post(client: FlaskClient, shape: tuple[int, ...], query: str = "") -> tuple[int, str | None, bytes]:
    answer = client.post(f"/embeddings{query}", data=npy(shape), content_type="application/x-npy")
    return answer.status_code, answer.headers.get("X-Model-Fingerprint"), answer.data


def test_the_own_model_answers_unless_another_is_asked_for(client: FlaskClient, asked: list[str]) -> None:
    assert client.get("/model").get_json()["name"] == "Facenet"
    assert client.get("/model?model=Facenet").get_json()["name"] == "Facenet"
    assert post(client, (1, 8, 8, 3))[:2] == (200, "fingerprint of Facenet")
    assert asked == []


def test_a_prepared_model_is_loaded_once_when_it_is_asked_for(client: FlaskClient, asked: list[str]) -> None:
    assert client.get("/model?model=MobileFaceNet").get_json()["input_size"] == 4
    status, fingerprint, body = post(client, (2, 4, 4, 3), "?model=MobileFaceNet")
    assert (status, fingerprint) == (200, "fingerprint of MobileFaceNet")
    assert np.load(io.BytesIO(body)).shape == (2, 3)
    assert asked == ["MobileFaceNet"]
    assert post(client, (2, 8, 8, 3), "?model=MobileFaceNet")[0] == 400  # crops of the own model's size


@pytest.mark.parametrize("name", ["Facenet512", "VGG-Face", "", "../../etc", "x" * 1000])
def test_a_model_that_is_not_prepared_is_not_found(client: FlaskClient, asked: list[str], name: str) -> None:
    for answer in (
        client.get("/model", query_string={"model": name}),
        client.post(
            "/embeddings",
            query_string={"model": name},
            data=npy((1, 8, 8, 3)),
            content_type="application/x-npy",
        ),
    ):
        assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert set(asked) <= {"Facenet512"}  # what runs only through deepface is not even tried
