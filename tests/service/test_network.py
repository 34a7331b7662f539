"""The embedding network against deepface's own Keras model, on real face crops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from PIL import Image

from embedding import preprocess
from embedding.network import Network, fingerprint, load

# In a process of its own: deepface reads its weights' folder from the environment when it is imported.
ORACLE = """
import sys
import numpy as np
from deepface import DeepFace

network = DeepFace.build_model("Facenet").model
crops = np.load(sys.argv[1]).astype(np.float64)
standard = np.stack([(crop - crop.mean()) / crop.std() for crop in crops])
np.save(sys.argv[2], network.predict(standard, verbose=0) + network.predict(standard[:, :, ::-1], verbose=0))
"""


@pytest.fixture(scope="module")
def network(models_dir: Path) -> Network:
    """In float32, to be held against Keras."""
    return load("Facenet", models_dir, threads=2, engine="onnxruntime")


@pytest.fixture(scope="module")
def fast_network(models_dir: Path) -> Network:
    """As the service runs it."""
    return load("Facenet", models_dir, threads=2)


@pytest.fixture(scope="module")
def crops(photographs: dict[str, list[Path]]) -> np.ndarray:
    pictures = [Image.open(path).convert("RGB") for paths in photographs.values() for path in paths[:2]]
    return np.stack([np.asarray(picture.resize((160, 160))) for picture in pictures])


def test_vectors_are_those_of_deepfaces_keras_model(
    network: Network, crops: np.ndarray, models_dir: Path, tmp_path: Path
) -> None:
    """Within 1e-3 of a vector of length 10: float32 through other kernels, in another order."""
    np.save(tmp_path / "crops.npy", crops)
    files = [str(tmp_path / name) for name in ("crops.npy", "vectors.npy")]
    environment = os.environ | {"DEEPFACE_HOME": str(models_dir), "TF_CPP_MIN_LOG_LEVEL": "3"}
    outcome = subprocess.run(
        [sys.executable, "-c", ORACLE, *files], env=environment, capture_output=True, text=True
    )
    assert outcome.returncode == 0, outcome.stderr
    oracle = np.load(files[1])
    oracle = 10 * oracle / np.linalg.norm(oracle, axis=1, keepdims=True)
    vectors = network.embed(crops)
    assert len(vectors) == 10
    assert np.linalg.norm(vectors - oracle, axis=1).max() < 1e-3


def test_people_are_nearer_to_themselves_than_to_others(network: Network, crops: np.ndarray) -> None:
    assert network.embed(crops[:0]).shape == (0, 128)
    vectors = network.embed(crops)
    distances = np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2)
    assert distances.max() <= 20
    assert distances[0, 0] == pytest.approx(0, abs=1e-3)


def test_more_crops_than_one_batch_keep_their_order(network: Network, crops: np.ndarray) -> None:
    many = np.concatenate([crops] * 4)[:35]
    vectors = network.embed(many)
    assert np.abs(vectors[:10] - vectors[10:20]).max() < 1e-3
    assert np.abs(vectors[30:] - vectors[:5]).max() < 1e-3


def test_standardised_crops_have_mean_0_and_deviation_1() -> None:
    crops = np.random.default_rng(1).integers(0, 256, (3, 160, 160, 3), np.uint8)
    standard = preprocess.standardise(crops)
    assert standard.dtype == np.float32
    assert standard.mean(axis=(1, 2, 3)) == pytest.approx(np.zeros(3), abs=1e-5)
    assert standard.std(axis=(1, 2, 3)) == pytest.approx(np.ones(3), abs=1e-5)
    assert (preprocess.standardise(np.full((1, 160, 160, 3), 7, np.uint8)) == 0).all()
    assert preprocess.standardise(crops[:0]).shape == (0, 160, 160, 3)


def distances(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2)


def test_bfloat16_keeps_every_distance_within_a_tenth(
    network: Network, fast_network: Network, crops: np.ndarray
) -> None:
    exact, fast = network.embed(crops), fast_network.embed(crops)
    assert fast.dtype == np.float32
    assert np.abs(distances(fast) - distances(exact)).max() < 0.1
    assert np.linalg.norm(fast - exact, axis=1).max() < 0.5
    assert fast_network.model.fingerprint == network.model.fingerprint


def test_threads_may_embed_at_once(fast_network: Network, crops: np.ndarray) -> None:
    alone = [fast_network.embed(crops[i : i + 1]) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: fast_network.embed(crops[i % 4 : i % 4 + 1]), range(24)))
    for i, vectors in enumerate(together):
        assert (vectors == alone[i % 4]).all()


def test_a_face_and_its_mirror_image_have_the_same_vector(network: Network, crops: np.ndarray) -> None:
    mirrored = network.embed(np.ascontiguousarray(crops[:, :, ::-1]))
    assert np.linalg.norm(network.embed(crops) - mirrored, axis=1).max() < 1e-3


def test_the_fingerprint_names_model_weights_and_preprocessing() -> None:
    names = {
        fingerprint(*parts) for parts in [("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x")]
    }
    assert len(names) == 4
    assert fingerprint("a", "b", "c") == fingerprint("a", "b", "c")


def test_plain_pixels_are_bgr_between_0_and_1() -> None:
    crop = np.array([[[[255, 51, 0]]]], np.uint8)
    plain = preprocess.network_input(crop, scaling=(0, 255), colours="BGR", mirrored=False)
    assert plain.tolist() == [[[[0, pytest.approx(0.2), 1]]]]
    assert plain.dtype == np.float32


def test_vectors_have_the_length_that_is_asked_for() -> None:
    vectors = preprocess.scaled(np.array([[3, 4], [0, 0]], np.float32), 0.5)
    assert vectors == pytest.approx(np.array([[0.3, 0.4], [0, 0]]))
    assert vectors.dtype == np.float32


def test_facenet512_runs_on_onnx_runtime(tmp_path: Path) -> None:
    """A toy stands for it: the mean colour, times 512 by 3 numbers."""
    matrix = np.random.default_rng(0).normal(size=(3, 512)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("ReduceMean", ["crops"], ["colour"], axes=[1, 2], keepdims=0),
            onnx.helper.make_node("MatMul", ["colour", "matrix"], ["vectors"]),
        ],
        "toy",
        [onnx.helper.make_tensor_value_info("crops", onnx.TensorProto.FLOAT, ["n", 160, 160, 3])],
        [onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["n", 512])],
        [onnx.numpy_helper.from_array(matrix, "matrix")],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "toy.onnx")
    about = {"file": "toy.onnx", "weights": {"values_sha256": "0"}}
    (tmp_path / "manifest.json").write_text(json.dumps({"networks": {"facenet512": about}}))

    network = load("Facenet512", tmp_path, threads=1, engine="onnxruntime")
    assert (network.model.name, network.model.dimension, network.model.input_size) == ("Facenet512", 512, 160)
    assert (network.model.threshold, network.model.distance_range) == (1.04, (0, 2))
    crops = np.random.default_rng(1).integers(0, 256, (5, 160, 160, 3), np.uint8)
    expected = crops[..., ::-1].mean(axis=(1, 2)) / 255 @ matrix
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(network.embed(crops) - expected).max() < 1e-5
