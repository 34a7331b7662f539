"""Bodies to arrays and back: .npy and JSON. Pure functions."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from serving.errors import InvalidRequest
from serving.validation import faults_told

BYTE_ORDER_MARK = "\ufeff"


class Face(BaseModel):
    """One of the pictures that follow. Other fields mean nothing here, and historical clients send some."""

    model_config = ConfigDict(strict=True)

    id: str | int | float  # as the caller has them; historical clients number their faces


class WhichModel(BaseModel):
    """Which model a call is about."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[
        str | None, Field(description="Another model that is prepared here. Default: the service's own.")
    ] = None


class Upload(BaseModel):
    """The fields beside the pictures."""

    model_config = ConfigDict(extra="forbid")

    face_data: Annotated[
        str,
        Field(
            description='A JSON array of {"id"}, one for each picture, in their order. Required.',
            examples=['[{"id": "a"}]'],
        ),
    ]


_FACES = TypeAdapter(list[Face])


def parse_crops(body: bytes, side: int, most: int | None = None) -> NDArray[np.uint8]:
    """Read one .npy array of crops. The header is checked before anything of its claimed size is made.

    most: of them that there may be; None: as many as the body has.

    Returns:
        uint8 (n, side, side, 3).

    Raises:
        InvalidRequest: it is something else.
    """
    stream = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(stream)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, by_columns, dtype = read_header(stream)
    except (
        Exception
    ) as e:  # the header is parsed as a Python literal: ValueError, SyntaxError, RecursionError, ...
        raise InvalidRequest("The body is not a .npy array.") from e
    if dtype != np.uint8 or by_columns or len(shape) != 4 or shape[1:] != (side, side, 3):
        raise InvalidRequest(
            f"The array must be uint8 (n, {side}, {side}, 3) in C order, not {dtype} {shape}."
        )
    if most is not None and shape[0] > most:
        raise InvalidRequest(f"The array must have at most {most} crops, not {shape[0]}.")
    if len(body) - stream.tell() != math.prod(shape):
        raise InvalidRequest("The array has not as many bytes as its header says.")
    return np.frombuffer(body, dtype=np.uint8, offset=stream.tell()).reshape(shape)


def render_vectors(vectors: NDArray[np.float32]) -> bytes:
    """Write float32 (n, d) as one .npy array."""
    stream = io.BytesIO()
    np.save(stream, vectors, allow_pickle=False)
    return stream.getvalue()


def parse_model(query: Mapping[str, str]) -> str | None:
    """Read which model a call is about; None: the service's own.

    Raises:
        InvalidRequest: the query has anything else.
    """
    with faults_told(*WhichModel.model_fields):
        return WhichModel.model_validate(dict(query)).model


def parse_face_ids(form: Mapping[str, str]) -> list[str | int | float]:
    """Read the form field `face_data`, a JSON array of {"id"}.

    Raises:
        InvalidRequest: it is missing, or something else.
    """
    with faults_told():
        upload = Upload.model_validate(dict(form))
    try:
        return [face.id for face in _FACES.validate_json(upload.face_data.removeprefix(BYTE_ORDER_MARK))]
    except ValidationError as e:
        raise InvalidRequest('face_data must be a JSON array of {"id": "..."}.') from e


def check_same_number(ids: Sequence[object], pictures: Sequence[bytes]) -> None:
    """See to it that there is one picture for each id.

    Raises:
        InvalidRequest: there is not.
    """
    if len(ids) != len(pictures):
        raise InvalidRequest(f"face_data names {len(ids)} faces, but {len(pictures)} files image were sent.")
