"""Client of the embedding service: crops go out and vectors come back as .npy over kept-alive connections."""

from __future__ import annotations

import io
import json

import numpy as np
import urllib3
from numpy.typing import NDArray

from recognition.errors import EmbeddingUnavailable
from recognition.faces import Model
from recognition.request_id import request_id

CROPS_PER_CALL = 32
NPY = "application/x-npy"


class EmbeddingClient:
    """Asks the embedding service for vectors. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float,
        read_timeout_s: float,
        connections: int = 8,
        secret: str | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._timeout = urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s)
        self._pool = urllib3.PoolManager(maxsize=connections, block=False, retries=False)
        self._model: Model | None = None

    def model(self) -> Model:
        """Return the service's model; asked for once and remembered.

        Raises:
            EmbeddingUnavailable: the service is down, slow or speaks nonsense.
        """
        known = self._model  # another thread may forget it meanwhile
        if known is None:
            known = self._model = _model(self._request("GET", "/model").data)
        return known

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn face crops into vectors, at most 32 in one call.

        Args:
            crops: uint8 (n, S, S, 3), RGB, S the model's input size.
            model: which the vectors must be of; what `model()` returned.

        Returns:
            float32 (n, d), row i for crop i.

        Raises:
            EmbeddingUnavailable: the service is down, slow or speaks nonsense, or has changed its model.
        """
        parts = [
            self._embed_some(crops[start : start + CROPS_PER_CALL], model)
            for start in range(0, len(crops), CROPS_PER_CALL)
        ]
        return np.concatenate(parts) if parts else np.empty((0, model.dimension), dtype=np.float32)

    def _embed_some(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        body = io.BytesIO()
        np.save(body, crops, allow_pickle=False)
        answer = self._request("POST", "/embeddings", body=body.getvalue())
        if answer.headers.get("X-Model-Fingerprint", model.fingerprint) != model.fingerprint:
            self._model = None  # the next request asks anew
            raise EmbeddingUnavailable("The embedding service has changed its model; send the request again.")
        vectors = _vectors(answer.data, (len(crops), model.dimension))
        if not np.isfinite(vectors).all():
            raise EmbeddingUnavailable("The embedding service's answer has values that are not finite.")
        return vectors

    def _request(self, method: str, path: str, body: bytes | None = None) -> urllib3.BaseHTTPResponse:
        headers = {"X-Request-Id": request_id.get(), **self._headers}
        if body is not None:
            headers["Content-Type"] = NPY
        try:
            try:
                answer = self._send(method, path, body, headers)
            except urllib3.exceptions.ProtocolError:
                # It closed a kept-alive connection just as we used it. Embedding changes nothing there, so
                # asking once more, on a new connection, is safe.
                answer = self._send(method, path, body, headers)
        except urllib3.exceptions.NewConnectionError as e:  # urllib3 counts it as a time-out too
            raise EmbeddingUnavailable("The embedding service cannot be reached.") from e
        except urllib3.exceptions.TimeoutError as e:
            raise EmbeddingUnavailable("The embedding service did not answer in time.") from e
        except urllib3.exceptions.HTTPError as e:
            raise EmbeddingUnavailable("The connection to the embedding service broke.") from e
        if answer.status != 200:
            self._model = None  # crops of another model's size are a 400; the next request asks anew
            raise EmbeddingUnavailable(f"The embedding service answered with status {answer.status}.")
        return answer

    def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method, self._url + path, body=body, headers=headers, timeout=self._timeout, redirect=False
        )


def _model(body: bytes) -> Model:
    """Read the answer of GET /model."""
    try:
        fields = json.loads(body)
        low, high = map(float, fields["distance_range"])
        model = Model(
            name=str(fields["name"]),
            dimension=int(fields["dimension"]),
            input_size=int(fields["input_size"]),
            threshold=float(fields["threshold"]),
            distance_range=(low, high),
            fingerprint=str(fields["fingerprint"]),
        )
        if min(model.dimension, model.input_size) < 1 or not (low < high < np.inf) or not model.threshold > 0:
            raise ValueError("out of range")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise EmbeddingUnavailable("The embedding service describes its model wrongly.") from e
    return model


def _vectors(body: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Read one .npy array of float32 that must have this shape; its header is checked before its values."""
    stream = io.BytesIO(body)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("version")
        described = np.lib.format.read_array_header_1_0(stream)
    except Exception as e:  # the header is parsed as a Python literal: ValueError, SyntaxError, ...
        raise EmbeddingUnavailable("The embedding service's answer is not an array.") from e
    size = len(body) - stream.tell()
    if described != (shape, False, np.dtype("<f4")) or size != 4 * shape[0] * shape[1]:
        raise EmbeddingUnavailable("The embedding service's answer has the wrong shape.")
    return np.frombuffer(body, dtype="<f4", offset=stream.tell()).reshape(shape)
