"""The JSON of the answers, as types: routes.py is held to them by mypy, and /openapi.json is made of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict


class Health(TypedDict):
    """The process runs."""

    status: Literal["ok"]


class Ready(TypedDict):
    """A crop has just gone through the network."""

    status: Literal["ready"]
    model: str


class Model(TypedDict):
    """The model whose vectors are answered; vectors of other fingerprints cannot be compared with them."""

    name: str
    dimension: int
    input_size: int
    threshold: float
    distance_range: Annotated[list[float], Field(min_length=2, max_length=2)]
    fingerprint: str


class FaceVector(TypedDict):
    """The vector of one picture; empty if it could not be read."""

    id: str
    vector: list[float]


class Error(TypedDict):
    """The one shape of every error."""

    error: str
    code: str
    detail: str
    request_id: str
