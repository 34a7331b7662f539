"""Age and gender: what the networks' values mean, the call that tells them, and who asks."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from embedding.app import create_app
from embedding.attributes import attributes_of
from embedding.config import read
from embedding.network import Network
from serving.attributes import SIDE, AgeRange, Attributes, Gender
from serving.model import Model


def years(**probabilities: float) -> np.ndarray:
    """Probabilities of some years, as `y30=0.5`."""
    values = np.zeros(101, np.float32)
    for year, probability in probabilities.items():
        values[int(year[1:])] = probability
    return values


FEMALE, MALE = np.array([0.75, 0.25], np.float32), np.array([0.25, 0.75], np.float32)


@pytest.mark.parametrize(
    ("probabilities", "age", "expected"),
    [
        (years(y30=1), 30, AgeRange(30, 30, 1)),
        (years(y28=0.25, y30=0.5, y32=0.25), 30, AgeRange(30, 30, 0.5)),
        (years(y28=0.5, y32=0.5), 30, AgeRange(28, 32, 1)),  # what it is the mean of is not probable
        (years(y20=0.75, y80=0.25), 35, AgeRange(20, 50, 0.75)),
        (years(y0=1), 0, AgeRange(0, 0, 1)),
        (years(y0=0.75, y4=0.25), 1, AgeRange(0, 2, 0.75)),  # no years below 0
        (years(y100=0.75, y96=0.25), 99, AgeRange(98, 100, 0.75)),  # and none beyond 100
        (years(y100=1), 100, AgeRange(100, 100, 1)),
        (np.full(101, 1 / 101, np.float32), 50, AgeRange(25, 75, 0.505)),
        (years(y30=0.498), 30, AgeRange(30, 30, 1)),  # bfloat16 may lose some of it
    ],
)
def test_an_age_is_a_mean_and_the_years_around_it_that_are_half_of_all(
    probabilities: np.ndarray, age: float, expected: AgeRange
) -> None:
    told = attributes_of(probabilities, FEMALE)
    assert told.age == pytest.approx(age, abs=0.01)
    assert told.age_range == expected


def test_the_first_value_is_female_and_the_second_male() -> None:
    assert attributes_of(years(y30=1), FEMALE).gender == Gender("female", 0.75)
    assert attributes_of(years(y30=1), MALE).gender == Gender("male", 0.75)


def grey_as_age(crops: np.ndarray) -> list[Attributes]:
    return [Attributes(float(crop[0, 0, 0]), AgeRange(20, 30, 0.5), Gender("male", 0.75)) for crop in crops]


def client_of(**parts: Any) -> FlaskClient:
    network = Network(
        Model("n", 2, 8, 1.0, (0.0, 1.0), "f"), lambda crops: np.ones((len(crops), 2), np.float32)
    )
    return create_app(read({}), network=network, **parts).test_client()


def npy(*shape: int, value: int = 0) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.full(shape, value, np.uint8))
    return stream.getvalue()


def test_each_crop_is_answered_in_order() -> None:
    client = client_of(guess=grey_as_age)
    crops = io.BytesIO()
    np.save(crops, np.stack([np.full((SIDE, SIDE, 3), grey, np.uint8) for grey in (7, 70, 33)]))
    answer = client.post("/attributes", data=crops.getvalue(), content_type="application/x-npy")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    assert [face["age"] for face in answer.get_json()] == [7, 70, 33]
    assert answer.get_json()[0] == {
        "age": 7,
        "age_range": {"low": 20, "high": 30, "probability": 0.5},
        "gender": {"value": "male", "probability": 0.75},
    }
    form = client.post("/attributes", data={"crops": (io.BytesIO(crops.getvalue()), "crops.npy")})
    assert form.get_json() == answer.get_json()


@pytest.mark.parametrize("number", [0, 1, 32])
def test_there_may_be_up_to_32_crops(number: int) -> None:
    body = npy(number, SIDE, SIDE, 3)
    answer = client_of(guess=grey_as_age).post("/attributes", data=body, content_type="application/x-npy")
    assert (answer.status_code, len(answer.get_json())) == (200, number)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (npy(33, SIDE, SIDE, 3), "The array must have at most 32 crops, not 33."),
        (
            npy(1, 160, 160, 3),
            "The array must be uint8 (n, 224, 224, 3) in C order, not uint8 (1, 160, 160, 3).",
        ),
        (npy(1, SIDE, SIDE, 3)[:-1], "The array has not as many bytes as its header says."),
        (b"", "The body is not a .npy array."),
        (b"\x93NUMPY\x01\x00v\x00{", "The body is not a .npy array."),
    ],
)
def test_anything_else_is_refused_before_the_networks_see_it(body: bytes, detail: str) -> None:
    client = client_of(guess=lambda crops: pytest.fail("guesses"))
    answer = client.post("/attributes", data=body, content_type="application/x-npy")
    assert (answer.status_code, answer.get_json()["detail"]) == (400, detail)
    assert client.post("/attributes", data=npy(1, SIDE, SIDE, 3)).status_code == 415
    assert client.get("/attributes").status_code == 405
    unknown = client.post("/attributes?model=Facenet", data=body, content_type="application/x-npy")
    assert (unknown.status_code, unknown.get_json()["code"]) == (400, "invalid_request")


def test_it_is_off_unless_it_is_set() -> None:
    client = client_of()
    answer = client.post("/attributes", data=npy(1, SIDE, SIDE, 3), content_type="application/x-npy")
    assert (answer.status_code, answer.get_json()["code"]) == (404, "not_found")
    assert answer.get_json()["detail"] == "Age and gender are not told here; ATTRIBUTES=1 turns that on."


def test_ready_says_whether_it_is_on() -> None:
    assert "attributes" not in client_of().get("/ready").get_json()
    assert client_of(guess=grey_as_age).get("/ready").get_json()["attributes"] is True
