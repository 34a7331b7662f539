"""Calls that share a run: each gets its own rows, none waits for ever, and no run is larger than allowed."""

from __future__ import annotations

import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
import requests

from embedding.engines import Forward
from embedding.gathering import gather
from embedding.network import load
from running import Pair, Service, free_port

LONG_S = 60.0  # nobody waits for it to pass: something else must end the wait
NPY = {"Content-Type": "application/x-npy"}


def rows(*values: float) -> np.ndarray:
    """Inputs that are told apart by their values."""
    return np.array(values, np.float32)[:, np.newaxis]


class Recorder:
    """A forward pass that doubles its inputs and remembers how many there were."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.at_once = threading.Lock()
        self.called = threading.Event()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        assert self.at_once.acquire(blocking=False), "two runs at a time"
        self.sizes.append(len(pixels))
        self.called.set()
        self.at_once.release()
        return 2 * pixels


def together(forward: Forward, calls: list[np.ndarray]) -> list[np.ndarray]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(forward, calls))


def test_calls_share_a_run_that_is_full_and_get_their_own_rows() -> None:
    recorder = Recorder()
    outputs = together(gather(recorder, limit=6, wait_s=LONG_S), [rows(1), rows(2, 3), rows(4), rows(5, 6)])
    assert recorder.sizes == [6]
    assert [output.ravel().tolist() for output in outputs] == [[2], [4, 6], [8], [10, 12]]


def test_a_call_alone_is_answered_when_the_wait_is_over() -> None:
    recorder = Recorder()
    assert gather(recorder, limit=6, wait_s=0.001)(rows(1, 2)).ravel().tolist() == [2, 4]
    assert recorder.sizes == [2]


def test_a_call_that_does_not_fit_ends_the_wait_and_opens_the_next_run() -> None:
    recorder = Recorder()
    gathered = gather(recorder, limit=4, wait_s=LONG_S)
    with ThreadPoolExecutor(2) as pool:
        pending = [pool.submit(gathered, call) for call in (rows(1, 2, 3), rows(4, 5, 6))]
        assert recorder.called.wait(LONG_S)
        assert gathered(rows(7)).ravel().tolist() == [14]  # fills the other one's run
        assert [future.result().ravel().tolist() for future in pending] == [[2, 4, 6], [8, 10, 12]]
    assert recorder.sizes == [3, 4]


def test_a_call_over_the_limit_has_a_run_of_its_own() -> None:
    recorder = Recorder()
    outputs = together(gather(recorder, limit=2, wait_s=LONG_S), [rows(1, 2, 3), rows(4, 5, 6)])
    assert recorder.sizes == [3, 3]
    assert [output.ravel().tolist() for output in outputs] == [[2, 4, 6], [8, 10, 12]]


def test_a_call_without_rows_is_answered() -> None:
    gathered = gather(Recorder(), limit=2, wait_s=0.001)
    assert [len(gathered(rows(*values))) for values in ([], [1, 2], [])] == [0, 2, 0]


def test_an_exception_reaches_everybody_who_waits_and_the_next_call_runs() -> None:
    broken = True

    def forward(pixels: np.ndarray) -> np.ndarray:
        if broken:
            raise RuntimeError("out of memory")
        return pixels

    gathered = gather(forward, limit=3, wait_s=LONG_S)
    with ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(gathered, rows(n)) for n in range(3)]
        assert [str(future.exception()) for future in pending] == ["out of memory"] * 3
    broken = False
    assert gathered(rows(1, 2, 3)).tolist() == [[1], [2], [3]]


def test_many_threads_at_once_get_their_own_rows_and_keep_the_limit() -> None:
    recorder = Recorder()
    gathered = gather(recorder, limit=5, wait_s=0.0005)
    calls = [rows(*range(10 * n, 10 * n + 1 + n % 4)) for n in range(400)]
    with ThreadPoolExecutor(16) as pool:
        outputs = list(pool.map(gathered, calls))
    for call, output in zip(calls, outputs, strict=True):
        assert output.tolist() == (2 * call).tolist()
    assert max(recorder.sizes) <= 5
    assert sum(recorder.sizes) == sum(map(len, calls))


@pytest.fixture
def counting_model(tmp_path: Path) -> Path:
    """A Facenet512 whose vectors, (n, 1, 0, ...) before they are scaled, tell how many ran at once."""
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Shape", ["crops"], ["size"], start=0, end=1),
            onnx.helper.make_node("Cast", ["size"], ["n"], to=onnx.TensorProto.FLOAT),
            onnx.helper.make_node("Mul", ["n", "first"], ["counted"]),
            onnx.helper.make_node("Add", ["counted", "second"], ["row"]),
            onnx.helper.make_node("ReduceMean", ["crops"], ["mean"], axes=[1, 2, 3], keepdims=0),
            onnx.helper.make_node("Unsqueeze", ["mean", "axis"], ["column"]),
            onnx.helper.make_node("Mul", ["column", "nothing"], ["zeros"]),
            onnx.helper.make_node("Add", ["zeros", "row"], ["vectors"]),
        ],
        "counting",
        [onnx.helper.make_tensor_value_info("crops", onnx.TensorProto.FLOAT, ["n", 160, 160, 3])],
        [onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["n", 512])],
        [
            onnx.numpy_helper.from_array(np.eye(1, 512, 0, dtype=np.float32)[0], "first"),
            onnx.numpy_helper.from_array(np.eye(1, 512, 1, dtype=np.float32)[0], "second"),
            onnx.numpy_helper.from_array(np.array([1]), "axis"),
            onnx.numpy_helper.from_array(np.array(0, np.float32), "nothing"),
        ],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "toy.onnx")
    about = {"file": "toy.onnx", "weights": {"values_sha256": "0"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"networks": {"facenet512": about}}))
    return tmp_path


@pytest.mark.parametrize(("gather_ms", "expected"), [(0, 1), (1000 * LONG_S, 4)])
def test_a_network_gathers_up_to_its_batch_and_only_when_told_to(
    counting_model: Path, gather_ms: float, expected: int
) -> None:
    network = load(
        "Facenet512", counting_model, threads=1, engine="onnxruntime", batch=4, gather_ms=gather_ms
    )
    crops = np.zeros((1, 160, 160, 3), np.uint8)
    for vectors in together(network.embed, [crops] * 8):
        assert vectors.shape == (1, 512)
        assert vectors[0, 0] / vectors[0, 1] == pytest.approx(expected)
    assert network.embed(crops[:0]).shape == (0, 512)
    many = network.embed(np.repeat(crops, 8, axis=0))
    assert (many[:, 0] / many[:, 1]).tolist() == pytest.approx([4] * 8)


def test_concurrent_requests_get_the_vectors_that_they_get_alone(
    pair: Pair, tmp_path: Path, models_dir: Path
) -> None:
    """Within 0.5 of a vector of length 10: in bfloat16 a row depends on how many run beside it."""
    settings = {
        "MODELS_DIR": str(models_dir),
        "WORKERS": "1",
        "EMBEDDING_GATHER_MS": "20",
        "EMBEDDING_BATCH": "4",
    }
    crops = np.random.default_rng(3).integers(0, 256, (24, 160, 160, 3), np.uint8)
    crops //= np.arange(1, 9, dtype=np.uint8).repeat(3)[:, np.newaxis, np.newaxis, np.newaxis]
    parts = np.split(crops, [1, 2, 4, 4, 10, 11, 12])  # none, one, several, and more than one batch of them

    def vectors(url: str, part: np.ndarray) -> np.ndarray:
        body = io.BytesIO()
        np.save(body, part)
        answer = requests.post(f"{url}/embeddings", data=body.getvalue(), headers=NPY, timeout=60)
        assert answer.status_code == 200, answer.text
        return np.asarray(np.load(io.BytesIO(answer.content)))

    alone = [vectors(pair.extraction.url, part) for part in parts]
    service = Service("feature_extraction", settings, free_port(), tmp_path / "log")
    try:
        service.start()
        for _ in range(3):
            gathered = together(lambda part: vectors(service.url, part), parts)
            for own, expected in zip(gathered, alone, strict=True):
                assert own.shape == expected.shape
                assert (np.linalg.norm(own - expected, axis=1) < 0.5).all()
    finally:
        service.stop()
    apart = np.concatenate(alone)
    nearest = np.linalg.norm(apart[:, np.newaxis] - apart, axis=2) + 20 * np.eye(len(apart))
    assert nearest.min() > 1  # another crop's vector would have been noticed


@pytest.mark.parametrize("wait_s", [0, 0.001])
def test_no_thread_stays_behind(wait_s: float) -> None:
    before = threading.active_count()
    together(gather(Recorder(), limit=3, wait_s=wait_s), [rows(n) for n in range(7)])
    assert threading.active_count() == before
