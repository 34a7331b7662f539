"""Client of the embedding service: crops go out and vectors come back as .npy over kept-alive connections."""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from contextvars import ContextVar
from typing import Any, get_args
from urllib.parse import urlencode

import numpy as np
import urllib3
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from recognition.errors import EmbeddingUnavailable, ModelUnknown
from serving.attributes import PER_CALL, Attributes
from serving.errors import NotFound
from serving.model import Model, Template
from serving.request_id import request_id

CROPS_PER_CALL = 32
NPY = "application/x-npy"
SPARE_BYTES = 2**16  # of an answer, beyond what its vectors take; the headers' own limit is http.client's
GUESS_BYTES = 256  # of one in an answer; they are half as long
OFF_S = 60.0  # for how long the service is taken to tell no attributes after it has said so
HUNG_S = 2.0  # after a time-out, how long other calls fail at once instead of waiting, too

_GUESSES = TypeAdapter(list[Attributes])
_deadline: ContextVar[float] = ContextVar("deadline")  # of the call under way, on the monotonic clock


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
        """Connect when there is something to ask.

        Args:
            url: of the service.
            connect_timeout_s: how long a connection may take to be made, and a request to be sent.
            read_timeout_s: how long one call may take altogether.
            connections: how many are kept.
            secret: that the service asks for.
        """
        self._path = (urllib3.util.parse_url(url).path or "").rstrip("/")
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._limit_s = read_timeout_s
        self._timeout = urllib3.Timeout(connect=min(connect_timeout_s, read_timeout_s))
        self._pool = urllib3.connection_from_url(url, maxsize=connections, block=False, retries=False)
        self._pool.ConnectionCls = type(
            "Connection", (self._pool.ConnectionCls,), {"response_class": _Answer}
        )
        self._hung_until = 0.0
        self._off_until = 0.0
        self._models: dict[str | None, Model] = {}

    def model(self, name: str | None = None) -> Model:
        """Return the service's own model, or another one that it has; asked for once and remembered.

        Raises:
            ModelUnknown: it has none of that name.
            EmbeddingUnavailable: the service is down, slow or speaks nonsense.
        """
        known = self._models.get(name)  # another thread may forget it meanwhile
        if known is None:
            known = self._models[name] = _model(self._call("GET", "/model" + _asking_for(name))[0])
        return known

    def embed(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        """Turn face crops into vectors, at most 32 in one call.

        Args:
            crops: uint8 (n, S, S, 3), RGB, S the model's input size.
            model: which the vectors must be of; what `model` returned.

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

    def attributes(self, crops: NDArray[np.uint8]) -> list[Attributes | None]:
        """Let age and gender be guessed, of at most 4 faces in one call.

        Args:
            crops: uint8 (n, 224, 224, 3), RGB; `box` of `recognition.pictures.crops`.

        Returns:
            n guesses; None: the service makes none.

        Raises:
            EmbeddingUnavailable: the service is down, slow or speaks nonsense.
        """
        guesses: list[Attributes | None] = []
        try:
            for start in range(0, len(crops), PER_CALL):
                guesses += self._guess_some(crops[start : start + PER_CALL])
        except NotFound:
            return [None] * len(crops)
        return guesses

    def _guess_some(self, crops: NDArray[np.uint8]) -> list[Attributes]:
        """Raises NotFound: the service guesses nothing."""
        if time.monotonic() < self._off_until:
            raise NotFound("The embedding service tells no attributes.")
        answer, _ = self._call("POST", "/attributes", _npy(crops), GUESS_BYTES * len(crops))
        try:
            guesses = _GUESSES.validate_json(answer)
        except ValidationError as e:
            raise EmbeddingUnavailable("The embedding service's answer has no attributes.") from e
        if len(guesses) != len(crops):
            raise EmbeddingUnavailable("The embedding service's answer has the wrong length.")
        return guesses

    def _embed_some(self, crops: NDArray[np.uint8], model: Model) -> NDArray[np.float32]:
        size = 4 * len(crops) * model.dimension
        path = "/embeddings" + _asking_for(None if model == self._models.get(None) else model.name)
        answer, fingerprint = self._call("POST", path, _npy(crops), size)
        if fingerprint not in (None, model.fingerprint):
            self._models.clear()  # the next request asks anew
            raise EmbeddingUnavailable("The embedding service has changed its model; send the request again.")
        vectors = _vectors(answer, (len(crops), model.dimension))
        if not np.isfinite(vectors).all():
            raise EmbeddingUnavailable("The embedding service's answer has values that are not finite.")
        return vectors

    def _call(
        self, method: str, path: str, body: bytes | None = None, size: int = 0
    ) -> tuple[bytes, str | None]:
        """Ask once, or twice where nothing at all came back. Returns the answer and its model's fingerprint.

        size: of the answer, of which not much more is read.
        """
        began = time.monotonic()
        _deadline.set(began + self._limit_s)
        if began < self._hung_until:
            raise EmbeddingUnavailable("The embedding service has just not answered in time.")
        try:
            try:
                answer = self._sent(method, path, body)
            except urllib3.exceptions.ProtocolError as e:
                if not isinstance(e.args[-1], ConnectionError):
                    raise
                # It closed a kept-alive connection just as we used it, or stopped. Embedding changes nothing
                # there, so asking once more, on a new connection, is safe.
                answer = self._sent(method, path, body)
            with answer:
                data = answer.read(size + SPARE_BYTES)
        except urllib3.exceptions.NewConnectionError as e:  # urllib3 counts it as a time-out too
            raise EmbeddingUnavailable("The embedding service cannot be reached.") from e
        except urllib3.exceptions.TimeoutError as e:
            self._hung_until = time.monotonic() + HUNG_S
            raise EmbeddingUnavailable("The embedding service did not answer in time.") from e
        except urllib3.exceptions.HTTPError as e:
            raise EmbeddingUnavailable("The connection to the embedding service broke.") from e
        if answer.status == 404 and path == "/attributes":
            self._off_until = time.monotonic() + OFF_S
            raise NotFound("The embedding service tells no attributes.")
        if answer.status != 200:
            self._models.clear()  # crops of another model's size are a 400; the next request asks anew
            if answer.status == 404 and "?" in path:
                raise ModelUnknown("The embedding service does not have that model.")
            raise EmbeddingUnavailable(f"The embedding service answered with status {answer.status}.")
        return data, answer.headers.get("X-Model-Fingerprint")

    def _sent(self, method: str, path: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
        """Send a request and receive the head of its answer."""
        headers = {"X-Request-Id": request_id.get(), **self._headers}
        if body is not None:
            headers["Content-Type"] = NPY
        return self._pool.request(
            method,
            self._path + path,
            body=body,
            headers=headers,
            timeout=self._timeout,
            redirect=False,
            preload_content=False,
            decode_content=False,
        )


class _Answer(http.client.HTTPResponse):
    """An answer that has to have come by the deadline, however little of it comes at a time."""

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp: Any = io.BufferedReader(_UntilTheDeadline(sock, self.fp.detach()))


class _UntilTheDeadline(io.RawIOBase):
    """What comes over a socket, until the deadline of the call."""

    def __init__(self, sock: socket.socket, stream: io.RawIOBase) -> None:
        self._socket, self._stream = sock, stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left_s = _deadline.get() - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _npy(crops: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, crops, allow_pickle=False)
    return stream.getvalue()


def _asking_for(name: str | None) -> str:
    return "" if name is None else f"?{urlencode({'model': name})}"


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
            template=fields.get("template", "facenet"),  # older services do not tell
        )
        if model.template not in get_args(Template):
            raise ValueError("template")
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
