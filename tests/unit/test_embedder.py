"""The client of the embedding service, against real sockets that misbehave."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from recognition.embedder import EmbeddingClient
from recognition.errors import EmbeddingUnavailable, ModelUnknown
from running import free_port
from serving.attributes import AgeRange, Attributes, Gender

MODEL = {
    "name": "Facenet",
    "dimension": 4,
    "input_size": 8,
    "threshold": 9,
    "distance_range": [0, 20],
    "fingerprint": "f1",
}
CROPS = np.arange(70 * 8 * 8 * 3, dtype=np.uint8).reshape(70, 8, 8, 3)


def npy(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def means(crops: np.ndarray) -> np.ndarray:
    """Vectors that tell which crop they are of."""
    return np.repeat(crops.mean(axis=(1, 2, 3))[:, np.newaxis], 4, axis=1).astype(np.float32)


class Neighbour(BaseHTTPRequestHandler):
    """An embedding service whose answers the test decides."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        name = self.path.partition("model=")[2]
        if name and name not in self.server.others:
            self.answer(404, b"{}")
        else:
            self.answer(200, json.dumps(self.server.others.get(name, self.server.model)).encode())

    def do_POST(self) -> None:
        crops = np.load(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.calls.append((len(crops), self.headers["X-Request-Id"], self.client_address))
        self.server.paths.append(self.path)
        self.server.behaviour(self, crops)

    def answer(self, status: int, body: bytes, length: int | None = None, fingerprint: str = "f1") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("X-Model-Fingerprint", fingerprint)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def neighbour(behaviour: Callable[[Neighbour, np.ndarray], None]) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Neighbour)
    server.model, server.calls, server.behaviour = MODEL, [], behaviour  # type: ignore[attr-defined]
    server.others, server.paths = {}, []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client_of(server: ThreadingHTTPServer, read_timeout_s: float = 5) -> EmbeddingClient:
    url = f"http://127.0.0.1:{server.server_address[1]}/"
    return EmbeddingClient(url, connect_timeout_s=2, read_timeout_s=read_timeout_s)


def well(handler: Neighbour, crops: np.ndarray) -> None:
    handler.answer(200, npy(means(crops)))


def test_crops_go_out_in_calls_of_32_over_one_connection_and_keep_their_order() -> None:
    with neighbour(well) as server:
        client = client_of(server)
        vectors = client.embed(CROPS, client.model())
        assert vectors.tolist() == means(CROPS).tolist()
        assert [n for n, *_ in server.calls] == [32, 32, 6]  # type: ignore[attr-defined]
        assert len({address for *_, address in server.calls}) == 1  # type: ignore[attr-defined]
        assert client.embed(CROPS[:0], client.model()).shape == (0, 4)


def nonsense(body: bytes, **options: Any) -> Callable[[Neighbour, np.ndarray], None]:
    return lambda handler, _: handler.answer(200, body, **options)


def cut(handler: Neighbour, _: np.ndarray) -> None:
    handler.answer(200, npy(means(CROPS[:1]))[:40], length=144)
    handler.close_connection = True


def hang_up(handler: Neighbour, _: np.ndarray) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


BAD = {
    "an error": lambda handler, _: handler.answer(500, b"{}"),
    "a redirect": lambda handler, _: handler.answer(302, b""),
    "HTML": nonsense(b"<html>proxy error</html>"),
    "nothing": nonsense(b""),
    "half a body": cut,
    "a closed connection": hang_up,
    "wrong shape": nonsense(npy(np.zeros((1, 5), np.float32))),
    "too many rows": nonsense(npy(np.zeros((2, 4), np.float32))),
    "wrong type": nonsense(npy(np.zeros((1, 4), np.float64))),
    "NaN": nonsense(npy(np.full((1, 4), np.nan, np.float32))),
    "a pickle": nonsense(npy(np.array([{}], dtype=object), allow_pickle=True)),
    "a zip": nonsense(b"PK\x03\x04" + bytes(100)),
    "another model": nonsense(npy(np.zeros((1, 4), np.float32)), fingerprint="f2"),
}


@pytest.mark.parametrize("behaviour", BAD.values(), ids=BAD)
def test_a_bad_answer_is_unavailable_and_the_next_good_one_is_taken(
    behaviour: Callable[[Neighbour, np.ndarray], None],
) -> None:
    with neighbour(behaviour) as server:
        client = client_of(server)
        with pytest.raises(EmbeddingUnavailable):
            client.embed(CROPS[:1], client.model())
        server.behaviour = well  # type: ignore[attr-defined]
        assert client.embed(CROPS[:1], client.model()).tolist() == means(CROPS[:1]).tolist()


def test_a_hanging_neighbour_costs_no_more_than_the_time_limit() -> None:
    release = threading.Event()
    with neighbour(lambda handler, _: release.wait(30) and None) as server:  # type: ignore[func-returns-value]
        try:
            with pytest.raises(EmbeddingUnavailable, match="in time"):
                client = client_of(server, read_timeout_s=0.2)
                client.embed(CROPS[:1], client.model())
        finally:
            release.set()


def test_a_connection_closed_while_idle_is_replaced() -> None:
    def answer_and_close(handler: Neighbour, crops: np.ndarray) -> None:
        well(handler, crops)
        handler.close_connection = True

    with neighbour(answer_and_close) as server:
        client = client_of(server)
        for _ in range(5):
            assert client.embed(CROPS[:1], client.model()).tolist() == means(CROPS[:1]).tolist()


@pytest.mark.parametrize(
    "model",
    [
        [],
        {},
        MODEL | {"dimension": float("inf")},
        MODEL | {"distance_range": [0, 0]},
        MODEL | {"threshold": float("nan")},
        MODEL | {"dimension": "many"},
        MODEL | {"distance_range": 5},
        {"name": "only"},
    ],
)
def test_a_model_described_wrongly_is_unavailable(model: Any) -> None:
    with neighbour(well) as server:
        server.model = model  # type: ignore[attr-defined]
        with pytest.raises(EmbeddingUnavailable):
            client_of(server).model()


def test_nobody_at_the_address_is_unavailable() -> None:
    client = EmbeddingClient(f"http://127.0.0.1:{free_port()}", connect_timeout_s=1, read_timeout_s=1)
    with pytest.raises(EmbeddingUnavailable, match="reached"):
        client.model()


def test_another_model_of_the_service_is_asked_for_by_its_name() -> None:
    with neighbour(
        lambda handler, _: handler.answer(200, npy(np.ones((1, 4), np.float32)), fingerprint="f2")
    ) as server:
        server.others["Other"] = MODEL | {"name": "Other", "fingerprint": "f2", "template": "arcface"}  # type: ignore[attr-defined]
        client = client_of(server)
        other = client.model("Other")
        assert (other.fingerprint, other.template) == ("f2", "arcface")
        assert client.model().template == "facenet"  # an older service does not tell
        assert client.embed(CROPS[:1], other).shape == (1, 4)
        assert server.paths == ["/embeddings?model=Other"]  # type: ignore[attr-defined]
        with pytest.raises(EmbeddingUnavailable, match="changed its model"):
            client.embed(CROPS[:1], client.model())


def test_a_model_that_the_service_does_not_have_is_told() -> None:
    with neighbour(well) as server:
        client = client_of(server)
        with pytest.raises(ModelUnknown):
            client.model("Other")
        assert client.embed(CROPS[:1], client.model()).shape == (1, 4)


def test_a_template_that_nobody_knows_is_nonsense() -> None:
    with neighbour(well) as server:
        server.model = MODEL | {"template": "other"}  # type: ignore[attr-defined]
        with pytest.raises(EmbeddingUnavailable, match="describes its model wrongly"):
            client_of(server).model()


FACES = np.arange(19 * 4, dtype=np.uint8).reshape(19, 2, 2, 1).repeat(3, axis=3)  # their size is its business
GUESS = {
    "age": 31.4,
    "age_range": {"low": 27, "high": 36, "probability": 0.5},
    "gender": {"value": "female", "probability": 0.9},
}


def guesses(handler: Neighbour, crops: np.ndarray) -> None:
    handler.answer(200, json.dumps([GUESS | {"age": float(crop[0, 0, 0])} for crop in crops]).encode())


def test_attributes_are_asked_for_in_calls_of_4_and_keep_their_order() -> None:
    with neighbour(guesses) as server:
        client = client_of(server)
        told = client.attributes(FACES)
        assert [each and each.age for each in told] == [float(face[0, 0, 0]) for face in FACES]
        assert told[0] == Attributes(0.0, AgeRange(27, 36, 0.5), Gender("female", 0.9))
        assert [n for n, *_ in server.calls] == [4, 4, 4, 4, 3]  # type: ignore[attr-defined]
        assert set(server.paths) == {"/attributes"}  # type: ignore[attr-defined]
        assert client.attributes(FACES[:0]) == []


def test_a_service_without_attributes_is_asked_once_and_goes_on_embedding() -> None:
    with neighbour(lambda handler, _: handler.answer(404, b"{}")) as server:
        client = client_of(server)
        assert client.attributes(FACES) == [None] * len(FACES)
        assert client.attributes(FACES[:2]) == [None, None]
        assert len(server.calls) == 1  # type: ignore[attr-defined]
        server.behaviour = well  # type: ignore[attr-defined]
        assert client.embed(CROPS[:1], client.model()).shape == (1, 4)


def told(*faces: Any) -> Callable[[Neighbour, np.ndarray], None]:
    return nonsense(json.dumps(faces).encode())


WRONG = {
    "an error": BAD["an error"],
    "HTML": BAD["HTML"],
    "nothing": BAD["nothing"],
    "half a body": BAD["half a body"],
    "too few": told(),
    "too many": told(GUESS, GUESS),
    "no object": told(1),
    "no age": told({"gender": GUESS["gender"]}),
    "an age beyond all": told(GUESS | {"age": 1000}),
    "NaN": told(GUESS | {"age": float("nan")}),
    "another gender": told(GUESS | {"gender": {"value": "woman", "probability": 0.9}}),
    "an impossible probability": told(GUESS | {"gender": {"value": "female", "probability": 97}}),
    "deep": nonsense(b"[" * 100_000),
    "endless": nonsense(b"[" + b" " * 10_000_000 + b"]"),
}


@pytest.mark.parametrize("behaviour", WRONG.values(), ids=WRONG)
def test_wrong_attributes_are_unavailable_and_the_next_good_ones_are_taken(
    behaviour: Callable[[Neighbour, np.ndarray], None],
) -> None:
    with neighbour(behaviour) as server:
        client = client_of(server)
        with pytest.raises(EmbeddingUnavailable):
            client.attributes(FACES[:1])
        server.behaviour = guesses  # type: ignore[attr-defined]
        assert client.attributes(FACES[:1])[0] == Attributes(
            0.0, AgeRange(27, 36, 0.5), Gender("female", 0.9)
        )
